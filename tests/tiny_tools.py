"""What the tests of the tiny checkpoints share: a stock schedule, samples, noised digits."""

from __future__ import annotations

import torch

from restart_art.samplers.solvers import resolve_solver
from restart_art.tiny import LATENT_SHAPE
from restart_art.tiny.digits import digits, encode

KINDS = ("flow", "eps")


def normal_sigmas(model, steps):
    """Uniform in timestep, then zero: the first schedule every host offers."""
    sampling = model.model_sampling
    top = 1000.0 if model.kind == "flow" else 999.0
    bottom = 1.0 if model.kind == "flow" else 0.0
    return torch.cat([sampling.sigma(torch.linspace(top, bottom, steps)), torch.zeros(1)])


def sample(model, count, *, solver="dpmpp_2m", steps=20, seed=0, classes=None):
    sigmas = normal_sigmas(model, steps)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *LATENT_SHAPE, generator=generator) * sigmas[0]
    with torch.inference_mode():
        return resolve_solver(solver)(model, x, sigmas, extra_args={"classes": classes}, disable=True)


def points(model, count=6, seed=1):
    """Noised digits at levels over the whole range, with their classes."""
    images, classes = digits()
    sampling = model.model_sampling
    t = torch.linspace(20, 980, count)
    sigma = sampling.sigma(t)
    noise = torch.randn(count, *LATENT_SHAPE, generator=torch.Generator().manual_seed(seed))
    return sampling.noise_scaling(sigma, noise, encode(images[:count])), sigma, classes[:count]
