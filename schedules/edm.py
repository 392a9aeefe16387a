"""The EDM schedule (Karras, Aittala, Aila, Laine 2022, arXiv 2206.00364, equation 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..samplers.grid import check_count, check_range, karras_ramp

# A flow model starts at sigma 1, which is VE level infinity. Its grid is spaced as from EDM's own sigma_max,
# flow sigma 0.988; the first node stays the asked one.
FLOW_CEILING = 80.0


def edm_sigmas(
    steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0, *, denoise: float = 1.0, flow: bool = False
) -> Tensor:
    """sigma_i = (smax^(1/rho) + i/(steps-1) (smin^(1/rho) - smax^(1/rho)))^rho for i < steps, then 0.

    Also known as the Karras schedule; it is the same formula, here with exact ends and a flow form: on a flow
    model the levels are spaced in the noise-to-signal ratio s = sigma / (1 - sigma) and mapped back.

    Args:
        steps: >= 1. With one step: (sigma_max, 0).
        sigma_min, sigma_max: 0 < sigma_min < sigma_max; <= 1 for flow.
        rho: > 0; larger puts more nodes at low sigma.
        denoise: in (0, 1]; below 1, int(steps / denoise) steps are laid out and the last steps + 1 values kept.
        flow: sigmas are those of a flow model.

    Returns:
        (steps + 1,) float32, ends in 0.

    Raises:
        ValueError: names the input, its value and what is allowed.
    """
    steps = check_count("steps", steps, 1, 10_000)
    check_bounds(sigma_min, sigma_max, flow)
    rho = check_range("rho", rho, 1e-3, 1000.0)
    total = denoise_total(steps, denoise)
    if flow:
        top = min(sigma_max / (1 - sigma_max), FLOW_CEILING) if sigma_max < 1 else FLOW_CEILING
        bottom = sigma_min / (1 - sigma_min)
        levels = [s / (1 + s) for s in (karras_ramp(total, top, bottom, rho) if total > 1 else [top])]
        levels[0] = sigma_max
    else:
        levels = karras_ramp(total, sigma_max, sigma_min, rho) if total > 1 else [sigma_max]
    return torch.tensor([*levels, 0.0][-(steps + 1) :], dtype=torch.float32)


def check_bounds(sigma_min: float, sigma_max: float, flow: bool = False) -> None:
    """Raise ValueError unless 0 < sigma_min < sigma_max (and sigma_max <= 1 for flow)."""
    if not 0 < sigma_min < sigma_max < float("inf"):
        raise ValueError(f"sigma_min is {sigma_min} and sigma_max {sigma_max}; it must be 0 < sigma_min < sigma_max")
    if flow and (sigma_max > 1 or sigma_min / (1 - sigma_min) >= FLOW_CEILING):
        raise ValueError(f"sigma_min is {sigma_min} and sigma_max {sigma_max}; a flow model's sigmas are at most 1")


def denoise_total(steps: int, denoise: float) -> int:
    """Steps of the full grid of which the last `steps` are kept, as ComfyUI's BasicScheduler counts them."""
    check_range("denoise", denoise, 1e-4, 1.0)
    return max(steps, int(steps / denoise))
