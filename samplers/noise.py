"""Seeded noise: the same seed gives the same picture, on any device and however the work is chunked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

NoiseSampler = Callable[[Any, Any], Tensor]

# The host draws the starting noise from the plain seed; the same stream here would add the picture's own
# starting noise back to it. Multiplying by an odd constant (2^64 / golden ratio) keeps streams of
# neighbouring seeds apart too. All three are odd in their low 32 bits, the only ones torch's CPU generator uses.
_SEED, _STREAM, _ITEM = 0x9E3779B97F4A7C15, 0x632BE5AB, 0xD1B54A32D192ED03


def seeded_generator(extra_args: Mapping[str, Any] | None, stream: int = 0) -> torch.Generator:
    """A CPU generator seeded from extra_args["seed"]; without one, from torch's global generator.

    For draws that a whole batch shares. Of a list of seeds the first counts.

    Args:
        extra_args: the sampler's extra_args; "seed" is an int where the host gives one.
        stream: different streams of one seed are independent.
    """
    return item_generators(extra_args, None, stream)[0]


def item_generators(extra_args: Mapping[str, Any] | None, batch: int | None, stream: int = 0) -> list[torch.Generator]:
    """One CPU generator for each sample of a batch: what item i draws does not depend on the batch size.

    One seed for the batch: item 0 draws what a single run of that seed draws, item i > 0 a stream of its own.
    A list of seeds: item i draws what a single run of seed i draws. Equal pictures need equal starting noise too,
    which is the host's: k-diffusion scripts hand in any; ComfyUI draws the batch in one go from one seed, so its
    item 0 is the single run's. A node that picks one item of a batch (LatentFromBatch, `batch_index`) makes
    ComfyUI redraw that item's starting noise, but samplers are not told the index: injected noise is then item 0's.

    Args:
        extra_args: the sampler's extra_args. "seed": an int, one int for each sample (sequence or 1-d tensor), or
            absent: then one is taken from torch's global generator.
        batch: number of samples; None to accept any number of seeds.
        stream: different streams of one seed are independent.

    Raises:
        ValueError: a list of seeds that is empty or has another length than the batch.
    """
    seed = (extra_args or {}).get("seed")
    if isinstance(seed, Tensor):
        seed = seed.tolist()
    if isinstance(seed, Sequence):
        if not seed or batch not in {None, len(seed)}:
            raise ValueError(f"seed has {len(seed)} values; it must be one int, or one for each of {batch} samples")
        return [_generator(int(one), stream, 0) for one in seed]
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    return [_generator(int(seed), stream, item) for item in range(1 if batch is None else batch)]


def _generator(seed: int, stream: int, item: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(((seed + 1) * _SEED + stream * _STREAM + item * _ITEM) % 2**63)


def item_noise(x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Unit Gaussian noise like x (batch, ...), sample i from generator i.

    Drawn on the CPU in float32, so the numbers do not depend on x's device or dtype; moved without waiting.
    """
    noise = torch.empty(x.shape)
    for row, generator in zip(noise, generators, strict=True):
        torch.randn(row.shape, generator=generator, out=row)  # in place: one latent, not two
    return noise.to(x.device, x.dtype, non_blocking=True)


def item_uniform(generators: Sequence[torch.Generator], *shape: int) -> Tensor:
    """Uniform draws in [0, 1), float64 on the CPU: (batch, *shape), sample i from generator i."""
    return torch.stack([torch.rand(shape, generator=generator, dtype=torch.float64) for generator in generators])


def gaussian_noise(
    x: Tensor, extra_args: Mapping[str, Any] | None, noise_sampler: NoiseSampler | None = None
) -> Callable[[float, float], Tensor]:
    """A function (sigma_from, sigma_to) -> unit Gaussian noise of x's shape, dtype and device.

    Each sample has its own stream (see item_generators), so a batch's first items do not depend on its size.
    `noise_sampler`, if given, is k-diffusion's: called with two 0-d tensors.
    """
    if noise_sampler is not None:
        host = noise_sampler
        return lambda a, b: host(torch.tensor(a), torch.tensor(b)).to(x)
    generators = item_generators(extra_args, x.shape[0])
    return lambda a, b: item_noise(x, generators)
