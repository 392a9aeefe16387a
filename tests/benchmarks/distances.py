"""Distances between two samples of a distribution, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_distance(x: Tensor, y: Tensor | None = None, chunk: int = 2048) -> float:
    """Mean Euclidean distance of x (n, d) from y (m, d); without y, of two different points of x."""
    other = x if y is None else y
    total = sum(float(torch.cdist(part.double(), other.double()).sum()) for part in x.split(chunk))
    return total / (len(x) * (len(x) - 1) if y is None else len(x) * len(other))


def energy_distance(x: Tensor, y: Tensor, within_y: float | None = None) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely and Rizzo 2013), unbiased: around 0, also below, for equal laws.

    x (n, d), y (m, d) with n, m >= 2. within_y: mean_distance(y), where it is known already.
    """
    within = mean_distance(y) if within_y is None else within_y
    return 2 * mean_distance(x, y) - mean_distance(x) - within


def sliced_wasserstein2(x: Tensor, y: Tensor, projections: int = 128, seed: int = 0) -> float:
    """Root of the mean, over random unit directions, of the squared 1-D Wasserstein-2 distance.

    x, y: (n, d), the same n. In one dimension W2 pairs the sorted values.
    """
    if x.shape != y.shape:
        raise ValueError(f"x and y must have one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(x.shape[1], projections, generator=generator, dtype=torch.float64)
    direction /= direction.norm(dim=0)
    a, b = ((points.double() @ direction).sort(dim=0).values for points in (x, y))
    return float((a - b).square().mean().sqrt())
