"""Checks and small helpers for sigma grids, shared by the samplers and the schedules."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable

import torch
from torch import Tensor


def check_sigmas(sigmas: Tensor | Iterable[float], name: str = "sigmas") -> list[float]:
    """Return a sigma grid as Python floats, or raise.

    Args:
        sigmas: shape (steps + 1,), strictly descending noise levels >= 0; only the last may be 0.
            One transfer to the host happens here, before any model call; none later.
        name: the input's name in the error text.

    Raises:
        ValueError: not one-dimensional, fewer than two values, NaN or infinite, negative,
            or not strictly descending.
    """
    if isinstance(sigmas, Tensor):
        if sigmas.ndim != 1:
            raise ValueError(f"{name} must have one dimension, got shape {tuple(sigmas.shape)}")
        values = [float(v) for v in sigmas.detach().to("cpu", torch.float64).tolist()]
    else:
        values = [float(v) for v in sigmas]
    if len(values) < 2:
        raise ValueError(f"{name} needs at least two values (one step), got {len(values)}: {values}")
    for i, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(f"{name}[{i}] is {value}; every sigma must be finite")
        if value < 0:
            raise ValueError(f"{name}[{i}] is {value}; sigmas must be >= 0")
        if i and value >= values[i - 1]:
            raise ValueError(
                f"{name} must be strictly descending, but {name}[{i - 1}] = {values[i - 1]:g} "
                f"is followed by {name}[{i}] = {value:g}"
            )
    return values


class _Brief(reprlib.Repr):
    """repr with the middle of what is long left out, at every depth."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() > 10_000:  # Python itself refuses to write such a number
            return f"a whole number of {x.bit_length()} bits"
        return super().repr_int(x, level)


def shown(value: object) -> str:
    """repr(value) as an error text quotes it: at most some 120 characters, the middle left out where it is long."""
    text = _Brief().repr(value)
    return text if len(text) <= 120 else f"{text[:60]}...{text[-57:]}"


def check_choice(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise ValueError naming the input, its value and what is allowed."""
    options = list(allowed)
    if value not in options:
        raise ValueError(f"{name} is {shown(value)}; allowed: {', '.join(options)}")


def check_range(name: str, value: float, low: float, high: float = math.inf) -> float:
    """Return value as float if low <= value <= high, else raise ValueError naming the input."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # no number, or a whole one too large for a float
        number = math.nan
    if not low <= number <= high:  # NaN fails too
        upper = "" if high == math.inf else f" and <= {high:g}"
        raise ValueError(f"{name} is {_plain(value)}; it must be >= {low:g}{upper}")
    return number


def check_count(name: str, value: int, low: int, high: int | None = None) -> int:
    """Return value as int if it is a whole number >= low (and <= high), else raise ValueError."""
    try:
        whole = not isinstance(value, bool) and int(value) == value
    except (TypeError, ValueError, OverflowError):  # no number, NaN or infinite
        whole = False
    if not whole or value < low or (high is not None and value > high):
        upper = "" if high is None else f" and <= {high}"
        raise ValueError(f"{name} is {_plain(value)}; it must be a whole number >= {low}{upper}")
    return int(value)


def _plain(value: object) -> str:
    """A number as it is printed; anything long or strange as shown() has it."""
    return str(value) if isinstance(value, float) or (isinstance(value, int) and abs(value) < 1e40) else shown(value)


def karras_ramp(nodes: int, start: float, end: float, rho: float = 7.0) -> list[float]:
    """`nodes` >= 2 levels from start down to end, evenly spaced in sigma^(1/rho) (Karras et al. 2022, eq. 5)."""
    a, b = start ** (1 / rho), end ** (1 / rho)
    ramp = [(a + i / (nodes - 1) * (b - a)) ** rho for i in range(nodes)]
    ramp[0], ramp[-1] = start, end  # exact, free of rounding
    return ramp
