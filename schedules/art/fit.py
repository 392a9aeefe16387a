"""fit_schedule: learn a schedule for one model, one solver and some step counts; one entry point."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...samplers.grid import check_choice, check_count
from ...samplers.noise_process import find_model_sampling
from ...samplers.solvers import CALLS_PER_STEP, available_solvers
from ..edm import check_bounds
from ..stock import Schedule, stock_schedules
from .curve import MAX_KNOTS, ArtSchedule, compress
from .direct import OBJECTIVES, VARIANTS, Density, fit_densities
from .pilot import REFERENCE_NODES, Trial, run_pilot
from .trajectories import Field, log_uniform_nodes, solve_reference

METHODS = ("direct",)
FIT_ROWS = 12  # trajectories the density is measured on; more barely changes the curve
MAX_STEP_COUNTS = 8
PILOT_NOISE = 0.05


@dataclass(frozen=True)
class FitProgress:
    """What a fit's callback gets.

    stage: "reference", "density" or "pilot". done, total: model evaluations so far and expected (total is an upper
    estimate). sigmas: the current best grid for the largest asked step count, or None. message: one line.
    errors: mean end error of each candidate so far at that step count.
    """

    stage: str
    done: int
    total: int
    sigmas: list[float] | None = None
    message: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)


def fit_schedule(
    model: Any,
    noise: Tensor,
    *,
    sigma_min: float,
    sigma_max: float,
    solver: str = "euler",
    steps: Sequence[int] = (8, 12, 20),
    method: str = "direct",
    baselines: Mapping[str, Schedule] | None = None,
    seed: int = 0,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[FitProgress], None] | None = None,
) -> ArtSchedule:
    """Learn a sigma schedule for `model`.

    A few trajectories are solved finely; the curvature along them and the gain with which the model's own flow
    carries an error to sigma 0 give a node density (see direct.py). Then a pilot on the other trajectories, which
    the density has not seen, runs the learned grids and every baseline for real, and the best at each step count is
    kept: the result is never worse than the best baseline there.

    Args:
        model: any k-diffusion denoiser, model(x, sigma, **extra_args) -> denoised; sigma has one value a sample.
            The batch is not fixed: several levels of several trajectories are evaluated together.
        noise: (trajectories, ...) unit Gaussian, one starting point each; 16 to 32 are enough. The first few (at
            most 6) are for the density, the others for the pilot; a single one serves both.
        sigma_min, sigma_max: bounds of the model, 0 < sigma_min < sigma_max (flow: sigma_max <= 1).
        solver: the k-diffusion solver it is for: "euler", "heun", "dpmpp_2m", ...
        steps: step counts to fit and measure.
        method: "direct".
        baselines: the host's stock schedules by name, steps -> sigmas each. By default karras, exponential and,
            for a model with a table of sigmas, normal, simple and ddim_uniform.
        seed: which trajectories are for the density and which for the pilot. Same seed and noise, same schedule.
        extra_args: passed to the model. Tensors whose first size is the number of trajectories are per trajectory.
        callback: called with a FitProgress as work is done; what it raises ends the fit.

    Returns:
        ArtSchedule. Its report holds model_evaluations (of the fit; one evaluation = one sample through the model
        once), pilot_evaluations, chosen {steps: name}, pilot {steps: {name: mean end error}} (root mean square
        over a sample's values, mean over the pilot's trajectories that candidate ran on; "a+b" is the mean of two
        candidates' log sigmas), pilot_trajectories
        {steps: {name: how many}}, verdict (a sentence), seconds, method, trajectories.

    Raises:
        ValueError: bad input (named, before any model call), or NaN / inf from the model.
    """
    began = time.monotonic()
    counts = _check_inputs(noise, steps, solver, method)
    rows = torch.randperm(noise.shape[0], generator=torch.Generator().manual_seed(seed)).tolist()
    # A quarter or so for the density; with very few trajectories both sides share.
    fit_rows = rows[: max(1, min(FIT_ROWS, len(rows) // 2))]
    pilot_rows = rows[len(fit_rows) :] or rows
    monitor = _Monitor(callback)
    field_ = Field(model, noise, extra_args, monitor.spend)
    check_bounds(sigma_min, sigma_max, field_.process.kind == "flow")
    if baselines is None:
        baselines = stock_schedules(find_model_sampling(model) or model, sigma_min, sigma_max)

    monitor.expect(len(fit_rows), len(pilot_rows), counts, len(baselines) + 5, CALLS_PER_STEP.get(solver, 2))
    monitor.enter("density", "measuring how the model bends its paths")
    densities, _ = fit_densities(field_, fit_rows, sigma_min, sigma_max, solver)
    learned: dict[str, Schedule] = {
        name: _maker(densities[power], skip) for name, (power, skip) in VARIANTS[OBJECTIVES[solver]].items()
    }
    fit_cost = monitor.done
    monitor.show(learned["art"](counts[-1]))

    monitor.enter("reference", "solving the pilot's trajectories finely")
    nodes = log_uniform_nodes(REFERENCE_NODES, sigma_min, sigma_max, field_.process)
    ends = solve_reference(field_, pilot_rows, nodes).end
    monitor.enter("pilot", "running every candidate for real")
    trials = run_pilot(
        field_, pilot_rows, ends, {**learned, **baselines}, set(baselines), counts, solver, monitor.show_trials
    )

    curves, chosen = [], {}
    limit = MAX_KNOTS // len(counts)
    for n in counts:
        best = _choose([t for t in trials[n] if len(t.sigmas) == n + 1], list(learned), set(baselines))
        chosen[n] = best.name
        curves.append((n, compress(n, [float(v) for v in best.sigmas[:-1]], limit)))
    report = {
        "method": method,
        "solver": solver,
        "model_evaluations": fit_cost,
        "pilot_evaluations": monitor.done - fit_cost,
        "chosen": chosen,
        "pilot": {n: {t.name: t.mean for t in trials[n]} for n in counts},
        "pilot_trajectories": {n: {t.name: len(t.errors) for t in trials[n]} for n in counts},
        "verdict": _verdict(trials, chosen, set(baselines)),
        "trajectories": noise.shape[0],
        "seed": seed,
        "seconds": round(time.monotonic() - began, 3),
    }
    return ArtSchedule(tuple(curves), solver, field_.process.kind, sigma_min, sigma_max, report=report)


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


def _maker(density: Density, skip: float) -> Schedule:
    return lambda n: torch.tensor([*density.grid(n, skip), 0.0], dtype=torch.float32)


def _choose(trials: list[Trial], learned: list[str], baselines: set[str]) -> Trial:
    """The best on the pilot; among learned ones the likelier (earlier) unless another is clearly better.

    Some twenty trajectories cannot tell candidates apart that differ by less than PILOT_NOISE. A learned one that
    does not reach the best baseline's mean error is never taken for it.
    """
    full = max(len(t.errors) for t in trials)
    tested = [t for t in trials if len(t.errors) == full]
    best = min(tested, key=lambda t: t.mean)
    stock = min((t.mean for t in tested if t.name in baselines), default=float("inf"))
    if best.name in baselines:
        return best
    limit = min(stock, best.mean * (1 + PILOT_NOISE))
    rank = {name: i for i, name in enumerate(learned)}
    good = [t for t in tested if t.name not in baselines and t.mean <= limit]
    return min(good, key=lambda t: (rank.get(t.name, len(rank)), t.mean))  # blends last


def _verdict(trials: Mapping[int, list[Trial]], chosen: Mapping[int, str], baselines: set[str]) -> str:
    """One plain sentence a step count: what was chosen and how it compares with the best stock schedule."""
    parts = []
    for n, name in chosen.items():
        stock = [t for t in trials[n] if t.name in baselines]
        if name in baselines or not stock:
            parts.append(f"at {n} steps the stock schedule {name} is best and is used")
            continue
        own, rival = (t for t in (next(t for t in trials[n] if t.name == name), stock[0]))
        if own.mean > rival.mean:  # only a stock grid with more steps than asked can be ahead of the choice
            extra = len(rival.sigmas) - 1 - n
            parts.append(f"at {n} steps {name} is best; the stock {rival.name} is ahead, but takes {extra:+d} step(s)")
            continue
        gain = 100 * (1 - own.mean / rival.mean) if rival.mean else 0.0
        parts.append(
            f"at {n} steps the learned schedule's error is {gain:.0f} % below that of the best stock one, {rival.name}"
        )
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."


class _Monitor:
    """Counts evaluations and tells the callback."""

    def __init__(self, callback: Callable[[FitProgress], None] | None):
        self.callback = callback
        self.done = self.total = 0
        self.stage, self.message = "reference", ""
        self.sigmas: list[float] | None = None
        self.errors: dict[str, float] = {}

    def expect(self, fit_rows: int, pilot_rows: int, counts: Sequence[int], candidates: int, calls: int) -> None:
        """An upper estimate: all candidates in round one, three of them to the end."""
        runs = calls * sum(counts) * (2 * candidates + 3 * pilot_rows)
        self.total = 210 * fit_rows + REFERENCE_NODES * pilot_rows + runs

    def enter(self, stage: str, message: str) -> None:
        self.stage, self.message = stage, message
        self.tell()

    def spend(self, evaluations: int) -> None:
        self.done += evaluations
        self.tell()

    def show(self, sigmas: Tensor) -> None:
        self.sigmas = [float(v) for v in sigmas]
        self.tell()

    def show_trials(self, trials: Mapping[int, list[Trial]]) -> None:
        largest = [t for t in trials[max(trials)] if t.errors]
        self.errors = {t.name: t.mean for t in largest}
        if largest:
            self.show(min(largest, key=lambda t: (-len(t.errors), t.mean)).sigmas)

    def tell(self) -> None:
        if self.callback is not None:
            total = max(self.total, self.done)
            self.callback(FitProgress(self.stage, self.done, total, self.sigmas, self.message, dict(self.errors)))
