"""Search for the grid that the surrogate predicts to be best: Adam on the gaps in tau, from many starts at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .surrogate import Surrogate
from .tau import TauAxis

LOWEST_START = 0.6  # of sigma_max
ROUGHNESS = 0.003  # on squared second differences of the log gaps
RATE = 0.06
CLOSED = -7.0  # z = log(tau_max - tau_0) of a grid that starts at sigma_max
AT_TOP = 0.002  # in tau: a grid that starts closer to sigma_max than this starts there
SMALLEST_GAP = 0.01  # in tau


class GridSearch:
    """Grids within a model's bounds as free parameters: log gaps in tau, and z = log(tau_max - tau_0).

    free_start: z may move, down to LOWEST_START sigma_max; else every grid starts at sigma_max.
    """

    def __init__(self, axis: TauAxis, free_start: bool = True):
        self.axis, self.free_start = axis, free_start
        self.deepest = axis.high - axis.tau(max(LOWEST_START * axis.sigma_max, axis.sigma_min))

    def fitted(self, sigmas: Tensor) -> Tensor:
        """(grids, steps) sigmas moved within the bounds and apart from each other; float32 keeps them distinct."""
        taus = self.axis.taus(sigmas.detach().clamp(self.axis.sigma_min, self.axis.sigma_max))
        first = taus[:, :1].clamp_min(self.axis.high - self.deepest)
        if not self.free_start:
            first = torch.full_like(first, self.axis.high)
        gaps = (taus[:, :-1] - taus[:, 1:]).clamp_min(SMALLEST_GAP)
        room = first - self.axis.low
        gaps = gaps * (room / gaps.sum(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
        taus = torch.cat([first, first - gaps.cumsum(dim=1)], dim=1)
        levels = self.axis.sigmas(taus).clamp(self.axis.sigma_min, self.axis.sigma_max)
        at_top = (self.axis.high - first < AT_TOP) & (torch.arange(levels.shape[1]) == 0)
        return torch.where(at_top, self.axis.sigma_max, levels)

    def improve(self, surrogate: Surrogate, solver: str, starts: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Lower the predicted mean end error from each start.

        starts: (grids, steps) sigmas. Returns (grids, steps) sigmas, each the best met on its way and never worse
        than its start, and their predicted errors (grids,); best first.
        """
        starts = self.fitted(starts)
        taus = self.axis.taus(starts)
        gaps = (taus[:, :-1] - taus[:, 1:]).clamp_min(SMALLEST_GAP).log().requires_grad_()
        z = (self.axis.high - taus[:, 0]).clamp_min(math.exp(CLOSED)).log().requires_grad_()
        free = [gaps, z] if self.free_start else [gaps]
        if not any(p.numel() for p in free):
            iterations, free = 0, [z]  # one step from sigma_max: nothing is free
        optimiser = torch.optim.Adam([p for p in free if p.numel()], lr=RATE, betas=(0.9, 0.97))
        with torch.no_grad():
            best_error = surrogate.mean_error(solver, starts)
        best = starts.clone()
        for i in range(iterations):
            for group in optimiser.param_groups:
                group["lr"] = RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * i / iterations)))
            sigmas, penalty = self._grids(gaps, z)
            error = surrogate.mean_error(solver, sigmas)
            optimiser.zero_grad()
            (error.log() + penalty).sum().backward()
            with torch.no_grad():
                better = (error < best_error) & (penalty < 0.05) & error.isfinite()
                best_error = torch.where(better, error, best_error)
                best = torch.where(better[:, None], sigmas, best)
            optimiser.step()
        best = self.fitted(best)
        with torch.no_grad():
            best_error = surrogate.mean_error(solver, best)
        order = best_error.argsort()
        return best[order], best_error[order]

    def _grids(self, gaps: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Sigmas within the bounds, and what straying and roughness cost."""
        depth = z.exp() if self.free_start else torch.zeros_like(z)
        first = self.axis.high - depth.clamp_max(self.deepest)
        taus = first[:, None] - torch.cat([torch.zeros_like(z)[:, None], gaps.exp().cumsum(dim=1)], dim=1)
        stray = (depth - self.deepest).clamp_min(0) + (self.axis.low - taus[:, -1]).clamp_min(0)
        bend = gaps.diff(n=2, dim=1).square().mean(dim=1) if gaps.shape[1] > 2 else torch.zeros_like(z)
        lowest = self.axis.low - 1e-3 * torch.arange(taus.shape[1] - 1, -1, -1).flip(0).to(taus)
        taus = torch.maximum(taus, lowest)
        return self.axis.sigmas(taus), 10 * stray + ROUGHNESS * bend

    def starts(self, steps: int, grids: Sequence[Tensor]) -> Tensor:
        """The given grids (their non-zero sigmas) at this step count, uniform in tau, and all of them started lower."""
        uniform = self.axis.sigmas(torch.linspace(self.axis.high, self.axis.low, steps, dtype=torch.float64))
        all_grids = [*(resample(self.axis, g, steps) for g in grids), uniform]
        if self.free_start:
            for grid in list(all_grids):
                taus = self.axis.taus(grid.clamp(self.axis.sigma_min, self.axis.sigma_max))
                for share in (0.25, 0.75):
                    top = self.axis.high - share * self.deepest
                    low = taus[-1].clamp_max(top - 0.1)
                    squeezed = low + (taus - low) * (top - low) / (taus[0] - low).clamp_min(0.1)
                    all_grids.append(self.axis.sigmas(squeezed))
        return self.fitted(torch.stack(all_grids))


def resample(axis: TauAxis, grid: Tensor, steps: int) -> Tensor:
    """A grid (no 0 at its end) of any length at `steps` nodes: the same curve over i / steps, straight in tau."""
    grid = grid.double()
    if len(grid) == steps:
        return grid
    taus = axis.taus(grid.clamp(axis.sigma_min, axis.sigma_max))
    if len(grid) == 1:
        return grid.expand(steps).clone()
    at = torch.linspace(0, len(grid) - 1, steps, dtype=torch.float64)
    low = at.floor().long().clamp_max(len(grid) - 2)
    return axis.sigmas(taus[low] + (at - low) * (taus[low + 1] - taus[low]))
