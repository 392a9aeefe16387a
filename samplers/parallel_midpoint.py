"""Parallel randomized midpoint (Gupta, Cai, Chen, ICLR 2025, arXiv 2406.00924, parallel variant; step
structure after Shen & Lee 2019, "The Randomized Midpoint Method for Log-Concave Sampling")."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import trange

from .evaluation import PairEvaluator
from .finite import FiniteWatch
from .grid import check_choice, check_count, check_range, check_sigmas
from .langevin import MAX_STRENGTH, STRENGTH, correct_parallel, langevin_noise
from .noise import item_generators, item_uniform, seeded_generator
from .noise_process import NoiseProcess
from .parallel_plan import StepPlan, StepWeights, combine, plan_run, plan_step
from .randomized_midpoint import MEASURES

__all__ = ["MEASURES", "PRESETS", "StepPlan", "plan_step", "sample_parallel_midpoint"]

log = logging.getLogger(__name__)

# What a preset sets; each may only be left at its default or be what the preset says.
PRESETS: dict[str, dict[str, Any]] = {"paper": {"measure": "ou", "jitter": 1.0, "warm_start": False}}
_DEFAULTS = {"measure": "inverse_sigma", "jitter": 0.0, "warm_start": True}
_CORRECTOR_STREAM = 0x1A9E  # of the seed; midpoints are stream 0

Report = Callable[[dict[str, Any]], None] | MutableMapping[str, Any]


@torch.no_grad()
def sample_parallel_midpoint(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    midpoints: int = 4,
    sweeps: int = 1,
    warm_start: bool = True,
    jitter: float = 0.0,
    measure: str = "inverse_sigma",
    tolerance: float = 0.0,
    corrector_steps: int = 0,
    corrector_strength: float = STRENGTH,
    preset: str | None = None,
    report: Report | None = None,
) -> Tensor:
    """Parallel midpoint method: parallel variant of Gupta, Cai, Chen (arXiv 2406.00924).

    A step s -> q is cut into R cells with one midpoint each; all R midpoints are evaluated in one batched model
    call (a sweep) and moved by the integral of the latest denoised values, K times (Picard iteration). The
    step then takes the mean over the midpoints. In the inverse_sigma form
      x_i = ((1/s) x + sum_{j <= i} |cell j before 1/m_i| D_j) sigma_i,   x' = (q/s) x + (1 - q/s) mean_i D_i.
    The last step to 0 is x' = D(x, s).

    Sequential rounds per step: K + 1 cold (one at s, then K sweeps), K when warm (start values extrapolated
    from the previous step). Evaluations: R per sweep. It pays where a batch of R costs clearly less than R
    calls; on a GPU that one picture already fills it does not. Where masks, time-ranged conditioning, ControlNets
    or hooks are present the levels are evaluated one by one (same picture, no gain). Recommended for small
    latents or idle GPU capacity: R = 4, K = 1 up to 16 rounds, R = 8, K = 2 up to 26.

    Memory: a sweep holds the R midpoints and the model's R answers to them, and x; nothing else of that size.

    Args:
        model, x, sigmas, extra_args, callback, disable: as in k-diffusion. extra_args["seed"] seeds the draws,
            each sample's its own. x given to the model is the sampler's own and is written over after the call.
        midpoints: R >= 1. sweeps: K >= 1.
        warm_start: extrapolate start values from the previous step instead of spending a round on D(x, s).
        jitter: 0 puts each midpoint in the middle of its cell (smaller error of one picture), 1 draws it
            uniformly in the cell (unbiased).
        measure: how cells divide the step: "inverse_sigma", "sigma" or "ou".
        tolerance: 0: K sweeps in every step. Above 0: a step's sweeps end, at the latest after K, as soon as one
            changed the step's result by less than this in every sample: root-mean-square over the sample,
            divided by the step's sigma s. The first is compared with the result of the start values. This costs
            one host read, a synchronisation, for each sweep but the K-th. The slowest sample of a batch decides
            for all.
        corrector_steps: n substeps of the paper's underdamped Langevin corrector after each step to q > 0, made
            by min(K, n) Picard sweeps of up to n points, one round each. Steps of "sigma" and "ou" then start
            cold. Holds 2 n + 1 noises and as many states.
        corrector_strength: length of a substep, see langevin.plan_substep.
        preset: None, or "paper", the paper's method as far as it is known to us: measure "ou", jitter 1, cold
            start, corrector_steps 1 unless more are given, substeps with the whole score frozen. Contradicting
            values are refused.
        report: at the end gets (called with, or updated by) a dict: "rounds" (sequential depth), "calls" (model
            calls), "evaluations" (samples sent through the model), "sweeps" (of all steps together), "mode"
            ("one batch", "chunks", "several devices" or "one level at a time"), "obstacle" (why levels could not
            share a batch, in words, or None). The same is logged at level info.

    Returns:
        (batch, ...) sample at sigmas[-1].

    Raises:
        ValueError: bad sigmas or option, or one that contradicts the preset, before any model call; NaN or inf, with
            the step where they came up, at the end.
    """
    levels = check_sigmas(sigmas)
    count = check_count("midpoints", midpoints, 1, 256)
    sweeps = check_count("sweeps", sweeps, 1, 100)
    jitter = check_range("jitter", jitter, 0.0, 1.0)
    check_choice("measure", measure, MEASURES)
    tolerance = check_range("tolerance", tolerance, 0.0)
    substeps = check_count("corrector_steps", corrector_steps, 0, 100)
    strength = check_range("corrector_strength", corrector_strength, 0.0, MAX_STRENGTH)
    if report is not None and not callable(report) and not isinstance(report, MutableMapping):
        raise ValueError(f"report is {report!r}; it must be a function of one dict, a dict or None")
    if preset is not None:
        sets = _resolve_preset(preset, {"measure": measure, "jitter": jitter, "warm_start": bool(warm_start)})
        measure, jitter, warm_start, substeps = sets["measure"], sets["jitter"], sets["warm_start"], substeps or 1
    substeps = substeps if strength > 0 else 0
    process = NoiseProcess.of(model)
    positions = _draw_positions(count, jitter, len(levels) - 1, x.shape[0], extra_args)
    begins, plans = plan_run(levels, positions, measure, process, x, warm_start=warm_start, moved=substeps > 0)
    generators = item_generators(extra_args, x.shape[0], _CORRECTOR_STREAM) if substeps else []
    watch = FiniteWatch(len(plans), x)
    evaluator = PairEvaluator(model, extra_args, watch=watch)
    sweeps_made = 0
    latest: Tensor | None = None
    kept: Tensor | None = None  # what the next step starts from: F (and D) of the last two midpoints
    for i in trange(len(plans), disable=disable):
        plan, before, watch.step = plans[i], x, i
        if plan is None:  # to 0
            latest = x = evaluator.evaluate(x[None], begins[i : i + 1])[0]
        else:
            if kept is None or plan.cold:
                kept = evaluator.evaluate(x[None], begins[i : i + 1])
            step = _Step(plan, x, kept, tolerance * levels[i])
            kept = None  # before the batched calls
            x, kept, latest = step.take(x, evaluator, sweeps, latest=callback is not None or substeps > 0)
            sweeps_made += step.sweeps
            del step
            if substeps:
                x = correct_parallel(
                    evaluator, x, levels[i + 1], langevin_noise(x, substeps, generators), sweeps=sweeps,
                    process=process, strength=strength, hold="score" if preset else "denoised", denoised=latest,
                )  # fmt: skip
        if callback is not None:
            callback({"i": i, "x": before, "denoised": latest, "sigma": sigmas[i], "sigma_hat": sigmas[i]})
        latest = None
    watch.check(x)
    _tell(report, evaluator, sweeps_made)
    return x


def _resolve_preset(preset: str, asked: dict[str, Any]) -> dict[str, Any]:
    check_choice("preset", preset, PRESETS)
    for name, sets in PRESETS[preset].items():
        if asked[name] not in (_DEFAULTS[name], sets):
            raise ValueError(
                f"{name} is {asked[name]!r}, but preset {preset!r} sets it to {sets!r}; "
                f"leave {name} out or use no preset"
            )
    return PRESETS[preset]


class _Step:
    """The sweeps of one step; every batch of R latents is let go as soon as it was used."""

    def __init__(self, plan: StepWeights, x: Tensor, kept: Tensor, limit: float) -> None:
        self.plan, self.limit, self.sweeps = plan, limit, 0
        self.middles = [combine(plan.start, x, kept)]
        self.result = combine(plan.guess, x, kept)[0] if limit > 0 else x

    def take(
        self, x: Tensor, evaluator: PairEvaluator, most: int, *, latest: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(x', what the next step starts from, the last midpoint's D if asked for)."""
        plan = self.plan
        while True:
            middles = self.middles.pop()
            denoised = evaluator.evaluate(middles, plan.sigma)
            field = plan.field(middles, denoised)
            del middles
            self.sweeps += 1
            if self.sweeps == most or (self.limit > 0 and self._settled(x, field)):
                break
            del denoised
            self.middles.append(combine(plan.inner, x, field))
            del field
        # Copies: a view of one latent would keep R of them alive.
        last = denoised[-1].clone() if latest else None
        also = denoised[-2:].clone() if plan.keep_denoised else None
        del denoised
        result = self.result if self.limit > 0 and self.sweeps < most else combine(plan.outer, x, field)[0]
        kept = field[-2:].clone()
        return result, kept if also is None else torch.cat([kept, also]), last

    def _settled(self, x: Tensor, field: Tensor) -> bool:
        """Whether the latest sweep changed the result by less than the limit in every sample. One host read."""
        before, self.result = self.result, combine(self.plan.outer, x, field)[0]
        change = before.sub_(self.result).flatten(1)
        norm = torch.linalg.vector_norm(change, dim=1, dtype=torch.promote_types(x.dtype, torch.float32))
        return bool(norm.amax() < self.limit * math.sqrt(change.shape[1]))


def _draw_positions(count: int, jitter: float, steps: int, batch: int, extra_args: Mapping[str, Any] | None) -> Tensor:
    """Positions of the midpoints in their steps: (1 or batch, steps, count), float64, increasing.

    A sample's draws do not depend on the batch size. A list of seeds: each sample's from its own.
    """
    middle = (torch.arange(count, dtype=torch.float64)[None, None] + 0.5) / count
    if jitter == 0:
        return middle.expand(1, steps, count)
    seed = (extra_args or {}).get("seed")
    if isinstance(seed, Sequence) or (isinstance(seed, Tensor) and seed.ndim > 0):
        draws = item_uniform(item_generators(extra_args, batch), steps, count)
    else:
        draws = torch.rand(batch, steps, count, generator=seeded_generator(extra_args), dtype=torch.float64)
    return middle + jitter * (draws - 0.5) / count


def _tell(report: Report | None, evaluator: PairEvaluator, sweeps: int) -> None:
    mode = "one batch" if evaluator.calls == evaluator.rounds else "chunks"
    if evaluator.spread:
        mode = "several devices"
    summary = {
        "rounds": evaluator.rounds,
        "calls": evaluator.calls,
        "evaluations": evaluator.evaluations,
        "sweeps": sweeps,
        "mode": "one level at a time" if evaluator.obstacle else mode,
        "obstacle": evaluator.obstacle,
    }
    why = f" because {evaluator.obstacle}" if evaluator.obstacle else ""
    log.info(
        "parallel midpoint: %d rounds, %d model calls, %d evaluations (%s%s)",
        evaluator.rounds, evaluator.calls, evaluator.evaluations, summary["mode"], why,
    )  # fmt: skip
    if isinstance(report, MutableMapping):
        report.update(summary)
    elif report is not None:
        report(summary)
