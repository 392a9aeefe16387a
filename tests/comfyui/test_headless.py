"""`restart-art fit --comfyui`: the same schedule as the node's, on one process and on two."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from restart_art.schedules import ArtSchedule

import digit_graphs as draw
from comfy_server import ComfyServer
from workspace import PACK, private_base

SCRIPT = Path(__file__).with_name("headless_fit.py")
COMMON = ["--solver", "euler", "--steps", "6", "--seed", "5", "--trajectories", "8", "--method", "direct"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("headless")
    private_base(folder)
    return folder


def fit(checkout: Path, python: Path, base: Path, *arguments: str, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    start = [str(python)]
    if ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    pack = base / "custom_nodes" / PACK
    command = [
        *start, str(SCRIPT), str(pack), "fit", "--comfyui", str(checkout),
        "--comfyui-args", f"--cpu --base-directory {base}", *COMMON, *arguments,
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, cwd=base, env=env, start_new_session=True
    )


FLOW = ["--checkpoint", "tiny_flow.safetensors", "--cfg", "1", "--width", "64", "--height", "64"]


def test_one_process_two_processes_and_the_node_agree(
    checkout: Path, comfy_python: Path, base: Path, server: ComfyServer
) -> None:
    one, two = base / "one.safetensors", base / "two.safetensors"
    run = fit(checkout, comfy_python, base, *FLOW, "--out", str(one))
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Mean end error by steps" in run.stdout
    run = fit(checkout, comfy_python, base, *FLOW, "--out", str(two), ranks=2)
    assert run.returncode == 0, run.stderr[-3000:]
    alone, shared = ArtSchedule.load(one), ArtSchedule.load(two)
    assert alone.report["chosen"] == shared.report["chosen"]
    assert (alone.sigmas(6) - shared.sigmas(6)).abs().max() < 1e-6
    assert alone.model == shared.model
    graph = draw.fit_graph("flow", steps="6", seed=5, cfg=1.0, solver="euler", trajectories=8, method="direct")
    by_node = ArtSchedule.from_text(server.run(graph)["outputs"]["text"]["text"][0])
    assert (by_node.sigmas(6) - alone.sigmas(6)).abs().max() < 1e-6
    assert by_node.model == alone.model


def test_patches_count(checkout: Path, comfy_python: Path, base: Path) -> None:
    """ModelSamplingDiscrete and a prompt: the eps checkpoint, fitted through cfg."""
    out = base / "eps.safetensors"
    run = fit(
        checkout, comfy_python, base, "--checkpoint", "tiny_eps.safetensors", "--sampling", "eps", "--cfg", "2",
        "--width", "64", "--height", "64", "--out", str(out),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    schedule = ArtSchedule.load(out)
    assert (schedule.process, schedule.cfg) == ("ve", 2.0)
    assert 14 < schedule.sigma_max < 15


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--checkpoint", "none.safetensors"], "--checkpoint: 'none.safetensors' is not among ComfyUI's checkpoints"),
        ([*FLOW, "--lora", "x.safetensors:0.5"], "--lora: 'x.safetensors' is not among ComfyUI's loras"),
        ([*FLOW, "--lora", "x:y"], "'x:y' is not NAME or NAME:STRENGTH"),
    ],
)
def test_bad_names_are_named(
    checkout: Path, comfy_python: Path, base: Path, arguments: list[str], complaint: str
) -> None:
    run = fit(checkout, comfy_python, base, *arguments, "--out", str(base / "bad.safetensors"))
    assert run.returncode == 2, run.stderr[-2000:]
    assert complaint in run.stderr
    assert "Traceback" not in run.stderr
    assert not (base / "bad.safetensors").exists()


def test_a_folder_without_comfyui_is_named(comfy_python: Path, base: Path) -> None:
    run = fit(base, comfy_python, base, *FLOW, "--out", str(base / "bad.safetensors"))
    assert run.returncode == 2
    assert "holds no ComfyUI" in run.stderr
