"""Run by torchrun in tests/test_ranks.py: one fit of a tiny checkpoint over the ranks.

torchrun --nproc-per-node 2 rank_fit.py <out folder> <method> [kill|raise <rank>]
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from restart_art.schedules import fit_schedule
from restart_art.schedules.art.ranks import Ranks
from restart_art.tiny import LATENT_SHAPE, load_tiny

torch.set_num_threads(1)


class Faulty:
    """The model, until its twentieth call on one rank: then the process is killed, or the call raises."""

    def __init__(self, model, how: str):
        self.model, self.how, self.calls = model, how, 0
        self.model_sampling = model.model_sampling

    def __call__(self, x, sigma, **args):
        self.calls += 1
        if self.calls == 20 and self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.calls == 20 and self.how == "raise":
            raise RuntimeError("the GPU caught fire")
        return self.model(x, sigma, **args)


def main(out: str, method: str, how: str = "", rank: str = "-1") -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    ranks = Ranks()
    model = load_tiny("flow").double()  # in single precision, the size of a batch already moves sigmas by 1e-6
    low, high = float(model.model_sampling.sigma_min), float(model.model_sampling.sigma_max)
    noise = torch.randn(9, *LATENT_SHAPE, generator=torch.Generator().manual_seed(3)).double()
    schedule = fit_schedule(
        Faulty(model, how) if ranks.rank == int(rank) else model, noise, sigma_min=low, sigma_max=high,
        solver="euler", steps=(6,), method=method, extra_args={"classes": torch.arange(9)}, ranks=ranks,
    )  # fmt: skip
    schedule.save(Path(out) / f"rank{ranks.rank}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
