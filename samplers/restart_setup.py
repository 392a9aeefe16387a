"""From what the user asked of a Restart run to a plan: presets, solvers, churn and the budget of model calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .grid import check_choice, check_count, check_range
from .noise_process import NoiseProcess
from .restart_plan import LARGEST_CHURN, Churn, Cost, Piece, Plan, fit_into, keep_inside, lay_out
from .restart_presets import PRESETS, Preset, auto_extra_steps, resolve_preset
from .segments import Level, Segment, check_segments, resolve_segments
from .solver_probe import call_counter, calls_per_step, check_deterministic
from .solvers import Solver, resolve_solver

log = logging.getLogger(__name__)

ON_TOP, WITHIN = BUDGETS = ("on top of steps", "within steps")


@dataclass(frozen=True)
class Request:
    """The options of sample_restart, checked; see there."""

    segments: str | tuple[Segment | Sequence[Level], ...]
    solver: str | Solver
    main_solver: str | Solver | None
    s_noise: float | None
    budget: str | int
    churn: float
    churn_range: tuple[float, ...]

    def __post_init__(self) -> None:
        if isinstance(self.segments, str):
            check_choice("segments (a preset's name)", self.segments, PRESETS)
        else:
            check_segments(self.segments)
        if isinstance(self.budget, str):
            check_choice("budget", self.budget, BUDGETS)
        else:
            check_count("budget", self.budget, 1)
        check_range("churn", self.churn, 0.0, 10.0)
        if len(self.churn_range) != 2:
            raise ValueError(f"churn_range is {self.churn_range!r}; it must be (lowest, highest)")
        low = check_range("churn_range, lowest", self.churn_range[0], 0.0)
        check_range("churn_range, highest", self.churn_range[1], low)
        if self.s_noise is not None:
            check_range("s_noise", self.s_noise, 0.0, 10.0)
        for solver in (self.solver, self.main_solver):
            if solver is not None:
                resolve_solver(solver)

    @property
    def preset(self) -> Preset:
        """The named preset, or one that changes nothing."""
        return PRESETS[self.segments] if isinstance(self.segments, str) else Preset()


@dataclass(frozen=True)
class Run:
    """What is going to happen: the plan, who solves, how strong the noise is, and a text about it for people."""

    plan: Plan
    main: Solver
    restarts: Solver
    s_noise: float
    text: str


def set_up(request: Request, model: Any, levels: Sequence[float], with_calls: bool = False) -> Run:
    """Plan a run on `levels` without a model call; what is left out or changed is logged and stands in the text.

    with_calls: count the model calls for the text even where no budget asks for them.

    Raises:
        ValueError: a segment that this run's levels cannot place, a solver that is stochastic or fails, or a budget
            too small for one step.
    """
    process, preset = NoiseProcess.of(model), request.preset
    asked = request.main_solver if request.main_solver is not None else preset.main_solver
    main_name, name = _name(asked if asked is not None else request.solver), _name(request.solver)
    restarts = resolve_solver(request.solver)
    main = resolve_solver(asked) if asked is not None else restarts
    plugged = {_name(s): s for s in (asked, request.solver) if callable(s)}
    for who, function in plugged.items():
        check_deterministic(function, who, model, levels)
    cost = _cost(call_counter(main, main_name, model), call_counter(restarts, name, model))
    limit = _limit(request, levels, lambda: calls_per_step(main, main_name, model))
    segments: Iterable[Segment | Sequence[Level]]
    notes: tuple[str, ...] = ()
    if isinstance(request.segments, str):
        each = calls_per_step(restarts, name, model) if request.segments == "auto" else 1
        extra = auto_extra_steps(len(levels) - 1, each, limit)
        chosen = resolve_preset(request.segments, levels, process, model, extra)
        segments, notes = chosen.segments, chosen.notes
    else:
        segments = request.segments
    intervals, warnings = keep_inside(resolve_segments(segments, levels, process), levels)
    churn = Churn(min(request.churn, LARGEST_CHURN), *request.churn_range)
    if churn.amount < request.churn:
        warnings.append(f"churn {request.churn:g} is lowered to sqrt(2) - 1, the most that makes sense")
    if limit is None:
        plan = Plan(tuple(lay_out(levels, intervals, process, churn)), len(levels) - 1)
    else:
        plan = fit_into(limit, levels, intervals, process, cost, churn)
    notes += plan.notes
    inserted = plan.main_steps - plan.grid_steps
    if inserted:
        notes += (
            f"{inserted} {'level' if inserted == 1 else 'levels'} inserted into the steps for restarts to end at",
        )
    plan = replace(plan, notes=notes, warnings=(*warnings, *plan.warnings))
    calls = cost(plan.pieces) if with_calls or plugged or limit is not None else None
    for warning in plan.warnings:
        log.warning("%s", warning)
    for note in plan.notes:
        log.info("%s", note)
    s_noise = preset.s_noise if request.s_noise is None else request.s_noise
    return Run(plan, main, restarts, s_noise, describe(plan, calls))


def describe(plan: Plan, calls: int | None) -> str:
    """A sentence on what will run, then one line for each thing that differs from what was asked for."""
    spent = "" if calls is None else f" = {calls} model calls"
    lines = [f"Restart: {plan.main_steps} main + {plan.restart_steps} restart steps{spent}"]
    lines += [f"Warning: {text}" for text in plan.warnings]
    lines += [text[0].upper() + text[1:] for text in plan.notes]
    return "\n".join(lines)


def _limit(request: Request, levels: Sequence[float], calls_of_a_step: Callable[[], int]) -> int | None:
    """Model calls that the whole run may cost, or None for as many as it takes."""
    limits = [] if isinstance(request.budget, str) else [int(request.budget)]
    if request.budget == WITHIN or request.preset.within_steps:
        limits.append((len(levels) - 1) * calls_of_a_step())
    return min(limits) if limits else None


def _cost(main: Callable[[Sequence[float]], int], restarts: Callable[[Sequence[float]], int]) -> Cost:
    def cost(pieces: Iterable[Piece]) -> int:
        return sum(restarts(p.sigmas) if p.restart else main(p.sigmas) for p in pieces)

    return cost


def _name(solver: str | Solver) -> str:
    """How a solver is called in texts; a plugged-in one may carry its own name in `display_name`."""
    if isinstance(solver, str):
        return f"solver {solver!r}"
    return str(getattr(solver, "display_name", None) or f"solver {getattr(solver, '__name__', type(solver).__name__)}")
