"""How many steps a sampler may take within a number of model calls, and how Restart spends them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .running import CountedModel, Schedule, sampler_function

BY_ROUNDS = ("parallel_midpoint",)  # its calls come several in one batch, so rounds are what it saves


class _Nothing:
    """A denoiser that costs nothing: used to count the model calls of a plan."""

    def __init__(self, model_sampling: Any) -> None:
        self.model_sampling = model_sampling

    def __call__(self, x: Tensor, sigma: Tensor, classes: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)


def steps_within(budget: int, model_sampling: Any, sampler: str, schedule: Schedule, options: dict[str, Any]) -> int:
    """The most steps (at least 1) of ``schedule`` that cost at most ``budget`` model calls.

    For the samplers in BY_ROUNDS: at most ``budget`` rounds. Counted by running the sampler on a denoiser
    that does nothing, so that a schedule that gives one step more than asked is counted as it is.
    """
    few, many = 1, budget
    while few < many:
        steps = (few + many + 1) // 2
        if _cost(model_sampling, sampler, schedule(steps), options) <= budget:
            few = steps
        else:
            many = steps - 1
    return few


def _cost(model_sampling: Any, sampler: str, sigmas: Tensor, options: dict[str, Any]) -> float:
    counted = CountedModel(_Nothing(model_sampling), None, 1)
    x = torch.zeros(1, 1, 1, 1)
    with torch.inference_mode():
        sampler_function(sampler)(counted, x, sigmas, extra_args={"seed": 0}, disable=True, **options)
    return counted.rounds if sampler in BY_ROUNDS else counted.calls


def sampler_options(sampler: str, budget: int) -> dict[str, Any]:
    """Keyword arguments of a sampler at a budget: about a third of Restart's calls go into its restarts."""
    if sampler == "restart":
        return {"segments": ((3, max(1, budget // 6), 0.06, 0.30),), "solver": "dpmpp_2m"}
    return {}


def fine_grid(steps: int, low: float, high: float, *, flow: bool) -> Tensor:
    """Sigmas of a fine reference, (steps + 1,) ending in 0: even in log sigma, for flow in log-odds of it.

    The odds of a flow sigma are taken against 1.002, so that they are finite at sigma 1.
    """
    top = 1.002 if flow else math.inf
    ends = [math.log(sigma / (1 - sigma / top)) for sigma in (high, low)]
    odds = torch.linspace(ends[0], ends[1], steps, dtype=torch.float64).exp()
    return torch.cat([odds / (1 + odds / top), torch.zeros(1, dtype=torch.float64)]).float()
