"""Compare schedules: end errors of solver and schedule pairs from the same noise, against one fine reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import torch
from torch import Tensor

from ...samplers.grid import check_choice, check_count, check_sigmas
from ...samplers.solvers import available_solvers, resolve_solver
from ..stock import Schedule
from .choice import clearly_ahead
from .pilot import REFERENCE_NODES, Trial
from .tau import TauAxis, discrete_levels
from .trajectories import Field, FieldRows, end_errors, run_cost, solve_reference

MIN_REFERENCE_NODES = 16
GROUP_VALUES = 2**19  # latent values of the trajectories whose reference is solved together: two of 16 x 128 x 128
SAME = 0.01  # share of the least error that is no difference to anyone; the same levels by two names, rounded, also


@dataclass(frozen=True)
class Entry:
    """One line of a comparison. schedule: the name shown; make: steps -> sigmas, or None where it has none there."""

    solver: str
    schedule: str
    make: Schedule | Callable[[int], Tensor | None]


@dataclass(eq=False)
class Measurement(Trial):
    """An entry at one step count. errors: end error of each trajectory; calls: model calls of one trajectory.

    end: (1, ...) where the first trajectory landed, on the CPU; None before the run.
    """

    solver: str = ""
    calls: int = 0
    end: Tensor | None = dataclass_field(default=None, repr=False)


@dataclass(frozen=True)
class Comparison:
    """What was measured. reference_error: an estimate of the reference's own mean error, in the same measure."""

    runs: tuple[Measurement, ...]
    reference_error: float
    reference_end: Tensor

    @property
    def steps(self) -> tuple[int, ...]:
        """Step counts, as they were asked for."""
        return tuple(dict.fromkeys(run.steps for run in self.runs))

    @property
    def solvers(self) -> tuple[str, ...]:
        """Solvers, as they were asked for."""
        return tuple(dict.fromkeys(run.solver for run in self.runs))

    def ranked(self, steps: int) -> list[Measurement]:
        """The runs at a step count, least mean error first."""
        return sorted((run for run in self.runs if run.steps == steps), key=lambda run: run.mean)

    def best(self, steps: int) -> Measurement:
        """The run with the least mean error at a step count."""
        return self.ranked(steps)[0]

    def tied(self, run: Measurement) -> bool:
        """Whether a run is as good as the best at its step count: within SAME of it, or behind by no more than chance.

        For chance see choice.clearly_ahead; one trajectory says nothing about it.
        """
        best = self.best(run.steps)
        if run is best or not math.isfinite(run.mean):
            return False
        return run.mean <= best.mean * (1 + SAME) or (len(run.errors) > 1 and not clearly_ahead(best, run))


def by_pair(comparison: Comparison) -> dict[tuple[str, str], list[Measurement]]:
    """(solver, schedule) -> its runs, the best pair first: least mean log of how many times the best error it has."""
    pairs: dict[tuple[str, str], list[Measurement]] = {}
    for run in comparison.runs:
        pairs.setdefault((run.solver, run.name), []).append(run)

    def behind(pair: tuple[str, str]) -> float:
        found = [(run.mean, comparison.best(run.steps).mean) for run in pairs[pair]]
        if not all(math.isfinite(mean) for mean, _ in found):
            return math.inf
        return sum(math.log(max(mean, 1e-30) / max(best, 1e-30)) for mean, best in found) / len(found)

    return {pair: pairs[pair] for pair in sorted(pairs, key=behind)}


def plan(entries: Sequence[Entry], steps: Sequence[int]) -> list[Measurement]:
    """The runs of a comparison, not yet made; their sigmas are checked here, before any model call.

    Raises:
        ValueError: no entries or steps, an unknown or stochastic solver, or a schedule that gives no descending
            sigmas ending in 0 at one of the step counts; each is named.
    """
    if not entries or not steps:
        raise ValueError("there is nothing to compare: give at least one sampler, one schedule and one number of steps")
    runs = []
    for n in dict.fromkeys(check_count("steps", n, 1) for n in steps):
        for entry in entries:
            check_choice("sampler", entry.solver, available_solvers())
            sigmas = _grid(entry, n)
            if sigmas is not None:
                runs.append(Measurement(entry.schedule, n, sigmas, solver=entry.solver))
    return runs


def _grid(entry: Entry, steps: int) -> Tensor | None:
    place = f"schedule {entry.schedule!r} at {steps} steps"
    try:
        found = entry.make(steps)
        values = None if found is None else check_sigmas(found)
    except Exception as error:  # the scheduler of another pack may raise anything
        raise ValueError(f"{place} cannot be compared: {error}") from error
    if values is None:
        return None
    if values[-1] != 0:
        raise ValueError(f"{place} cannot be compared: it ends at sigma {values[-1]:g}; it must end in 0")
    return torch.tensor(values, dtype=torch.float32)


def expected_evaluations(runs: Sequence[Measurement], trajectories: int, nodes: int = REFERENCE_NODES) -> int:
    """Model evaluations of a comparison: exact for solvers whose last step, to sigma 0, is one call."""
    calls = sum(run_cost(run.solver, len(run.sigmas) - 1, 1) for run in runs)
    return trajectories * (calls + nodes + nodes // 2)


def compare(
    field: Field,
    rows: Sequence[int],
    runs: Sequence[Measurement],
    sigma_min: float,
    sigma_max: float,
    nodes: int = REFERENCE_NODES,
    on_run: Callable[[list[Measurement]], None] | None = None,
) -> Comparison:
    """Run everything planned, from the same noise, and measure how far from the fine reference each lands.

    The error of a trajectory is the root mean square of x_end - reference over its values. A run that ends in NaN or
    inf, or drives the model there, has error inf and no end; the others go on.

    Args:
        rows: trajectories of the field to measure on. runs: from plan(); filled in here.
        nodes: evaluations a trajectory of the reference (third order); half as many are spent once more to tell how
            accurate it is.
        on_run: called after each run with those made so far; what it raises ends the comparison.

    Raises:
        ValueError: bad nodes (before any model call), or NaN / inf from the model on the reference's own path.
    """
    check_count("reference_steps", nodes, MIN_REFERENCE_NODES)
    ends, uncertainty = reference_ends(field, rows, sigma_min, sigma_max, nodes)
    made: list[Measurement] = []
    for run in runs:
        _run(field, rows, run, ends)
        made.append(run)
        if on_run is not None:
            on_run(made)
    return Comparison(tuple(made), uncertainty, ends[:1].detach().float().cpu())


def _run(field: Field, rows: Sequence[int], run: Measurement, ends: Tensor) -> None:
    model = _Counter(field, rows)
    grid = run.sigmas.to(field.noise.device, field.noise.dtype)
    try:
        end = resolve_solver(run.solver)(model, field.start(rows, float(grid[0])), grid, disable=True)
    except NotFinite:
        run.errors, run.calls = [math.inf] * len(rows), model.calls
        return
    run.errors = [error if math.isfinite(error) else math.inf for error in end_errors(end, ends)]
    run.calls, run.end = model.calls, end[:1].detach().float().cpu()


def reference_ends(
    field: Field, rows: Sequence[int], sigma_min: float, sigma_max: float, nodes: int
) -> tuple[Tensor, float]:
    """(len(rows), ...) end points of a fine solution, and an estimate of their mean error.

    The estimate is a third of the distance to the solution with half the nodes: Richardson's for order two. The
    solution is of third order on smooth fields, where the estimate is too large; networks are rougher (on the tiny
    checkpoints, at 64 to 256 nodes, the true error was 0.5 to 1.7 times the estimate). On a model that rounds sigmas,
    nodes are levels that it knows.
    """
    axis = TauAxis.of(field.process, sigma_min, sigma_max, discrete_levels(field.model))
    values = field.noise[:1].numel()
    size = max(1, GROUP_VALUES // values)  # a reference keeps all its states: few large latents at a time
    groups = [rows[i : i + size] for i in range(0, len(rows), size)]
    half, full = (
        torch.cat([solve_reference(field, group, _nodes(axis, count)).end for group in groups])
        for count in (nodes // 2, nodes)
    )
    apart = end_errors(half, full)
    return full, sum(apart) / len(apart) / 3


def _nodes(axis: TauAxis, count: int) -> Tensor:
    sigmas = axis.nodes(count)
    if axis.levels is not None and len(axis.levels) > count:
        return axis.levels[torch.unique(axis.nearest(sigmas)).flip(0)]
    return sigmas


class NotFinite(ValueError):
    """A run has driven the model to NaN or inf."""


class _Counter(FieldRows):
    """Counts the model calls of one trajectory, and tells NaN and inf from other errors."""

    calls = 0

    def __call__(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        self.calls += x.shape[0] // len(self.rows)
        try:
            return super().__call__(x, sigma, **kwargs)
        except ValueError as error:
            if "NaN or inf" in str(error):
                raise NotFinite(str(error)) from error
            raise
