"""Seeded noise: the same seed gives the same picture, on any device and however the work is chunked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

NoiseSampler = Callable[[Any, Any], Tensor]

# The host draws the starting noise from the plain seed; the same stream here would add the picture's own
# starting noise back to it. Multiplying by an odd constant (2^64 / golden ratio) keeps streams of
# neighbouring seeds apart too.
_STREAM = 0x9E3779B97F4A7C15


def seeded_generator(extra_args: Mapping[str, Any] | None, stream: int = 0) -> torch.Generator:
    """A CPU generator seeded from extra_args["seed"]; without one, from torch's global generator.

    Args:
        extra_args: the sampler's extra_args; "seed" is an int where the host gives one.
        stream: different streams of one seed are independent.
    """
    seed = (extra_args or {}).get("seed")
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    return torch.Generator("cpu").manual_seed(((int(seed) + 1) * _STREAM + stream * 0x632BE5AB) % 2**63)


def gaussian_noise(
    x: Tensor, extra_args: Mapping[str, Any] | None, noise_sampler: NoiseSampler | None = None
) -> Callable[[float, float], Tensor]:
    """A function (sigma_from, sigma_to) -> unit Gaussian noise of x's shape, dtype and device.

    Drawn on the CPU in float32, so the numbers do not depend on x's device or dtype.
    `noise_sampler`, if given, is k-diffusion's: called with two 0-d tensors.
    """
    if noise_sampler is not None:
        host = noise_sampler
        return lambda a, b: host(torch.tensor(a), torch.tensor(b)).to(x)
    generator = seeded_generator(extra_args)
    return lambda a, b: torch.randn(x.shape, generator=generator).to(x.device, x.dtype, non_blocking=True)
