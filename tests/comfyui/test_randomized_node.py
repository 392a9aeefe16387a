"""Sampler Randomized Midpoint in a running ComfyUI: its preset and corrector, and workflows from before them."""

from __future__ import annotations

from typing import Any

import pytest

import digit_graphs as draw
from comfy_server import ComfyServer, PromptFailed, executed_nodes

NODE = "RestART_SamplerRandomizedMidpoint"
OLD = {"measure": "sigma", "spread": 0.6, "antithetic": True}  # what a workflow saved before the corrector holds


def graph(kind: str, *, steps: int = 12, batch: int = 10, seed: int = 1, **inputs: Any) -> dict[str, Any]:
    edm = draw.node("RestART_EDMScheduler", model="MODEL", steps=steps, rho=7.0, denoise=1.0)
    return draw.custom_graph(kind, draw.node(NODE, **{**OLD, **inputs}), edm, digit=6, batch=batch, seed=seed)


def pixels(server: ComfyServer, prompt: dict[str, Any]) -> list[bytes]:
    entry = server.run(prompt)
    assert "sample" in executed_nodes(entry), "served from the cache: nothing was tested"
    return [picture.tobytes() for picture in server.pictures(entry, "save")]


def assert_sixes(server: ComfyServer, prompt: dict[str, Any]) -> None:
    seen, sure = draw.judge(server.pictures(server.run(prompt), "save"))
    assert seen.count(6) >= 0.9 * len(seen), f"seen {seen}, confidence {sure}"


@pytest.mark.parametrize("kind", draw.KINDS)
def test_preset_paper_draws_digits(server: ComfyServer, kind: str) -> None:
    assert_sixes(server, graph(kind, steps=16, preset="paper"))


@pytest.mark.parametrize("kind", draw.KINDS)
def test_corrector_draws_digits(server: ComfyServer, kind: str) -> None:
    assert_sixes(server, graph(kind, corrector_steps=2, corrector_strength=0.5))


def test_a_workflow_without_the_new_inputs_draws_what_it_drew(server: ComfyServer) -> None:
    """Three ways to ask for the same picture: the old inputs, all inputs at their defaults, the plain sampler name."""
    old = pixels(server, graph("flow", batch=3))
    assert pixels(server, graph("flow", batch=3, preset="custom", corrector_steps=0, corrector_strength=0.5)) == old
    plain = server.run(draw.ksampler_graph("flow", "randomized_midpoint", "edm", digit=6, batch=3))
    assert [picture.tobytes() for picture in server.pictures(plain, "save")] == old
    assert pixels(server, graph("flow", batch=3, corrector_steps=1)) != old


def test_preset_overrides_the_draws_but_not_the_corrector(server: ComfyServer) -> None:
    paper = pixels(server, graph("eps", batch=3, preset="paper"))
    same = {"measure": "inverse_sigma", "spread": 0.2, "antithetic": False, "corrector_steps": 1}
    assert pixels(server, graph("eps", batch=3, preset="paper", **same)) == paper
    assert pixels(server, graph("eps", batch=3, preset="paper", corrector_steps=2)) != paper
    assert pixels(server, graph("eps", batch=3, preset="paper", corrector_strength=1.0)) != paper


def test_seed_decides_the_corrector_too(server: ComfyServer) -> None:
    first = pixels(server, graph("eps", batch=2, preset="paper", seed=5))
    assert pixels(server, graph("eps", batch=2, preset="paper", seed=6)) != first
    # Another strength in between, so that nothing comes from the node cache.
    server.run(graph("eps", batch=2, preset="paper", seed=5, corrector_strength=0.6))
    assert pixels(server, graph("eps", batch=2, preset="paper", seed=5)) == first


def test_new_inputs_come_last_and_are_optional(object_info: dict[str, Any]) -> None:
    inputs = object_info[NODE]["input"]
    assert list(inputs["required"]) == ["measure", "spread"]
    assert list(inputs["optional"]) == ["antithetic", "preset", "corrector_steps", "corrector_strength"]
    kind, *rest = inputs["optional"]["preset"]
    assert list(kind if isinstance(kind, list) else rest[0]["options"]) == ["custom", "paper"]


@pytest.mark.parametrize(
    "inputs", [{"preset": "papers"}, {"corrector_steps": -1}, {"corrector_strength": 3.0}], ids=lambda i: next(iter(i))
)
def test_values_outside_a_widgets_range_are_refused(server: ComfyServer, inputs: dict[str, Any]) -> None:
    with pytest.raises(PromptFailed, match=next(iter(inputs))):
        server.run(graph("flow", batch=1, **inputs))
