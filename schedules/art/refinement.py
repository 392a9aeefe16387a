"""The refined method as a whole: what it may spend, on how many trajectories, and what it hands to the pilot."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...samplers.grid import check_sigmas
from ..stock import Schedule
from .bench import Bench, Run
from .curve import ArtSchedule
from .direct import FULL_GAIN, density_candidates, foresee, order_of
from .loops import dpmpp_2m
from .monitor import Monitor
from .pilot import Likely, Trial
from .refine import Refinement
from .trajectories import Field, run_cost

Candidate = Callable[[int], Tensor | None]  # a schedule that may have no grid at a step count

ROWS = 16  # trajectories refined on
FEWEST_ROWS = 6
NODES = 64  # of a reference trajectory
BUDGETS = {1: 2450, 2: 3675, 3: 4900}  # model evaluations by how many step counts, reference included
GAIN_COST = 220  # about what the gains of a bench's densities take
ROUNDS = 9  # real runs a step count should get at least: fewer trajectories before fewer runs
CLOSE, DIFFERENT = 1.1, 0.1  # a second candidate: its measured error over the best one's, its distance in tau
TRIES = 3
SEARCHED = "refined"  # how the names of searched grids begin
FAR = 4  # how many times as many steps the equivalent of a schedule is looked for


@dataclass(frozen=True)
class Plan:
    """rows: trajectories. runs: evaluations left for real runs after the reference."""

    rows: int
    runs: int

    @classmethod
    def of(cls, rows: int, counts: Sequence[int], solver: str) -> Plan:
        """As many trajectories, of `rows` at hand, as leave every step count its runs."""
        budget = BUDGETS.get(len(counts), BUDGETS[3] + 1500 * (len(counts) - 3))
        for wanted in range(min(rows, ROWS), 0, -1):
            left = budget - NODES * wanted - GAIN_COST
            if wanted <= FEWEST_ROWS or left >= ROUNDS * sum(run_cost(solver, n, wanted) for n in counts):
                return cls(wanted, left)
        raise ValueError(f"there are {rows} trajectories; a fit needs at least one")


@dataclass(frozen=True)
class Refined:
    """What a refinement found: candidates for the pilot, and which it should rather run."""

    candidates: dict[str, Candidate]
    runs: dict[int, Run]
    refinement: Refinement
    likely: Likely
    report: dict[str, Any] = field(default_factory=dict)


def fit_refined(
    field_: Field,
    rows: Sequence[int],
    bounds: tuple[float, float],
    solver: str,
    counts: Sequence[int],
    baselines: Mapping[str, Schedule],
    monitor: Monitor,
    *,
    free_start: bool = True,
) -> Refined:
    """Refine a grid for each step count on the given trajectories (see refine.py).

    Candidates: "refined", the best measured of the searched grids of each step count, and "refined_2", the next best
    one that differs from it, if it is CLOSE: a dozen trajectories cannot always tell them apart. With several step
    counts also "refined_curve", the one of these curves that is predicted best over all of them, resampled. And the
    direct method's schedules (direct.py), which cost little here: where some trajectories end in another mode, a
    density averaged over levels is surer than a search.
    """
    began, in_model = time.monotonic(), field_.seconds
    plan = Plan.of(len(rows), counts, solver)
    rivals = {n: _rivals(baselines, n) for n in counts}
    monitor.enter("refine", "drawing a few samples in very fine steps, to learn from")
    bench = Bench(field_, rows[: plan.rows], *bounds, NODES)

    def on_run(steps: int) -> None:
        last, best = bench.runs[-1], bench.best(solver, steps)
        what = f"the stock {last.name}" if last.name else "a new grid"
        line = f"{steps} steps: {what} measured {last.mean:.4g}, best so far {best.mean:.4g}"
        shown = [r for r in bench.runs if r.steps == counts[-1]]
        if shown:
            errors = {r.name or "refined": r.mean for r in sorted(shown, key=lambda r: -r.mean)}
            monitor.show(bench.best(solver, counts[-1]).sigmas, errors, line)

    spent = field_.spent
    curvature = bench.curvature()
    by_density = density_candidates(curvature, solver, free_start)
    # A few trajectories' gain is too rough to weight Euler's errors in full: good to search from, not to be chosen.
    rough = FULL_GAIN if order_of(solver) == 1 else None
    left = plan.runs + GAIN_COST - (field_.spent - spent)
    refinement = Refinement(bench, solver, rivals, left, free_start, by_density, on_run)
    refinement.refine()
    runs = {n: _searched(bench, solver, n) for n in counts}
    second = {n: _second(bench, solver, n) for n in counts}
    candidates: dict[str, Candidate] = {
        SEARCHED: lambda n: runs[n].sigmas.float(),
        "refined_2": lambda n: None if (run := second[n]) is None else run.sigmas.float(),
    }
    if len(counts) > 1:
        curve = _one_curve(refinement, runs, bounds, field_.process.kind)
        candidates["refined_curve"] = curve.sigmas
    candidates |= {name: make for name, make in by_density.items() if name != rough}
    report: dict[str, Any] = {
        "rows": plan.rows,
        "runs": len(bench.runs),
        "surrogate": refinement.history,
        "predicted": {n: _predictions(refinement, n, candidates, rivals[n]) for n in counts},
        "start": {n: _start_cost(bench, run) for n, run in runs.items()},
    }
    report["surrogate_seconds"] = round(time.monotonic() - began - (field_.seconds - in_model), 3)
    # Where trajectories part between modes, the density is surer of stock grids than the surrogate.
    likely = foresee(curvature, solver, lambda name: name.startswith(SEARCHED))
    return Refined(candidates, runs, refinement, likely, report)


def measured_equivalent(
    solver: str,
    own: Trial,
    rival: Trial,
    make: Schedule,
    measure: Callable[[Tensor, Trial], float | None],
) -> dict[int, float]:
    """The rival's measured errors at step counts around the one where it is as accurate as `own`, {steps: error}.

    The first step count is guessed from the solver's order; where the rival still falls short there, a larger one,
    TRIES times in all. measure: really runs a grid, and scales its error as the given trial's; None where that would
    cost too much.
    """
    known: dict[int, float] = {}
    last, error = len(rival.sigmas) - 1, rival.mean
    for _ in range(TRIES):
        wanted = math.ceil(last * (error / own.mean) ** (1 / order_of(solver))) if own.mean > 0 else FAR * own.steps
        wanted = min(max(wanted, last + 1), FAR * own.steps)
        grid = usable(make, wanted)
        found = None if grid is None or len(grid) - 1 <= last else measure(grid, own)
        if grid is None or found is None:
            break
        last, error = len(grid) - 1, found
        known[last] = error
        if error <= own.mean:
            break
    return known


def usable(make: Schedule, steps: int) -> Tensor | None:
    """A schedule's grid for this step count (some give a step more), or None where it has none that ends in 0."""
    try:
        grid = make(steps)
        good = grid is not None and check_sigmas(grid)[-1] == 0
    except (ValueError, ArithmeticError, LookupError):
        return None
    return torch.as_tensor(grid).float().cpu() if good else None


def _rivals(baselines: Mapping[str, Schedule], steps: int) -> dict[str, Tensor]:
    found = {name: usable(make, steps) for name, make in baselines.items()}
    return {name: grid.double() for name, grid in found.items() if grid is not None and len(grid) == steps + 1}


def _one_curve(refinement: Refinement, runs: Mapping[int, Run], bounds: tuple[float, float], kind: str) -> ArtSchedule:
    """The measured curve whose resampled grids are predicted best over all step counts (mean log error)."""
    curves = {}
    for n, run in runs.items():
        knots = tuple(float(v) for v in run.sigmas[:-1])
        curve = ArtSchedule(((n, knots),), refinement.solver, kind, *bounds)
        score = 0.0
        for m in runs:
            score += torch.tensor(refinement.predict(m, {"": curve.sigmas(m).double()})[""]).log().item()
        curves[score] = curve
    return curves[min(curves)]


def _searched(bench: Bench, solver: str, steps: int) -> Run:
    """The best measured of the searched grids, or of all where none was."""
    runs = [r for r in bench.runs if r.solver == solver and r.steps == steps]
    return min([r for r in runs if not r.name] or runs, key=lambda r: r.mean)


def _second(bench: Bench, solver: str, steps: int) -> Run | None:
    """The next best searched grid at least DIFFERENT in tau from the best and at most CLOSE worse."""
    best = _searched(bench, solver, steps)
    found = [r for r in bench.runs if r.solver == solver and r.steps == steps and not r.name and r is not best]
    runs = [best, *sorted(found, key=lambda r: r.mean)]
    taus = [bench.axis.taus(r.sigmas[:-1]) for r in runs]
    for run, tau in zip(runs[1:], taus[1:], strict=True):
        if run.mean <= CLOSE * runs[0].mean and (tau - taus[0]).abs().max() >= DIFFERENT:
            return run
    return None


def _predictions(
    refinement: Refinement, steps: int, candidates: Mapping[str, Candidate], rivals: Mapping[str, Tensor]
) -> dict[str, float]:
    grids = {name: grid.double() for name, make in candidates.items() if (grid := make(steps)) is not None}
    return refinement.predict(steps, {**grids, **rivals})


def _start_cost(bench: Bench, run: Run) -> dict[str, float]:
    """The first sigma, and the error that starting there leaves however finely one solves from it (predicted).

    Noise scaled to a lower sigma lacks what the model would have shaped above it.

    Returns:
        sigma, of_sigma_max (its share), error (root mean square, as end errors are), of_error: the grid's whole one.
    """
    axis, first = bench.axis, float(run.sigmas[0])
    surrogate = bench.surrogate(run.solver, run.steps)
    with torch.inference_mode(False), torch.no_grad():
        tops = torch.tensor([axis.high, axis.tau(min(first, axis.sigma_max))], dtype=torch.float64)
        line = torch.linspace(0, 1, NODES, dtype=torch.float64)
        sigmas = axis.sigmas(tops[:, None] + (axis.low - tops)[:, None] * line)
        ends = dpmpp_2m(surrogate.prepare, surrogate.path.noise[:, None] * sigmas[:, 0, None], sigmas)
        error = (ends[:, 1] - ends[:, 0]).norm(dim=1).mean() / surrogate.path.values**0.5
    return {"sigma": first, "of_sigma_max": first / axis.sigma_max, "error": float(error), "of_error": run.mean}
