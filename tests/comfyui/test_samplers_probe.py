"""The samplers on live ComfyUI models of every kind and on video and audio latents, in ComfyUI's own Python."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from workspace import PACK, copy_pack, link_checkpoints

PROBE = Path(__file__).with_name("probe_samplers.py")
PROCESSES = {"flow": "flow", "flow shift 6": "flow", "flux": "flow", "eps": "ve", "v": "ve", "edm": "ve"}
SAMPLERS = ("restart", "randomized_midpoint", "parallel_midpoint")
STEPS = 8

every_model = pytest.mark.parametrize("name", PROCESSES)
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


@pytest.fixture(scope="session")
def sampled(checkout: Path, comfy_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    base = tmp_path_factory.mktemp("samplers")
    copy_pack(base / PACK)
    link_checkpoints(base / "checkpoints")
    command = [str(comfy_python), str(PROBE), str(checkout), str(base), str(base / "checkpoints")]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=base, env=env)
    lines = [line for line in run.stdout.splitlines() if line.startswith("PROBE ")]
    assert lines, f"the probe failed:\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    answer: dict[str, Any] = json.loads(lines[0].removeprefix("PROBE "))
    return answer


@every_model
@pytest.mark.parametrize("latent", ["picture", "video", "audio"])
def test_every_latent_ends_nearer_the_exact_solution_than_eulers(
    sampled: dict[str, Any], name: str, latent: str
) -> None:
    """The exact denoiser in the network's place, through ComfyUI's whole sampling path, 24 steps."""
    known = sampled[name]["known"]
    for sampler in ("restart none", "randomized_midpoint", "parallel_midpoint"):
        found = known[f"{latent} {sampler}"]
        assert found["shape"]
        assert found["off"] < known[f"{latent} euler"]["off"], sampler


@every_model
@pytest.mark.parametrize("latent", ["picture", "video", "audio"])
def test_restarts_noise_has_the_right_strength_for_the_model(sampled: dict[str, Any], name: str, latent: str) -> None:
    """Noise is added (the end is elsewhere), and the data's deviation of 1 is kept; VE noise on flow gives 1.9."""
    found = sampled[name]["known"][f"{latent} restart"]
    assert found["shape"]
    assert found["off"] > 0.5
    assert found["deviation"] == pytest.approx(1.0, abs=0.06)


@every_model
def test_the_process_is_that_of_the_live_model(sampled: dict[str, Any], name: str) -> None:
    assert sampled[name]["real"]["process"] == [PROCESSES[name]]


@every_model
@every_sampler
def test_the_tiny_network_ends_nearer_a_fine_solution_than_eulers(
    sampled: dict[str, Any], name: str, sampler: str
) -> None:
    """Restart without segments is the host's Heun. "flux" hands the network times a thousandth of those it was
    trained for: its path has no smooth solution to be near to, so there the result must be finite only."""
    found = sampled[name]["real"]
    assert found[sampler]["finite"]
    if sampler == "restart":
        assert found[sampler]["off"] < 1e-5 * found["spread"]
    elif name != "flux":
        assert found[sampler]["off"] < found["euler"]


@every_model
@every_sampler
def test_progress_and_previews_are_as_comfyui_expects(sampled: dict[str, Any], name: str, sampler: str) -> None:
    """ComfyUI shows step + 1 of the total: every step is reported, in order, the last one last, with whole latents."""
    reported = sampled[name]["real"][sampler]["steps"]
    steps = [step for step, _, _ in reported]
    assert steps == sorted(steps)
    assert set(steps) == set(range(STEPS))
    assert all(total == STEPS and whole for _, total, whole in reported)


@every_model
@every_sampler
def test_the_first_of_a_batch_is_the_single_picture(sampled: dict[str, Any], name: str, sampler: str) -> None:
    found = sampled[name]["real"]
    assert found[sampler]["item 0"] < 2e-3 * max(1.0, found["spread"])  # a batch of two multiplies in another order


@every_model
@every_sampler
def test_cancel_ends_within_the_model_call_and_the_next_run_is_right(
    sampled: dict[str, Any], name: str, sampler: str
) -> None:
    found = sampled[name]["real"]
    for cancel in found[sampler]["cancel"]:
        assert cancel["ended"] == "InterruptProcessingException"
        assert cancel["calls"] == cancel["at"]
        assert not cancel["still pressed"]
    assert found[sampler]["after"] < 2e-3 * max(1.0, found["spread"])
