"""The usual stock schedules, for hosts that bring none: what learned schedules are measured against."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..samplers.grid import check_count, karras_ramp
from .edm import check_bounds

Schedule = Callable[[int], Tensor]


def stock_schedules(model_sampling: Any, sigma_min: float, sigma_max: float) -> dict[str, Schedule]:
    """Stock schedules by name, each a function steps -> (n + 1,) float32 sigmas ending in 0.

    karras, exponential: from the bounds. For a model with a table of sigmas (one a timestep, ascending) also
    normal (uniform in timestep, first and last included), simple (uniform in table index, without the last) and
    ddim_uniform (every (table size // steps)-th entry from the low end: it may start below sigma_max and, where
    steps does not divide the table, has a step more than asked). Same numbers as ComfyUI's of these names.

    Args:
        model_sampling: an object with .sigmas, .timestep(sigma) and .sigma(timestep), or None.
    """
    check_bounds(sigma_min, sigma_max)
    found: dict[str, Schedule] = {
        "karras": lambda steps: _ending_in_zero(_ramp(steps, sigma_min, sigma_max)),
        "exponential": lambda steps: _ending_in_zero(_log_ramp(steps, sigma_min, sigma_max)),
    }
    table = getattr(model_sampling, "sigmas", None)
    if isinstance(table, Tensor) and table.ndim == 1 and len(table) >= 2:
        values = [float(v) for v in table.detach().double().cpu()]
        found["simple"] = lambda steps: _ending_in_zero(_simple(values, steps))
        found["ddim_uniform"] = lambda steps: _ending_in_zero(_ddim_uniform(values, steps))
        if callable(getattr(model_sampling, "timestep", None)) and callable(getattr(model_sampling, "sigma", None)):
            found["normal"] = lambda steps: _ending_in_zero(_normal(model_sampling, table, steps))
    return found


def _ending_in_zero(sigmas: list[float]) -> Tensor:
    return torch.tensor([*sigmas, 0.0], dtype=torch.float32)


def _ramp(steps: int, sigma_min: float, sigma_max: float) -> list[float]:
    check_count("steps", steps, 1)
    return karras_ramp(steps, sigma_max, sigma_min) if steps > 1 else [sigma_max]


def _log_ramp(steps: int, sigma_min: float, sigma_max: float) -> list[float]:
    check_count("steps", steps, 1)
    slope = math.log(sigma_min / sigma_max) / max(steps - 1, 1)
    return [sigma_max * math.exp(slope * i) for i in range(steps)]


def _simple(table: list[float], steps: int) -> list[float]:
    check_count("steps", steps, 1, len(table))
    return [table[-1 - int(i * len(table) / steps)] for i in range(steps)]


def _ddim_uniform(table: list[float], steps: int) -> list[float]:
    check_count("steps", steps, 1, len(table))
    stride = max(len(table) // steps, 1)
    return table[1::stride][::-1]


def _normal(model_sampling: Any, table: Tensor, steps: int) -> list[float]:
    check_count("steps", steps, 1, len(table))
    first, last = (float(model_sampling.timestep(table[i])) for i in (-1, 0))
    times = torch.linspace(first, last, steps)
    return [float(model_sampling.sigma(t)) for t in times]
