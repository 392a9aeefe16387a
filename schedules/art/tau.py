"""The coordinate tau in which nodes, reference trajectories and refined grids are laid out.

tau = log sigma for VE; for flow log(sigma / (C - sigma)) with C = 1.002 max(1, sigma_max): the log of the
noise-to-signal ratio, kept finite at sigma = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...samplers.noise_process import NoiseProcess, find_model_sampling

FLOW_CEILING = 1.002


@dataclass(frozen=True)
class TauAxis:
    """Maps sigma <-> tau over a model's bounds. ceiling: C above, inf for VE.

    levels: the only sigmas the model knows apart (see discrete_levels), ascending float64, or None.
    """

    sigma_min: float
    sigma_max: float
    ceiling: float = math.inf
    levels: Tensor | None = field(default=None, compare=False)

    @classmethod
    def of(cls, process: NoiseProcess, sigma_min: float, sigma_max: float, levels: Tensor | None = None) -> TauAxis:
        """The axis of a noise process within the bounds."""
        flow = process.kind == "flow"
        if levels is not None:
            levels = levels[(levels > sigma_min * (1 - 1e-5)) & (levels < sigma_max * (1 + 1e-5))]
        return cls(sigma_min, sigma_max, FLOW_CEILING * max(sigma_max, 1.0) if flow else math.inf, levels)

    @property
    def low(self) -> float:
        """tau of sigma_min."""
        return self.tau(self.sigma_min)

    @property
    def high(self) -> float:
        """tau of sigma_max."""
        return self.tau(self.sigma_max)

    def tau(self, sigma: float) -> float:
        """tau of one sigma > 0."""
        return math.log(sigma) if self.ceiling == math.inf else math.log(sigma / (self.ceiling - sigma))

    def taus(self, sigma: Tensor) -> Tensor:
        """tau of a tensor of sigmas > 0; differentiable."""
        return sigma.log() if self.ceiling == math.inf else (sigma / (self.ceiling - sigma)).log()

    def sigmas(self, tau: Tensor) -> Tensor:
        """sigma of a tensor of taus; differentiable."""
        return tau.exp() if self.ceiling == math.inf else self.ceiling * torch.sigmoid(tau)

    def speed(self, sigma: Tensor) -> Tensor:
        """d log sigma / d tau at sigma, so that dx/dtau = speed * (x - D)."""
        return torch.ones_like(sigma) if self.ceiling == math.inf else 1 - sigma / self.ceiling

    def nodes(self, count: int) -> Tensor:
        """`count` sigmas uniform in tau from sigma_max down to sigma_min: (count,) float64."""
        levels = self.sigmas(torch.linspace(self.high, self.low, count, dtype=torch.float64))
        levels[0], levels[-1] = self.sigma_max, self.sigma_min
        return levels

    def nearest(self, sigmas: Tensor) -> Tensor:
        """Index of the level nearest in log sigma to each sigma; needs levels."""
        assert self.levels is not None
        return (self.levels.log() - sigmas.double().log()[..., None]).abs().argmin(dim=-1)

    def snapped(self, sigmas: Tensor) -> Tensor:
        """Descending sigmas (steps,), each moved to the nearest level that keeps them apart.

        As they are where the model has no levels, or fewer than there are steps.
        """
        if self.levels is None or len(sigmas) > len(self.levels):
            return sigmas
        chosen = self.nearest(sigmas).tolist()
        for i in range(1, len(chosen)):
            chosen[i] = min(chosen[i], chosen[i - 1] - 1)
        for i in range(len(chosen)):  # pushed below the lowest level: up again from the end
            chosen[-1 - i] = max(chosen[-1 - i], i)
        return self.levels[chosen].to(sigmas)


def discrete_levels(model: Any) -> Tensor | None:
    """The sigmas that a model rounds every other sigma to (ascending, float64), or None where it does not round.

    Networks trained on whole timesteps (SD 1.x, SDXL: 1,000 of them) are told the nearest one's number, whatever the
    sigma. At the low end the levels lie a third apart, so a grid between them meets a wrong timestep there.
    """
    sampling = find_model_sampling(model)
    table = getattr(sampling, "sigmas", None)
    timestep = getattr(sampling, "timestep", None)
    if not isinstance(table, Tensor) or table.ndim != 1 or len(table) < 3 or not callable(timestep):
        return None
    levels = table.detach()
    probes = levels[:: max(1, len(levels) // 16)][:-1]
    beside = probes * (levels[1:] / levels[:-1])[:: max(1, len(levels) // 16)][: len(probes)] ** 0.3
    told = [(float(timestep(a.reshape(1))), float(timestep(b.reshape(1)))) for a, b in zip(probes, beside, strict=True)]
    return levels.double().cpu() if all(a == b for a, b in told) else None
