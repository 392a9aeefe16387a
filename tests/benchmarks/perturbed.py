"""An exact denoiser with a smooth, bounded error below sigma 1: a stand-in for a network that is not perfect."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

FEATURES = 32
BOUND = math.sqrt(2 * FEATURES)  # |field| anywhere; its root mean square is 1


class PerturbedDenoiser:
    """D(x, sigma) = exact(x, sigma) + amplitude * sigma * window(sigma) * field(x).

    The field is fixed by its seed and is the gradient of a sum of random Fourier features,
    sqrt(2 / F) sum_k u_k sin(w_k . x + phase_k), w_k = N(0, I) / length, u_k = w_k / |w_k|: a denoiser's error is an
    error of the log density's gradient. amplitude * sigma is how a network trained as in EDM (Karras et al. 2022)
    errs: its output is scaled by about sigma.

    window: smooth, 0 from sigma 1 upwards. low = 0: (1 - sigma^4)^2, an error at every level below. low > 0: a bump
    over log sigma between low and 1, highest (1) in its middle.
    """

    def __init__(
        self, exact: Callable[..., Tensor], dim: int, seed: int, *, amplitude: float, length: float, low: float = 0.0
    ):
        generator = torch.Generator().manual_seed(1000 + seed)
        self.exact, self.amplitude, self.low = exact, amplitude, low
        self.frequency = torch.randn(FEATURES, dim, generator=generator, dtype=torch.float64) / length
        self.phase = torch.rand(FEATURES, generator=generator, dtype=torch.float64) * 2 * math.pi
        self.direction = self.frequency / self.frequency.norm(dim=1, keepdim=True) * math.sqrt(2 / FEATURES)
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor, **kwargs: object) -> Tensor:
        """x (B, d), sigma (B,) -> denoised (B, d)."""
        self.calls += 1
        strength = self.amplitude * sigma.double() * self.window(sigma.double())
        return self.exact(x, sigma, **kwargs) + (strength[:, None] * self.field(x.double())).to(x.dtype)

    def field(self, x: Tensor) -> Tensor:
        """(B, d) -> (B, d), |field| <= BOUND."""
        return torch.sin(x @ self.frequency.T + self.phase) @ self.direction

    def window(self, sigma: Tensor) -> Tensor:
        """Share of the error that is made at each level, 0 .. 1."""
        if self.low == 0:
            return (1 - sigma.clamp(max=1) ** 4) ** 2
        place = (1 - 2 * sigma.clamp(self.low, 1).log() / math.log(self.low)).clamp(-1, 1)  # -1 at low, 1 at 1
        inside = (1 - place**2).clamp(min=1e-12)
        return torch.where(place.abs() < 1, torch.exp(1 - 1 / inside), torch.zeros_like(sigma))
