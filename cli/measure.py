"""How the demo judges a batch of samples: end error, digits read correctly, distance to the real digits."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..tiny.digits import digit_classifier, digits


def end_error(latent: Tensor, reference: Tensor) -> float:
    """Root mean square difference of each sample (B, ...) from its reference, averaged over the batch."""
    return float((latent - reference).double().flatten(1).square().mean(1).sqrt().mean())


def accuracy(images: Tensor, classes: Tensor) -> float:
    """Share of pictures (B, 8, 8) that the digit classifier reads as the class asked for."""
    return float((digit_classifier().predict(images) == classes).double().mean())


class DigitDistance:
    """Energy distance (Szekely and Rizzo 2013) between pictures and the 1,797 real digits, in pixels.

    2 E|X - Y| - E|X - X'| - E|Y - Y'| over pictures as points of 64 grey values in [0, 1]. Every digit has the
    same weight on both sides, and the pairs X, X' and Y, Y' are of different pictures, so that the mean is 0,
    and a value may fall below, for a perfect sampler.
    """

    def __init__(self, real: Tensor, classes: Tensor) -> None:
        self.real = real.double().flatten(1)
        self.member = _shares(classes)
        self._within = _mean_within(torch.cdist(self.real, self.real), classes)

    def __call__(self, images: Tensor, classes: Tensor) -> tuple[float, float]:
        """Distance of pictures (B, 8, 8) of the digits (B,) asked for, and its standard error.

        Each digit must come equally often, at least three times. The error is a jackknife that leaves out
        one picture of each digit at a time.
        """
        points = images.double().flatten(1).cpu()
        cross = torch.cdist(points, self.real) @ self.member
        own = torch.cdist(points, points)
        turn = torch.zeros_like(classes)
        for digit in classes.unique():
            turn[classes == digit] = torch.arange(int((classes == digit).sum()))
        groups = int(turn.max()) + 1

        def distance(kept: Tensor) -> float:
            within = _mean_within(own[kept][:, kept], classes[kept])
            return float(2 * cross[kept] @ _shares(classes[kept])) - within - self._within

        values = [distance(turn != group) for group in range(groups)]
        mean = sum(values) / groups
        error = math.sqrt((groups - 1) / groups * sum((value - mean) ** 2 for value in values))
        return distance(turn >= 0), error


def _shares(classes: Tensor) -> Tensor:
    """Weights (B,) that sum to 1 and give every class the same share."""
    counts = torch.bincount(classes, minlength=10).double()
    return 1 / (counts[classes] * (counts > 0).sum())


def _mean_within(distances: Tensor, classes: Tensor) -> float:
    """Mean distance of two different pictures whose classes are drawn evenly, each by itself."""
    member = torch.nn.functional.one_hot(classes, 10).double()
    counts = member.sum(0)
    pairs = counts[:, None] * counts[None, :] - torch.diag(counts)
    sums = member.T @ distances @ member
    return float((sums / pairs.clamp(min=1))[pairs > 0].sum()) / int((counts > 0).sum()) ** 2


@lru_cache(maxsize=1)
def digit_distance() -> DigitDistance:
    """The distance to all 1,797 digits, made once in a process."""
    return DigitDistance(*digits())


def prepare() -> None:
    """Makes the classifier and the distance now, so that threads find them ready."""
    digit_classifier()
    digit_distance()
