"""What a host keeps beside a network: how noise levels, inputs and outputs map (its "model sampling").

Two kinds, with the numbers and the tensor conventions of ComfyUI's, so that whatever asks a ComfyUI model
for its `model_sampling` may ask a tiny checkpoint too. sigma is (B,) or has one element; x is (B, ...).

    flow   x = (1 - sigma) x0 + sigma n, sigma in (0, 1], the network gives n - x0        (SD3, shift 3)
    eps    x = x0 + sigma n, 1,000 discrete levels .029 .. 14.6, the network gives n      (SD 1.x, SDXL)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _column(sigma: Tensor, like: Tensor) -> Tensor:
    return sigma.view(()) if sigma.numel() == 1 else sigma.view(-1, *[1] * (like.ndim - 1))


class ModelSampling(nn.Module):
    """What both kinds share. sigmas: the table of levels, (1000,), ascending."""

    sigmas: Tensor

    @property
    def sigma_min(self) -> Tensor:
        """The lowest level, 0-dim."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The highest level, 0-dim."""
        return self.sigmas[-1]

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """The prediction of x0 from the network's output and the unscaled x."""
        return model_input - model_output * _column(sigma, model_output)


class FlowSampling(ModelSampling):
    """Rectified flow with a resolution shift: sigma(t) = a t / (1 + (a - 1) t), t = timestep / 1000."""

    def __init__(self, shift: float = 3.0, multiplier: float = 1000.0, timesteps: int = 1000) -> None:
        super().__init__()
        self.shift, self.multiplier = shift, multiplier
        self.register_buffer("sigmas", self.sigma(torch.arange(1, timesteps + 1) / timesteps * multiplier))

    def timestep(self, sigma: Tensor) -> Tensor:
        """The number the network is told, sigma * 1000."""
        return sigma * self.multiplier

    def sigma(self, timestep: Tensor) -> Tensor:
        """The shifted level at an unshifted timestep 0..1000. (Not the inverse of `timestep`.)"""
        t = timestep / self.multiplier
        return self.shift * t / (1 + (self.shift - 1) * t)

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a share of the way, 0 (start) .. 1 (end)."""
        return float(self.sigma(torch.tensor((1.0 - min(max(percent, 0.0), 1.0)) * self.multiplier)))

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """What the network sees: x as it is."""
        return noise

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent: Tensor, max_denoise: bool = False) -> Tensor:
        """A latent noised to sigma with unit noise."""
        sigma = _column(sigma, noise)
        return sigma * noise + (1.0 - sigma) * latent

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """The latent whose noised mean this is."""
        return latent / (1.0 - _column(sigma, latent))


class DiscreteEpsSampling(ModelSampling):
    """Variance exploding view of a DDPM: betas are squares of a line from sqrt(.00085) to sqrt(.012)."""

    log_sigmas: Tensor

    def __init__(self, linear_start: float = 0.00085, linear_end: float = 0.012, timesteps: int = 1000) -> None:
        super().__init__()
        self.sigma_data = 1.0
        betas = torch.linspace(linear_start**0.5, linear_end**0.5, timesteps, dtype=torch.float64) ** 2
        signal = torch.cumprod(1.0 - betas, dim=0)
        sigmas = ((1 - signal) / signal) ** 0.5
        self.register_buffer("sigmas", sigmas.float())
        self.register_buffer("log_sigmas", sigmas.log().float())

    def timestep(self, sigma: Tensor) -> Tensor:
        """The number the network is told: the index of the level nearest in log sigma, int64."""
        return (sigma.log().reshape(1, -1) - self.log_sigmas[:, None]).abs().argmin(dim=0).view(sigma.shape)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level at a possibly fractional index 0..999, log-linear between levels."""
        t = timestep.float().clamp(0, len(self.sigmas) - 1)
        low, high, share = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - share) * self.log_sigmas[low] + share * self.log_sigmas[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a share of the way, 0 (start: above every level) .. 1 (end: 0)."""
        if percent <= 0.0:
            return 999999999.9
        return 0.0 if percent >= 1.0 else float(self.sigma(torch.tensor((1.0 - percent) * 999.0)))

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """What the network sees: x / sqrt(sigma^2 + 1)."""
        return noise / (_column(sigma, noise) ** 2 + self.sigma_data**2) ** 0.5

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent: Tensor, max_denoise: bool = False) -> Tensor:
        """A latent noised to sigma with unit noise; max_denoise: as if sigma were the end of the process."""
        sigma = _column(sigma, noise)
        return noise * ((1.0 + sigma**2).sqrt() if max_denoise else sigma) + latent

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """The latent whose noised mean this is: itself."""
        return latent
