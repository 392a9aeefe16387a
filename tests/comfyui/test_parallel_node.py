"""Sampler Parallel Midpoint in a running ComfyUI: old workflows, new inputs, what it tells."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import digit_graphs as draw
from comfy_server import ComfyServer, PromptFailed

STEPS, MIDPOINTS, BATCH = 8, 3, 2
TOLD = re.compile(r"(\d+) rounds one after another, (\d+) model calls, (\d+) pictures through the model")


def graph(kind: str = "flow", batch: int = BATCH, **inputs: Any) -> dict[str, Any]:
    sampler = draw.node("RestART_SamplerParallelMidpoint", **{"midpoints": MIDPOINTS, "sweeps": 2, **inputs})
    edm = draw.node("RestART_EDMScheduler", model="MODEL", steps=STEPS, rho=7.0, denoise=1.0)
    return draw.custom_graph(kind, sampler, edm, digit=6, batch=batch, seed=4)


def pixels(server: ComfyServer, prompt: dict[str, Any]) -> np.ndarray:
    found = server.pictures(server.run(prompt), "save")
    return np.stack([np.asarray(picture.convert("RGB"), dtype=np.int16) for picture in found])


def told(server: ComfyServer, python: Path, prompt: dict[str, Any]) -> list[str]:
    """Texts shown in the node that samples."""
    file = server.base / "parallel.json"
    file.write_text(json.dumps(prompt))
    watcher = Path(__file__).with_name("watch_prompt.py")
    command = [str(python), str(watcher), str(server.port), str(file), "sample"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    texts: list[str] = json.loads(run.stdout.splitlines()[-1])["texts"]
    return texts


@pytest.mark.parametrize("kind", draw.KINDS)
def test_a_workflow_without_the_new_inputs_draws_the_same(server: ComfyServer, kind: str) -> None:
    spelled = {"tolerance": 0.0, "corrector_steps": 0, "corrector_strength": 0.25, "preset": "custom"}
    spelled |= {"warm_start": True, "jitter": 0.0, "measure": "inverse_sigma"}
    assert np.array_equal(pixels(server, graph(kind)), pixels(server, graph(kind, **spelled)))


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("flow", {"sweeps": 6, "tolerance": 0.01}),
        ("eps", {"corrector_steps": 2, "corrector_strength": 0.3}),
        ("flow", {"preset": "paper", "measure": "sigma", "jitter": 0.5}),
    ],
    ids=["tolerance", "corrector", "paper"],
)
def test_each_new_input_draws_the_digit_asked_for(server: ComfyServer, kind: str, inputs: dict[str, Any]) -> None:
    entry = server.run(graph(kind, batch=10, **inputs))
    seen, sure = draw.judge(server.pictures(entry, "save"))
    assert seen.count(6) >= 9, f"seen {seen}, confidence {sure}"


def test_the_sampling_node_and_the_log_say_what_the_run_took(server: ComfyServer, comfy_python: Path) -> None:
    """7 steps of 2 sweeps, one cold start, one last call; all levels of a sweep in one call."""
    rounds, levels = 7 * 2 + 2, 7 * 2 * MIDPOINTS + 2
    (text,) = [found for found in told(server, comfy_python, graph()) if TOLD.search(found)]
    match = TOLD.search(text)
    assert match is not None
    assert [int(v) for v in match.groups()] == [rounds, rounds, levels * BATCH]
    assert "No batching" not in text
    line = f"parallel midpoint: {rounds} rounds, {rounds} model calls, {levels * BATCH} evaluations (one batch)"
    assert line in server.log()

    early = told(server, comfy_python, graph(sweeps=8, tolerance=0.05))
    match = TOLD.search(" ".join(early))
    assert match is not None
    assert 7 + 2 <= int(match[1]) < 7 * 8 + 2


def test_one_by_one_is_told_with_its_reason(server: ComfyServer, comfy_python: Path) -> None:
    """A prompt that holds for part of the run only: one call a level."""
    prompt = graph()
    prompt["late"] = draw.node("ConditioningSetTimestepRange", conditioning=["positive", 0], start=0.0, end=1.0)
    prompt["half"] = draw.node("ConditioningSetTimestepRange", conditioning=["negative", 0], start=0.2, end=0.8)
    prompt["sample"]["inputs"] |= {"positive": ["late", 0], "negative": ["half", 0]}
    text = " ".join(told(server, comfy_python, prompt))
    match = TOLD.search(text)
    assert match is not None
    assert [int(v) for v in match.groups()[:2]] == [16, 7 * 2 * MIDPOINTS + 2]
    assert "No batching: " in text
    assert "each level was asked alone" in text


def test_a_value_outside_its_range_is_refused(server: ComfyServer) -> None:
    for inputs in ({"tolerance": -0.1}, {"corrector_steps": -1}, {"preset": "none"}):
        with pytest.raises(PromptFailed, match=next(iter(inputs))):
            server.run(graph(**inputs))
