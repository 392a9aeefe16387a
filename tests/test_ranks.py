"""A fit over two CPU processes: the same schedule as one process; a lost rank ends it and leaves no file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from restart_art.schedules import ArtSchedule, fit_schedule
from restart_art.tiny import LATENT_SHAPE, load_tiny

SCRIPT = Path(__file__).with_name("rank_fit.py")


def torchrun(*arguments: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(ranks),
        "--monitor-interval",
        "3",
        str(SCRIPT),
        *arguments,
    ]  # the interval gives the ranks left time to complain before they are ended
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, env=env, start_new_session=True
    )


def alone(method: str) -> ArtSchedule:
    model = load_tiny("flow").double()
    low, high = float(model.model_sampling.sigma_min), float(model.model_sampling.sigma_max)
    noise = torch.randn(9, *LATENT_SHAPE, generator=torch.Generator().manual_seed(3)).double()
    return fit_schedule(
        model, noise, sigma_min=low, sigma_max=high, solver="euler", steps=(6,), method=method,
        extra_args={"classes": torch.arange(9)},
    )  # fmt: skip


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
class TestRanks:
    @pytest.mark.parametrize("method", ["direct", "refined"])
    def test_two_ranks_fit_what_one_fits(self, tmp_path, method):
        """To 1e-6; the odd number of trajectories gives the two unequal shares."""
        run = torchrun(str(tmp_path), method)
        assert run.returncode == 0, run.stderr[-3000:]
        first, second = (ArtSchedule.load(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
        assert first == second
        one = alone(method)
        assert (first.sigmas(6) / one.sigmas(6) - 1)[:-1].abs().max() < 1e-6
        assert first.report["chosen"] == one.report["chosen"]
        assert first.report["model_evaluations"] == one.report["model_evaluations"]
        assert not second.report

    @pytest.mark.parametrize(
        ("how", "rank", "complaint"),
        [("kill", "1", "was lost; nothing was written"), ("raise", "1", "the GPU caught fire")],
    )
    def test_a_rank_that_goes_ends_the_job_and_leaves_no_file(self, tmp_path, how, rank, complaint):
        run = torchrun(str(tmp_path), "direct", how, rank)
        assert run.returncode != 0
        assert complaint in run.stderr, run.stderr[-3000:]
        assert list(tmp_path.iterdir()) == []
