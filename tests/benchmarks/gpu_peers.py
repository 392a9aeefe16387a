"""ParaDiGMS (Shih et al. 2023, arXiv 2305.16317) by diffusers' DDIMParallelScheduler, and by our own paradigms.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paradigms import paradigms

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}  # Stable Diffusion's
MISSING = "diffusers is not there: pip install --no-deps --target .venv/bench -r requirements/bench.txt"


def parallel_scheduler() -> Any:
    """diffusers' class. Raises ImportError with the command that installs it."""
    try:
        from diffusers import DDIMParallelScheduler
    except Exception as error:  # half-installed packages fail in many ways
        raise ImportError(f"{MISSING} ({type(error).__name__}: {error})") from error
    return DDIMParallelScheduler


def by_diffusers(model: Any, x: Tensor, steps: int, extra: Any, *, window: int, tolerance: float) -> Tensor:
    """One trajectory x (1, ...) at Stable Diffusion's highest sigma, `steps` steps of DDIM down to 0, in parallel.

    The scheduler moves every state of the window at once; the window slides past the states whose squared change is
    within tolerance^2 of the variance of DDPM's noise there, per value, as the paper has it. An epsilon model;
    sigmas are k-diffusion's, the scheduler's states those of the variance-preserving process.

    Raises:
        ValueError: steps does not divide 1000; diffusers would then round the time steps unlike ComfyUI's "simple".
    """
    if 1000 % steps:
        raise ValueError(f"steps is {steps}; it must divide 1000")
    scheduler = parallel_scheduler()(
        **BETAS, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing", prediction_type="epsilon"
    )
    scheduler.set_timesteps(steps, device=x.device)
    times = scheduler.timesteps
    alphas = scheduler.alphas_cumprod.to(x.device, torch.float64)[times]
    sigma = ((1 - alphas) / alphas).sqrt().to(x)
    # By the scheduler's own rule: (1 - a_prev) / (1 - a) (1 - a / a_prev).
    before = torch.cat([alphas[1:], alphas.new_ones(1)])
    limit = tolerance**2 * ((1 - before) / (1 - alphas) * (1 - alphas / before)).to(x)
    states = (x * alphas[:1].sqrt().to(x)).repeat(steps + 1, *[1] * (x.ndim - 1))
    wide = (-1, *[1] * (x.ndim - 1))
    begin = 0
    while begin < steps:
        end = min(begin + window, steps)
        block, level = states[begin:end], sigma[begin:end]
        point = block * (1 + level**2).sqrt().reshape(wide)
        epsilon = (point - model(point, level, **extra)) / level.reshape(wide)
        moved = scheduler.batch_step_no_noise(epsilon, times[begin:end], block)
        fresh = states[begin] + (moved - block).cumsum(0)
        change = (fresh - states[begin + 1 : end + 1]).flatten(1).square().mean(1)
        still = (change <= limit[begin:end]).tolist()
        states[begin + 1 : end + 1] = fresh
        states[end + 1 :] = fresh[-1]
        begin += min(end - begin, 1 + (still.index(False) if False in still else end - begin))
    return states[-1:]


def by_ourselves(
    model: Any, x: Tensor, sigmas: Tensor, extra: Any, *, window: int, tolerance: float, flow: bool
) -> Tensor:
    """tests/benchmarks/paradigms.py on x's device."""

    def asked(x: Tensor, sigma: Tensor) -> Tensor:
        with torch.device("cpu"):  # the host's own default again
            found: Tensor = model(x, sigma, **extra)
        return found

    with torch.device(x.device):  # its helper tensors
        return paradigms(asked, x, sigmas.tolist(), window=window, tolerance=tolerance, flow=flow).end
