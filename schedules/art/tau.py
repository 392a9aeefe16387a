"""The coordinate tau in which nodes, reference trajectories and refined grids are laid out.

tau = log sigma for VE; for flow log(sigma / (C - sigma)) with C = 1.002 max(1, sigma_max): the log of the
noise-to-signal ratio, kept finite at sigma = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.noise_process import NoiseProcess

FLOW_CEILING = 1.002


@dataclass(frozen=True)
class TauAxis:
    """Maps sigma <-> tau over a model's bounds. ceiling: C above, inf for VE."""

    sigma_min: float
    sigma_max: float
    ceiling: float = math.inf

    @classmethod
    def of(cls, process: NoiseProcess, sigma_min: float, sigma_max: float) -> TauAxis:
        """The axis of a noise process within the bounds."""
        flow = process.kind == "flow"
        return cls(sigma_min, sigma_max, FLOW_CEILING * max(sigma_max, 1.0) if flow else math.inf)

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
