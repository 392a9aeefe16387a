"""Denoisers known in closed form: Gaussian mixtures with isotropic components, as VE or flow models."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class FlowSampling:
    """The part of a host's model_sampling that says "flow"."""

    noise_scale = 1.0

    def noise_scaling(self, sigma, noise, latent, max_denoise=False):
        sigma = sigma.reshape(-1, *[1] * (noise.ndim - 1))
        return sigma * self.noise_scale * noise + (1 - sigma) * latent


class Mixture:
    """Exact denoiser of sum_k w_k N(mean_k, scale^2 I), counting calls and evaluations.

    x: (B, d) float64 or float32. kind "ve" or "flow".
    """

    def __init__(self, means: Tensor, scale: float, kind: str = "ve", weights: Tensor | None = None):
        self.means, self.scale, self.kind = means.double(), scale, kind
        self.log_weights = (torch.ones(len(means)) if weights is None else weights).double().log_softmax(0)
        if kind == "flow":
            self.model_sampling = FlowSampling()
        self.calls = self.evaluations = 0
        self.sigmas_seen: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor, seed=None, **_) -> Tensor:
        self.calls += 1
        self.evaluations += x.shape[0]
        self.sigmas_seen.append(sigma)
        y, s = x.flatten(1).double(), sigma.double()[:, None]
        a = 1 - s if self.kind == "flow" else torch.ones_like(s)
        variance = (a * self.scale) ** 2 + s**2
        offset = y[:, None] - a[..., None] * self.means
        logits = self.log_weights - offset.square().sum(-1) / (2 * variance)
        posterior = logits.softmax(-1)
        # E[x0 | x, component k] = mean_k + a scale^2 / variance (x - a mean_k)
        gain = (a * self.scale**2 / variance)[..., None]
        component = self.means + gain * offset
        return (posterior[..., None] * component).sum(1).reshape(x.shape).to(x.dtype)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        pick = torch.multinomial(self.log_weights.exp(), count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        return self.means[pick] + self.scale * noise


def gaussian(scale: float = 0.5, dim: int = 2, kind: str = "ve") -> Mixture:
    """N(0, scale^2 I). VE solution: x(sigma) = x_T sqrt((scale^2 + sigma^2) / (scale^2 + T^2))."""
    return Mixture(torch.zeros(1, dim), scale, kind)


def grid_5x5(scale: float = 0.05, kind: str = "ve") -> Mixture:
    """25 modes on a 2-D grid with unit overall spread."""
    axis = torch.linspace(-1, 1, 5) * math.sqrt(2)
    return Mixture(torch.cartesian_prod(axis, axis), scale, kind)


def mixture_16d(scale: float = 0.3, seed: int = 0, kind: str = "ve") -> Mixture:
    """Ten modes in 16 dimensions, means drawn from N(0, I) with the seed."""
    return Mixture(torch.randn(10, 16, generator=torch.Generator().manual_seed(seed)), scale, kind)


def start(model: Mixture, count: int, sigma_max: float, seed: int = 0, dtype=torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, model.means.shape[1], generator=generator, dtype=torch.float64) * sigma_max).to(dtype)
