"""The floor: a grid moved by Adam on gradients through the true denoiser and the solver, for many iterations.

No schedule method can afford this on a real model (its cost is counted in tens of thousands of gradients); it says how
much is left to gain. Its search space is that of the refined method: descending sigmas within the model's bounds, the
first free down to 0.6 sigma_max.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from restart_art.schedules.art.loops import LOOPS, Denoise, Prepare
from restart_art.schedules.art.search import LOWEST_START

from schedule_cases import FastMixture, reduced

RATE = 0.04


@dataclass(frozen=True)
class Descent:
    """sigmas (steps + 1,) ending in 0; error: mean end error on the trajectories it was made on; before: at its start;
    late: share of the error gained in the last fifth of the iterations (small: converged)."""

    sigmas: Tensor
    error: float
    before: float
    late: float


class Grids:
    """Grids as free parameters: log gaps in log sigma (first node to last), and the depth of the first below the top.

    starts: (grids, steps) sigmas.
    """

    def __init__(self, starts: Tensor, low: float, high: float):
        self.high, self.low = math.log(high), math.log(low)
        self.deepest = -math.log(max(LOWEST_START, low / high))
        logs = starts.double().log().clamp(self.low, self.high)
        share = ((self.high - logs[:, 0]) / self.deepest).clamp(0.01, 0.99)
        self.depth = share.logit().requires_grad_()
        self.gaps = (logs[:, :-1] - logs[:, 1:]).clamp_min(1e-3).log().requires_grad_()

    def sigmas(self) -> Tensor:
        """(grids, steps), within the bounds."""
        first = self.high - self.deepest * self.depth.sigmoid()
        below = self.gaps.exp().cumsum(1)
        room = (first - self.low)[:, None]
        if below.shape[1]:
            below = below * (room / below[:, -1:]).clamp_max(1.0)
        return torch.cat([first[:, None], first[:, None] - below], 1).exp()


def descend(
    mean_error: Callable[[Tensor], Tensor], starts: Tensor, low: float, high: float, iterations: int, rate: float = RATE
) -> Descent:
    """Adam from every start at once, on the log of each grid's mean error; the best grid met.

    mean_error: (grids, steps) sigmas -> (grids,) differentiable mean end errors. The starts themselves count.
    """
    grids = Grids(starts, low, high)
    with torch.no_grad():
        before = mean_error(starts.double())
    best, best_error = starts.double().clone(), before.clone()
    history = []
    free = [p for p in (grids.gaps, grids.depth) if p.numel()]
    optimiser = torch.optim.Adam(free, lr=rate, betas=(0.9, 0.97))
    for i in range(iterations):
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * i / iterations)))
        sigmas = grids.sigmas()
        error = mean_error(sigmas)
        optimiser.zero_grad()
        error.log().sum().backward()
        with torch.no_grad():
            better = error < best_error
            best_error = torch.where(better, error, best_error)
            best = torch.where(better[:, None], sigmas, best)
            history.append(float(best_error.min()))
        optimiser.step()
    winner = int(best_error.argmin())
    late = 1 - history[-1] / history[-1 - iterations // 5] if iterations >= 5 else math.nan
    closed = torch.cat([best[winner], best.new_zeros(1)]).float()
    return Descent(closed, float(best_error[winner]), float(before[winner]), late)


def through_mixture(model: FastMixture, solver: str, noise: Tensor, ends: Tensor) -> Callable[[Tensor], Tensor]:
    """Mean end error of grids on an exact mixture. noise, ends: (rows, dims)."""
    values = noise.shape[1]
    model, (noise, ends) = reduced(model, noise, ends)

    def prepare(levels: Tensor) -> Denoise:
        return lambda x, i: model.denoise(x, levels[:, i, None])

    def mean_error(sigmas: Tensor) -> Tensor:
        end = LOOPS[solver](prepare, noise[:, None] * sigmas[:, 0, None], sigmas)
        return ((end - ends[:, None]).square().sum(-1) / values).sqrt().mean(0)

    return mean_error


def through_network(
    model: Any, solver: str, noise: Tensor, ends: Tensor, args: dict[str, Any]
) -> Callable[[Tensor], Tensor]:
    """Mean end error of a single grid through a tiny checkpoint. noise, ends: (rows, channels, height, width)."""
    shape = noise.shape

    def prepare_for(levels: Tensor) -> Denoise:
        def denoise(x: Tensor, i: int) -> Tensor:
            out = model(x[:, 0].reshape(shape).float(), levels[0, i].float().expand(shape[0]), **args)
            return out.double().flatten(1)[:, None]

        return denoise

    prepare: Prepare = prepare_for
    start, target = noise.double().flatten(1), ends.double().flatten(1)

    def mean_error(sigmas: Tensor) -> Tensor:
        errors = []
        for grid in sigmas:
            end = LOOPS[solver](prepare, start[:, None] * grid[0], grid[None])[:, 0]
            errors.append((end - target).square().mean(-1).sqrt().mean())
        return torch.stack(errors)

    return mean_error
