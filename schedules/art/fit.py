"""fit_schedule: learn a schedule for one model, one solver and some step counts; one entry point."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...samplers.grid import check_choice, check_count
from ...samplers.noise_process import find_model_sampling
from ...samplers.solvers import CALLS_PER_STEP, available_solvers
from ..edm import check_bounds
from ..stock import Schedule, stock_schedules
from .actor_critic_fit import art_rl_candidates
from .actor_critic_settings import ActorCriticSettings
from .choice import choose, equivalent_steps, verdict
from .curve import MAX_KNOTS, ArtSchedule, compress
from .direct import OBJECTIVES, density_candidates, foresee, measure_curvature
from .monitor import FitProgress, Monitor
from .pilot import REFERENCE_NODES, Likely, Trial, run_pilot
from .refinement import BUDGETS, ROWS, Candidate, Refined, fit_refined, measured_equivalent, usable
from .trajectories import Field, end_errors, log_uniform_nodes, run_cost, solve_reference

if TYPE_CHECKING:
    from .ranks import Ranks

__all__ = ["METHODS", "FitProgress", "fit_schedule"]

METHODS = ("direct", "refined", "art_rl")
FIT_ROWS = 12  # trajectories the density is measured on; more barely changes the curve
MAX_STEP_COUNTS = 8
PILOT_BUDGET, PILOT_COUNTS, PILOT_FURTHER = 2000, 3, 700  # model evaluations of a pilot for so many step counts; more
PILOT_ROWS = 20  # trajectories it has at most
FINALISTS = (5, 4, 3, 2)  # candidates it should be able to run on all of them, beside the reference; fewer rather
FEWEST_ROWS = 6  # than fewer trajectories than these
EQUAL_ROWS, EQUAL_SHARE = 4, 0.15  # trajectories on which equivalent steps are measured, and the budget's share for it


def fit_schedule(
    model: Any,
    noise: Tensor,
    *,
    sigma_min: float,
    sigma_max: float,
    solver: str = "euler",
    steps: Sequence[int] = (8, 12, 20),
    method: str = "direct",
    free_start: bool = True,
    baselines: Mapping[str, Schedule] | None = None,
    seed: int = 0,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[FitProgress], None] | None = None,
    ranks: Ranks | None = None,
    settings: ActorCriticSettings | None = None,
) -> ArtSchedule:
    """Learn a sigma schedule for `model`.

    Two methods. "direct": the curvature along a few finely solved trajectories, and the gain with which the model's
    own flow carries an error to sigma 0, give a node density (see direct.py). "refined": from the best stock grids
    on, each grid is moved where a surrogate of the model predicts less end error, run for real, and the surrogate
    learns from that run (see refine.py); at most BUDGETS evaluations.

    Then a pilot on the other trajectories, which the fit has not seen, runs the learned grids and every baseline for
    real, and keeps the best at each step count: a learned one only where it is clearly ahead of the best baseline.

    Args:
        model: any k-diffusion denoiser, model(x, sigma, **extra_args) -> denoised; sigma has one value a sample.
            The batch is not fixed: several levels of several trajectories are evaluated together.
        noise: (trajectories, ...) unit Gaussian, one starting point each; 16 to 32 are enough. The first few (at
            most 6) are for the density, the others for the pilot; a single one serves both.
        sigma_min, sigma_max: bounds of the model, 0 < sigma_min < sigma_max (flow: sigma_max <= 1).
        solver: the k-diffusion solver it is for: "euler", "heun", "dpmpp_2m", ...
        steps: step counts to fit and measure.
        method: "direct", "refined" or "art_rl", the paper's actor-critic (actor_critic.py): tens of thousands of
            evaluations for direct's objective; for fidelity to the paper.
        free_start: whether a grid may start below sigma_max (searched: at 0.6 sigma_max at the lowest; by density:
            0.6 of a step below it). That shortens every step, but noise scaled to a lower sigma lacks what the model
            would have shaped above it; this is part of the end error that is measured, and a refined fit reports it
            ("start"). False: all start at sigma_max.
        baselines: the host's stock schedules by name, steps -> sigmas each. By default karras, exponential and,
            for a model with a table of sigmas, normal, simple and ddim_uniform.
        seed: which trajectories are for the density and which for the pilot. Same seed and noise, same schedule.
        extra_args: passed to the model. Tensors whose first size is the number of trajectories are per trajectory.
        callback: called with a FitProgress as work is done; what it raises ends the fit.
        ranks: the processes that share every batch, each of which makes this same call (see ranks.py). All return
            the same curves; only rank 0's schedule has the report, and only it calls back.
        settings: hyper-parameters of "art_rl"; None: the defaults, with this seed.

    Returns:
        ArtSchedule. Its report holds model_evaluations (of the fit; one evaluation = one sample through the model
        once), pilot_evaluations, chosen {steps: name}, pilot {steps: {name: mean end error}} (root mean square
        over a sample's values, mean over the pilot's trajectories that candidate ran on; "a+b" is the mean of two
        candidates' log sigmas), pilot_trajectories {steps: {name: how many}}, left_out {steps: stock schedules that
        were not run, foreseen to be far behind}, equivalent {steps: [stock schedule, steps at which it is as
        accurate]} where known, verdict (a sentence), seconds, method, free_start,
        trajectories. A refined fit adds predicted {steps: {name: end error by the surrogate}}, surrogate (each
        proposal's predicted and measured error), surrogate_seconds, rows, runs, and start {steps: first sigma, its
        share of sigma_max, and the error that this start alone leaves, of the whole}. An ART-RL fit adds art_rl
        {model_evaluations, cost, terminal_error, scaling, history}.

    Raises:
        ValueError: bad input (named, before any model call), or NaN / inf from the model.
        RankError: one of `ranks` was lost or failed.
    """
    counts = _check_inputs(noise, steps, solver, method)
    if ranks is not None and ranks.rank > 0:
        return ranks.serve(model, extra_args or {}, noise, noise.shape[0])
    monitor = Monitor(callback)
    try:
        field_ = Field(model, noise, extra_args, monitor.spend, ranks)
        check_bounds(sigma_min, sigma_max, field_.process.kind == "flow")
        if baselines is None:
            baselines = stock_schedules(find_model_sampling(model) or model, sigma_min, sigma_max)
        bounds = (sigma_min, sigma_max)
        schedule = _learn(field_, bounds, solver, counts, method, free_start, baselines, seed, monitor, settings)
    except BaseException:
        if ranks is not None:
            ranks.give_up()
        raise
    if ranks is not None:
        ranks.finish(schedule)
    return schedule


def _learn(
    field_: Field, bounds: tuple[float, float], solver: str, counts: list[int], method: str, free_start: bool,
    baselines: Mapping[str, Schedule], seed: int, monitor: Monitor, settings: ActorCriticSettings | None,
) -> ArtSchedule:  # fmt: skip
    """fit_schedule, its input checked: learn on some trajectories, measure on the others, keep the best."""
    began = time.monotonic()
    noise, (sigma_min, sigma_max) = field_.noise, bounds
    rows = torch.randperm(noise.shape[0], generator=torch.Generator().manual_seed(seed)).tolist()
    # At most half to learn on; a single trajectory serves both sides.
    fit_rows = rows[: max(1, min(ROWS if method == "refined" else FIT_ROWS, len(rows) // 2))]
    budget = float("inf") if method == "art_rl" else _pilot_budget(counts)  # art_rl has no prediction to begin with
    pilot_rows = _pilot_rows(rows[len(fit_rows) :] or rows, counts, solver, budget)
    monitor.total = _expected(method, len(fit_rows), len(pilot_rows), counts, len(baselines) + 5, solver)
    extra: dict[str, Any] = {}
    refined: Refined | None = None
    likely: Likely | None = None
    if method == "refined":
        refined = fit_refined(field_, fit_rows, bounds, solver, counts, baselines, monitor, free_start=free_start)
        learned: dict[str, Candidate] = refined.candidates
        extra, likely = refined.report, refined.likely
    elif method == "art_rl":
        monitor.total += (settings or ActorCriticSettings()).expected_evaluations()
        monitor.enter("density", "learning by trial and error (ART-RL)")
        by_policy, extra = art_rl_candidates(field_, fit_rows, bounds, solver, settings, seed, free_start, monitor)
        learned = {**by_policy}
    else:
        monitor.enter("density", "measuring how the model bends its paths")
        curvature = measure_curvature(field_, fit_rows, sigma_min, sigma_max)
        direct = density_candidates(curvature, solver, free_start)
        learned = {**direct}
        likely = foresee(curvature, solver, direct.__contains__)
        monitor.show(direct["art"](counts[-1]))
    fit_cost = monitor.done

    monitor.enter("reference", "drawing a few samples in very fine steps, to compare with")
    nodes = log_uniform_nodes(REFERENCE_NODES, sigma_min, sigma_max, field_.process)
    ends = solve_reference(field_, pilot_rows, nodes).end
    monitor.enter("pilot", "trying every candidate schedule")
    trials = run_pilot(
        field_, pilot_rows, ends, {**learned, **baselines}, set(baselines), counts, solver, monitor.show_trials,
        blend=refined is None, likely=likely,
        allowance=budget * (1 - EQUAL_SHARE) - (monitor.done - fit_cost),
    )  # fmt: skip

    curves, chosen = [], {}
    limit = MAX_KNOTS // len(counts)
    for n in counts:
        best = choose(
            [t for t in trials[n] if len(t.sigmas) == n + 1],
            [] if refined else list(learned),
            set(baselines),
        )
        chosen[n] = best.name
        curves.append((n, compress(n, [float(v) for v in best.sigmas[:-1]], limit)))
    spare = budget - (monitor.done - fit_cost)
    equals = _equivalents(
        trials, chosen, baselines, solver, _measurer(field_, pilot_rows[:EQUAL_ROWS], ends, solver, spare)
    )
    report = {
        "method": method,
        "solver": solver,
        "model_evaluations": fit_cost,
        "pilot_evaluations": monitor.done - fit_cost,
        "chosen": chosen,
        "pilot": {n: {t.name: t.mean for t in trials[n]} for n in counts},
        "pilot_trajectories": {n: {t.name: len(t.errors) for t in trials[n]} for n in counts},
        "left_out": {n: _left_out(baselines, trials[n], n) for n in counts},
        "equivalent": {n: list(pair) for n, pair in equals.items()},
        "verdict": verdict(trials, chosen, set(baselines), equals),
        "trajectories": noise.shape[0],
        "seed": seed,
        "free_start": free_start,
        "seconds": round(time.monotonic() - began, 3),
        **extra,
    }
    return ArtSchedule(tuple(curves), solver, field_.process.kind, sigma_min, sigma_max, report=report)


def _expected(method: str, fit_rows: int, pilot_rows: int, counts: Sequence[int], candidates: int, solver: str) -> int:
    """An upper estimate of all evaluations."""
    if method == "refined":
        return BUDGETS.get(len(counts), BUDGETS[3] + 1500 * (len(counts) - 3)) + _pilot_budget(counts)
    if method == "direct":
        return 210 * fit_rows + _pilot_budget(counts)
    # All candidates in the pilot's first round, three of them to the end.
    runs = CALLS_PER_STEP.get(solver, 2) * sum(counts) * (2 * candidates + 3 * pilot_rows)
    return 210 * fit_rows + REFERENCE_NODES * pilot_rows + runs


def _pilot_budget(counts: Sequence[int]) -> int:
    return PILOT_BUDGET + PILOT_FURTHER * max(0, len(counts) - PILOT_COUNTS)


def _pilot_rows(rows: list[int], counts: Sequence[int], solver: str, budget: float) -> list[int]:
    """As many trajectories as the budget lets FINALISTS run on, besides their reference; at least two, if there are."""
    cost = sum(run_cost(solver, n, 1) for n in counts)
    found = [int(min(PILOT_ROWS, budget / (REFERENCE_NODES + finalists * cost))) for finalists in FINALISTS]
    return rows[: max(2, next((count for count in found if count >= FEWEST_ROWS), found[-1]))]


def _left_out(baselines: Mapping[str, Schedule], trials: Sequence[Trial], steps: int) -> list[str]:
    """Stock schedules that have a grid at this step count, but were foreseen to be too far behind to be run."""
    run = {t.name for t in trials}
    return [name for name, make in baselines.items() if name not in run and usable(make, steps) is not None]


def _measurer(
    field_: Field, rows: Sequence[int], ends: Tensor, solver: str, spare: float
) -> Callable[[Tensor, Trial], float | None]:
    """Really measures a grid on some trajectories while the allowance lasts, else gives None.

    The error is scaled as another trial's mean error is to that on these trajectories: a fair pair.
    """
    left = spare

    def measure(grid: Tensor, own: Trial) -> float | None:
        nonlocal left
        cost = run_cost(solver, len(grid) - 1, len(rows))
        if cost > left:
            return None
        left -= cost
        errors, here = end_errors(field_.solve(solver, rows, grid), ends[: len(rows)]), own.errors[: len(rows)]
        return sum(errors) / len(rows) * (own.mean * len(rows) / sum(here) if sum(here) > 0 else 1.0)

    return measure


def _equivalents(
    trials: Mapping[int, list[Trial]],
    chosen: Mapping[int, str],
    baselines: Mapping[str, Schedule],
    solver: str,
    measure: Callable[[Tensor, Trial], float | None],
) -> dict[int, tuple[str, float]]:
    """{steps: (best stock schedule, steps at which it is as accurate as the choice)}, where measured errors tell."""
    found = {}
    for n, name in chosen.items():
        own = next(t for t in trials[n] if t.name == name)
        rival = next((t for t in trials[n] if t.name in baselines), None)
        if name in baselines or rival is None or len(rival.errors) < len(own.errors):
            continue
        known = {len(t.sigmas) - 1: t.mean for ts in trials.values() for t in ts if t.name == rival.name}
        steps = equivalent_steps(own.mean, known)
        if steps is None and own.mean < rival.mean:
            known |= measured_equivalent(solver, own, rival, baselines[rival.name], measure)
            steps = equivalent_steps(own.mean, known)
        if steps is not None:
            found[n] = (rival.name, round(steps, 2))
    return found


def _check_inputs(noise: Tensor, steps: Sequence[int], solver: str, method: str) -> list[int]:
    if not isinstance(noise, Tensor) or noise.ndim < 2 or noise.shape[0] < 1 or not noise.is_floating_point():
        shape = tuple(noise.shape) if isinstance(noise, Tensor) else type(noise).__name__
        raise ValueError(f"noise must be a floating point batch (trajectories, ...), got {shape}")
    if not bool(torch.isfinite(noise).all()):
        raise ValueError("noise holds NaN or inf")
    check_choice("method", method, METHODS)
    allowed = [name for name in available_solvers() if name in OBJECTIVES]
    check_choice("solver", solver, allowed)
    counts = sorted({check_count("steps", n, 1, 1000) for n in steps})
    if not 1 <= len(counts) <= MAX_STEP_COUNTS:
        raise ValueError(f"steps is {list(steps)}; give 1 to {MAX_STEP_COUNTS} step counts")
    return counts
