"""The samplers of parts c and f at a given number of model calls, and a run of one that is measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from gpu_live import Live
from gpu_meter import CountedModel, SyncCount

# Restart by Euler: one restart of two steps, so that it fits into few calls. R = 4 midpoints, one sweep.
OPTIONS: dict[str, dict[str, Any]] = {
    "restart": {"segments": ((3, 1, 0.06, 0.3),), "solver": "euler"},
    "parallel_midpoint": {"midpoints": 4, "sweeps": 1},
}
Grid = Callable[[int], Tensor]


class _Tally:
    """A denoiser of no cost with a model's noise process: only its calls count."""

    def __init__(self, sampling: Any) -> None:
        self.inner_model = SimpleNamespace(inner_model=SimpleNamespace(model_sampling=sampling))
        self.model_sampling, self.calls = sampling, 0

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        self.calls += 1
        return 0.5 * x


def calls_of(live: Live, sampling: Any, name: str, sigmas: Tensor) -> int:
    """Model calls of a run over these sigmas."""
    tally = _Tally(sampling)
    x = torch.ones(1, 4, 2, 2, device=live.device)
    live.function(name)(tally, x, sigmas.to(x.device), extra_args={"seed": 0}, disable=True,
                        **OPTIONS.get(name, {}))  # fmt: skip
    return tally.calls


def grid_for(live: Live, sampling: Any, name: str, grid: Grid, calls: int) -> Tensor | None:
    """The longest grid of its kind on which the sampler takes exactly `calls` model calls; None if there is none."""
    for steps in range(calls, 1, -1):
        sigmas = grid(steps)
        if calls_of(live, sampling, name, sigmas) == calls:
            return sigmas
    return None


@dataclass(frozen=True)
class Run:
    """seconds: median. model_seconds: in the model's calls of that run. syncs: between calls, and in the model's."""

    end: Tensor
    seconds: float
    model_seconds: float
    calls: int
    evaluations: int

    @property
    def overhead(self) -> float:
        """The sampler's own share of the time."""
        return (self.seconds - self.model_seconds) / self.seconds


def timed(live: Live, function: Callable[..., Tensor], model: Any, x: Tensor, sigmas: Tensor, extra: Any,
          repeats: int = 1, warm: bool = True, **options: Any) -> Run:  # fmt: skip
    """The run of median length of `repeats`, each from a copy of x; warm: another one warms a GPU up first."""
    runs = []
    first = warm and live.clock.cuda
    for attempt in range(repeats + first):
        counted = CountedModel(model, live.clock)
        begin = live.clock.mark()
        end = function(counted, x.clone(), sigmas, extra_args=extra, disable=True, **options)
        seconds = live.clock.between(begin, live.clock.mark())
        if attempt or not first:
            runs.append(Run(end, seconds, counted.model_seconds, counted.calls, counted.evaluations))
    middle = statistics.median_low(run.seconds for run in runs)
    return next(run for run in runs if run.seconds == middle)


def syncs_of(live: Live, function: Callable[..., Tensor], model: Any, x: Tensor, sigmas: Tensor, extra: Any,
             **options: Any) -> SyncCount:  # fmt: skip
    """Host synchronisations of a run, counted apart from its timing."""
    with SyncCount(live.device) as count:
        function(CountedModel(model, live.clock, count), x.clone(), sigmas, extra_args=extra, disable=True, **options)
    return count
