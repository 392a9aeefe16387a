"""The samplers behind KSampler in a running ComfyUI: progress and previews in the editor, Cancel, batches."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import digit_graphs as draw
from comfy_server import ComfyServer, PromptFailed, executed_nodes

STEPS, LONG = 12, 600
every_sampler = pytest.mark.parametrize("sampler", ["restart", "randomized_midpoint", "parallel_midpoint"])
every_kind = pytest.mark.parametrize("kind", draw.KINDS)


def watched(
    server: ComfyServer, python: Path, graph: dict[str, Any], preview: str, cancel_at: int | None = None
) -> dict[str, Any]:
    """Run a prompt and return what the editor was shown while node "sample" ran."""
    file = server.base / "watched_sampler.json"
    file.write_text(json.dumps(graph))
    command = [str(python), str(Path(__file__).with_name("watch_prompt.py")), str(server.port), str(file), "sample"]
    command += [preview, *([] if cancel_at is None else [str(cancel_at)])]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    seen: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return seen


def pixels(server: ComfyServer, entry: dict[str, Any]) -> np.ndarray:
    return np.stack([np.asarray(picture.convert("RGB"), dtype=np.int16) for picture in server.pictures(entry, "save")])


@every_kind
@every_sampler
def test_progress_bar_and_live_preview(server: ComfyServer, comfy_python: Path, kind: str, sampler: str) -> None:
    """The bar rises from 1 to the number of steps and stops there; there is a preview with every move."""
    graph = draw.ksampler_graph(kind, sampler, "edm", digit=2, batch=1, steps=STEPS, seed=77)
    seen = watched(server, comfy_python, graph, "latent2rgb")
    assert seen["ended"] == "done"
    assert set(seen["maxima"]) == {STEPS}
    assert seen["values"] == sorted(seen["values"])
    assert set(seen["values"]) == set(range(1, STEPS + 1))
    assert seen["pictures"] >= STEPS
    assert min(seen["size"]) >= 8


@every_sampler
def test_cancel_in_mid_run_and_the_next_prompt_is_right(server: ComfyServer, comfy_python: Path, sampler: str) -> None:
    graph = draw.ksampler_graph("flow", sampler, "edm", digit=6, batch=2, steps=STEPS, seed=5)
    expected = pixels(server, server.run(graph))
    long = draw.ksampler_graph("flow", sampler, "edm", digit=6, batch=2, steps=LONG, seed=5)
    server.raw("/free", {"free_memory": True})  # after the next prompt: the one after it must not come from the cache
    seen = watched(server, comfy_python, long, "none", cancel_at=3)
    assert seen["ended"] == "execution_interrupted"
    assert 3 <= max(seen["values"]) < LONG
    with pytest.raises(PromptFailed, match="execution_interrupted"):
        server.wait(seen["prompt_id"])
    again = server.run(graph)
    assert "sample" in executed_nodes(again)
    assert np.array_equal(pixels(server, again), expected)


@every_kind
@every_sampler
def test_the_first_picture_of_a_batch_is_the_single_picture(server: ComfyServer, kind: str, sampler: str) -> None:
    """ComfyUI draws a batch's starting noise in one go, of which the single run's is the beginning."""
    three, one = (
        pixels(server, server.run(draw.ksampler_graph(kind, sampler, "edm", digit=8, batch=batch, seed=31)))
        for batch in (3, 1)
    )
    assert three.shape == (3, *one.shape[1:])
    assert np.abs(three[0] - one[0]).max() <= 1  # rounding to 8 bits
    for other in three[1:]:
        assert np.abs(other - one[0]).max() > 20


@every_sampler
def test_sampler_custom_advanced_draws_what_sampler_custom_draws(server: ComfyServer, sampler: str) -> None:
    """The same sampler, sigmas, noise and guidance by both nodes: the same pixels."""
    edm = draw.node("RestART_EDMScheduler", model="MODEL", steps=9, rho=7.0, denoise=1.0)
    plain = draw.custom_graph("flow", draw.node("KSamplerSelect", sampler_name=sampler), edm, digit=4, batch=2, seed=8)
    advanced = dict(plain)
    advanced["noise"] = draw.node("RandomNoise", noise_seed=8)
    advanced["guider"] = draw.node(
        "CFGGuider", model=["loader", 0], positive=["positive", 0], negative=["negative", 0], cfg=draw.CFG
    )
    advanced["sample"] = draw.node(
        "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["sampler", 0],
        sigmas=["sigmas", 0], latent_image=["latent", 0],
    )  # fmt: skip
    one, other = (pixels(server, server.run(graph)) for graph in (plain, advanced))
    assert len(one) == 2
    assert np.array_equal(one, other)
