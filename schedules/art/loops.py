"""Deterministic solvers of k-diffusion as differentiable loops over many grids at once.

Each is the function of the same name of k_diffusion.sampling, step for step, on a denoiser that takes a batch of
grids: x (rows, grids, dims) at sigmas (grids,). A loop first names all its levels, (grids, levels), in the order in
which it will call, so that what depends on the level alone is worked out at once. Grids are (grids, steps) sigmas,
without the 0 that every grid ends in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Denoise = Callable[[Tensor, int], Tensor]  # (x, number of the level) -> D
Prepare = Callable[[Tensor], Denoise]  # all levels, (grids, levels) -> denoiser
Loop = Callable[[Prepare, Tensor, Tensor], Tensor]


def euler(prepare: Prepare, x: Tensor, sigmas: Tensor) -> Tensor:
    """Euler steps (Karras et al. 2022, Algorithm 1 without noise)."""
    steps, denoise = sigmas.shape[1], prepare(sigmas)
    for i in range(steps):
        denoised = denoise(x, i)
        if i + 1 == steps:
            return denoised
        ratio = (sigmas[:, i + 1] / sigmas[:, i])[:, None]
        x = ratio * x + (1 - ratio) * denoised
    return x


def heun(prepare: Prepare, x: Tensor, sigmas: Tensor) -> Tensor:
    """Heun steps, Euler on the last one (Karras et al. 2022, Algorithm 2 without noise)."""
    steps, denoise = sigmas.shape[1], prepare(sigmas)
    for i in range(steps):
        s = sigmas[:, i, None]
        denoised = denoise(x, i)
        if i + 1 == steps:
            return denoised
        q = sigmas[:, i + 1, None]
        d = (x - denoised) / s
        guess = x + (q - s) * d
        d = 0.5 * (d + (guess - denoise(guess, i + 1)) / q)
        x = x + (q - s) * d
    return x


def dpm_2(prepare: Prepare, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver-2 steps with the midpoint in log sigma, Euler on the last one (Lu et al. 2022)."""
    steps = sigmas.shape[1]
    middles = (sigmas[:, :-1] * sigmas[:, 1:]).sqrt()
    denoise = prepare(torch.cat([sigmas, middles], dim=1))
    for i in range(steps):
        s = sigmas[:, i, None]
        denoised = denoise(x, i)
        if i + 1 == steps:
            return denoised
        q = sigmas[:, i + 1, None]
        middle = middles[:, i, None]
        guess = x + (middle - s) / s * (x - denoised)
        x = x + (q - s) / middle * (guess - denoise(guess, steps + i))
    return x


def dpmpp_2m(prepare: Prepare, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095)."""
    steps, denoise = sigmas.shape[1], prepare(sigmas)
    logs = sigmas.log()
    before: Tensor | None = None
    for i in range(steps):
        denoised = denoise(x, i)
        if i + 1 == steps:
            return denoised
        h = (logs[:, i] - logs[:, i + 1])[:, None]
        guess = denoised
        if before is not None:
            ratio = h / (logs[:, i - 1] - logs[:, i])[:, None]
            guess = denoised + 0.5 * ratio * (denoised - before)
        x = (-h).exp() * x - torch.expm1(-h) * guess
        before = denoised
    return x


LOOPS: dict[str, Loop] = {"euler": euler, "heun": heun, "dpm_2": dpm_2, "dpmpp_2m": dpmpp_2m}

# Solvers without a loop of their own are planned with the loop of the nearest kind; the grids are run with the real
# solver all the same, and only what it measures decides.
NEAREST = {
    "heunpp2": "heun",
    "exp_heun_2_x0": "dpm_2",
    "res_multistep": "dpmpp_2m",
    "deis": "dpmpp_2m",
    "ipndm": "dpmpp_2m",
    "ipndm_v": "dpmpp_2m",
    "lms": "dpmpp_2m",
    "gradient_estimation": "euler",
}


def loop_for(solver: str) -> Loop:
    """The loop of a solver, or of the one nearest to it."""
    return LOOPS.get(solver) or LOOPS[NEAREST.get(solver, "dpmpp_2m")]
