"""Pairs (x, sigma) with a per-sample argument, for the tests of the evaluation room."""

from __future__ import annotations

import torch

from exact import Mixture


class Labelled(Mixture):
    """Adds a per-sample label, so that a misplaced argument shows; fails above `limit` samples."""

    limit = 10**9

    def __call__(self, x, sigma, *, label=None, **kw):
        if x.shape[0] > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        out = super().__call__(x, sigma, **kw)
        return out if label is None else out + label[:, None]


def pairs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, 2, generator=generator, dtype=torch.float64)
    sigma = torch.rand(5, 3, generator=generator, dtype=torch.float64) + 0.1
    return x, sigma, {"label": torch.tensor([0.0, 10.0, 20.0], dtype=torch.float64), "seed": 3}


def one_by_one(model, x, sigma, args):
    return torch.stack([model(x[i], sigma[i], **args) for i in range(len(x))])
