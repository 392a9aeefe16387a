"""What Compare Schedules was asked to compare, from its text fields and sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..samplers.grid import check_sigmas, shown
from ..samplers.solvers import available_solvers
from ..schedules import ArtSchedule
from ..schedules.art.compare import Entry
from . import host
from .parse import parse_lines

ALL = "all"
PLUGGED, FIXED = "ART schedule", "sigmas"  # how what comes from a socket is called in the report
Grid = Callable[[int], Tensor | None]


def comparison_entries(
    model_sampling: Any,
    samplers: str,
    schedules: str,
    steps: tuple[int, ...],
    schedule: ArtSchedule | None = None,
    sigmas: Tensor | None = None,
) -> tuple[list[Entry], list[str]]:
    """Every sampler with every schedule, and notes for the report.

    Raises:
        ValueError: naming the line or input, what stands there and what is allowed.
    """
    solvers = _solvers(samplers)
    plugged = schedule is not None or sigmas is not None
    grids, notes = ({}, []) if plugged and not schedules.strip() else _named(model_sampling, schedules, steps)
    if schedule is not None:
        low, high = host.bounds_of(model_sampling)
        learned = schedule
        grids[PLUGGED] = lambda count: learned.sigmas_for(count, 1.0, low, high)
    if sigmas is not None:
        grids[FIXED] = _fixed(sigmas, steps)
    return [Entry(solver, name, make) for solver in solvers for name, make in grids.items()], notes


def _solvers(text: str) -> list[str]:
    allowed = ", ".join(available_solvers())
    found = parse_lines("samplers", text, f"one per line of {allowed}")
    for place, name in found:
        if name not in available_solvers():
            raise ValueError(
                f"{place}: {shown(name)} cannot be compared: only samplers that add no noise of their own and make the "
                f"steps they are given have one exact answer; allowed: {allowed}"
            )
    return [name for _, name in found]


def _named(model_sampling: Any, text: str, steps: tuple[int, ...]) -> tuple[dict[str, Grid], list[str]]:
    """Schedulers of the host's list by name, and a note on those that "all" leaves out."""
    host.refresh_schedulers()
    grids: dict[str, Grid] = {}
    notes: list[str] = []
    for place, name in parse_lines("schedules", text, "one scheduler per line, such as karras, or all"):
        if name == ALL:
            usable, every = host.stock_schedules(model_sampling, steps), host.stock_names()
            grids.update({key: make for key, make in usable.items() if key not in grids})
            left = [key for key in every if key not in usable]
            if left:
                notes.append(f"Left out, as they give no usable steps here: {', '.join(left)}.")
            continue
        try:
            grids[name] = host.named_schedule(model_sampling, name)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    return grids, notes


def _fixed(sigmas: Tensor, steps: Sequence[int]) -> Grid:
    """SIGMAS as they are, at their own step count only."""
    levels = check_sigmas(sigmas)
    count = len(levels) - 1
    if levels[-1] != 0:
        raise ValueError(f"sigmas ends at {levels[-1]:g}; it must end in 0 to be compared with whole runs")
    if count not in steps:
        asked = ", ".join(str(n) for n in steps)
        raise ValueError(f"sigmas has {count} steps, and steps is {asked}; add {count} to steps")
    grid = torch.tensor(levels, dtype=torch.float32)
    return lambda wanted: grid if wanted == count else None
