"""Parallel randomized midpoint (Gupta, Cai, Chen, ICLR 2025, arXiv 2406.00924, parallel variant; step
structure after Shen & Lee 2019, "The Randomized Midpoint Method for Log-Concave Sampling")."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import trange

from .evaluation import PairEvaluator
from .grid import check_choice, check_count, check_range, check_sigmas
from .noise import seeded_generator
from .noise_process import NoiseProcess
from .randomized_midpoint import MEASURES, OU_CEILING


@dataclass(frozen=True)
class StepPlan:
    """Weights of one step s -> q with R midpoints, for B samples (or B = 1: the same for all).

    m: (R, B) the process's own sigmas. field: the quantity F that is integrated is F = fx x + fd D, (R, B) each.
    inner: (R, R, B) and inner_x: (R, B): x_i = inner_x_i x + sum_j inner_ij F_j. outer: (R, B) and outer_x:
    x' = outer_x x + sum_j outer_j F_j.
    """

    m: Tensor
    fx: Tensor
    fd: Tensor
    inner: Tensor
    inner_x: Tensor
    outer: Tensor
    outer_x: float


def plan_step(measure: str, s: float, q: float, position: Tensor, process: NoiseProcess) -> StepPlan:
    """Weights of one step s -> q > 0.

    Args:
        measure: one of MEASURES. position: (R, B) float64, increasing in R; position i lies in cell
            [(i - 1)/R, i/R] of the step.
    """
    if measure == "ou" and process.kind == "flow":  # the other two hold verbatim on a flow model
        if process.to_ve(s) <= OU_CEILING:
            return _flow_plan(s, q, position)
        measure = "sigma"
    count = position.shape[0]
    edges = torch.arange(count + 1, dtype=torch.float64)[:, None] / count
    # covered[i, j]: the part of cell j (as positions) that lies before midpoint i; from cell start to its end.
    start = edges[None, :-1].expand(count, -1, position.shape[1])
    end = torch.maximum(torch.minimum(edges[None, 1:], position[:, None]), start)
    one = torch.ones_like(position)
    if measure == "sigma":
        m = s + position * (q - s)
        cell = (q - s) / count
        return StepPlan(m, 1 / m, -1 / m, (q - s) * (end - start), one, cell * one, 1.0)
    if measure == "inverse_sigma":
        v0, v1 = 1 / s, 1 / q
        v = v0 + position * (v1 - v0)
        inner = (v1 - v0) * (end - start) / v[:, None]
        return StepPlan(1 / v, 0 * one, one, inner, v0 / v, (1 - q / s) / count * one, q / s)
    h = 0.5 * (math.log1p(s * s) - math.log1p(q * q))
    m = torch.sqrt((1 + s * s) ** (1 - position) * (1 + q * q) ** position - 1)
    inner = -torch.exp(position * h)[None] * (torch.exp(-start * h) - torch.exp(-end * h))
    factor = (1 + m * m) / (m * m)
    return StepPlan(m, factor, -factor, inner, one, -h / count * one, 1.0)


def _flow_plan(s: float, q: float, position: Tensor) -> StepPlan:
    """The "ou" step of a flow model: the VE step for y = x / (1 - sigma), written for x."""
    ve = plan_step("ou", s / (1 - s), q / (1 - q), position, NoiseProcess("ve"))
    m = ve.m / (1 + ve.m)
    scale = 1 - m
    return StepPlan(
        m, ve.fx / scale, ve.fd, ve.inner * scale[:, None], ve.inner_x * scale / (1 - s),
        ve.outer * (1 - q), ve.outer_x * (1 - q) / (1 - s),
    )  # fmt: skip


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

    Args:
        model, x, sigmas, extra_args, callback, disable: as in k-diffusion. extra_args["seed"] seeds the draws.
        midpoints: R >= 1. sweeps: K >= 1.
        warm_start: extrapolate start values from the previous step instead of spending a round on D(x, s).
        jitter: 0 puts each midpoint in the middle of its cell (smaller error of one picture), 1 draws it
            uniformly in the cell (unbiased).
        measure: how cells divide the step: "inverse_sigma", "sigma" or "ou".

    Returns:
        (batch, ...) sample at sigmas[-1].

    Raises:
        ValueError: bad sigmas or option, before any model call.
    """
    levels = check_sigmas(sigmas)
    count = check_count("midpoints", midpoints, 1, 256)
    sweeps = check_count("sweeps", sweeps, 1, 100)
    jitter = check_range("jitter", jitter, 0.0, 1.0)
    check_choice("measure", measure, MEASURES)
    process = NoiseProcess.of(model)
    steps, batch = len(levels) - 1, x.shape[0]
    plans = _plan_run(levels, count, jitter, batch, measure, process, extra_args, x)
    evaluator = PairEvaluator(model, extra_args)
    shape = [1] * (x.ndim - 1)
    last: tuple[Tensor, Tensor, Tensor] | None = None  # field, denoised and log sigma of the last two midpoints
    for i in trange(steps, disable=disable):
        plan = plans[i]
        warm = warm_start and last is not None
        if plan is None or not warm:
            level = x.new_full((1, batch), levels[i])
            first = evaluator.evaluate(x[None], level)
        if plan is None:  # to 0
            x_before, denoised = x, first[0]
            x = denoised
        else:
            if warm and last is not None:
                slope_all, denoised_all = _extrapolate(last, plan, shape)
            else:
                denoised_all = first.expand(count, *first.shape[1:])
                slope_all = ((x - first) / levels[i]).expand_as(denoised_all)
            fx, fd = (w.reshape(count, -1, *shape) for w in (plan.fx, plan.fd))
            level_all = plan.m.reshape(count, -1, *shape)
            field = fx * (level_all * slope_all + denoised_all) + fd * denoised_all  # x_i = level slope + denoised
            x_before = x
            for _ in range(sweeps):
                inner = plan.inner.reshape(count, count, -1, *shape)
                middles = plan.inner_x.reshape(count, -1, *shape) * x + (inner * field[None]).sum(1)
                denoised_all = evaluator.evaluate(middles, plan.m.expand(count, batch))
                field = fx * middles + fd * denoised_all
            x = plan.outer_x * x + (plan.outer.reshape(count, -1, *shape) * field).sum(0)
            denoised = denoised_all[-1]
            last = (((middles - denoised_all) / level_all)[-2:], denoised_all[-2:], plan.m[-2:].log())
        if callback is not None:
            callback({"i": i, "x": x_before, "denoised": denoised, "sigma": sigmas[i], "sigma_hat": sigmas[i]})
    return x


def _extrapolate(last: tuple[Tensor, Tensor, Tensor], plan: StepPlan, shape: list[int]) -> tuple[Tensor, Tensor]:
    """Straight lines in log sigma through the last two midpoints' slope and denoised, at the new midpoints."""
    slope, denoised, level = last
    count = plan.m.shape[0]
    if level.shape[0] < 2:
        return slope.expand(count, *slope.shape[1:]), denoised.expand(count, *denoised.shape[1:])
    along = ((plan.m.log() - level[1]) / (level[1] - level[0])).reshape(count, -1, *shape)
    return slope[1] + along * (slope[1] - slope[0]), denoised[1] + along * (denoised[1] - denoised[0])


def _plan_run(
    levels: list[float], count: int, jitter: float, batch: int, measure: str, process: NoiseProcess,
    extra_args: Mapping[str, Any] | None, x: Tensor,
) -> list[StepPlan | None]:  # fmt: skip
    """Plans of all steps (None for the step to 0), computed in float64 on the host, then moved to x's device."""
    steps = len(levels) - 1
    middle = (torch.arange(count, dtype=torch.float64)[None, None] + 0.5) / count
    if jitter > 0:  # each sample its own draw; the first sample's do not depend on the batch size
        draws = torch.rand(batch, steps, count, generator=seeded_generator(extra_args), dtype=torch.float64)
        position = middle + jitter * (draws - 0.5) / count
    else:
        position = middle.expand(1, steps, count)
    plans: list[StepPlan | None] = []
    for i, (s, q) in enumerate(pairwise(levels)):
        if q == 0:
            plans.append(None)
            continue
        plan = plan_step(measure, s, q, position[:, i].T, process)
        names = ("m", "fx", "fd", "inner", "inner_x", "outer")
        plans.append(replace(plan, **{n: getattr(plan, n).to(x.device, x.dtype, non_blocking=True) for n in names}))
    return plans
