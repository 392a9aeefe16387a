"""Weights of the parallel midpoint method's steps, planned in float64 on the host and moved to the device once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from .noise_process import NoiseProcess
from .randomized_midpoint import OU_CEILING


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

    @cached_property
    def field_is_denoised(self) -> bool:
        """Whether F is D itself ("inverse_sigma"), so that x at the midpoints is not needed."""
        return not self.fx.any()


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


def scale_field(plan: StepPlan) -> StepPlan:
    """The same step with F = x + fd D, or F = D: one operation to form it, and no large numbers at small sigma."""
    if plan.field_is_denoised:
        return plan
    return replace(
        plan, fx=torch.ones_like(plan.fx), fd=plan.fd / plan.fx, inner=plan.inner * plan.fx, outer=plan.outer * plan.fx
    )


def first_field(plan: StepPlan, s: float, last: StepPlan | None) -> tuple[Tensor, Tensor]:
    """Weights of F at the midpoints before any of them was evaluated: F_i = a_i x + sum_k b_ik kept_k.

    Cold (last is None): kept = [D(x, s)], held constant; x moves on a straight line with it.
    Warm: the slope (x - D)/sigma and D follow straight lines in log sigma through the last two midpoints of the
    step before. All that is needed of these are their F (kept = [F_a, F_b], or one of them where R was 1), and
    their D too (kept = [F_a, F_b, D_a, D_b]) where the two steps' F differ in kind.

    Returns:
        a: (R, B), b: (R, k, B).
    """
    slope, denoised = plan.fx * plan.m, plan.fx + plan.fd  # F = slope weight (x - D)/m + denoised weight D
    if last is None:
        return slope / s, (denoised - slope / s)[:, None]
    level = last.m[-2:].log()
    if len(level) == 1:
        line = torch.ones_like(plan.m)[:, None]
    else:
        beyond = (plan.m.log() - level[1]) / (level[1] - level[0])
        line = torch.stack([-beyond, 1 + beyond], 1)
    zero = torch.zeros_like(plan.m)
    if plan.field_is_denoised:
        return zero, line
    fx, fd, m = last.fx[-2:], last.fd[-2:], last.m[-2:]
    of_field = slope[:, None] * line / (fx * m)
    of_denoised = denoised[:, None] * line - of_field * (fx + fd)
    if of_denoised.abs().max() < 1e-9 * of_field.abs().max():  # the same up to rounding in all but the odd step
        return zero, of_field
    return zero, torch.cat([of_field, of_denoised], 1)


@dataclass(frozen=True)
class StepWeights:
    """A StepPlan with its start, in x's dtype and on its device; b = 1 where the batch shares weights, else B.

    sigma: (R, B). field_d: (R, b, 1, ...) fd of F = x + fd D, or None where F = D.
    The pairs (for x, for a stack of tensors) are used by combine(): start -> first midpoints from kept, inner ->
    midpoints from F, outer -> x' from F, guess -> x' from kept, before any sweep.
    cold: kept is D(x, s). keep_denoised: the next step wants D too.
    """

    sigma: Tensor
    field_d: Tensor | None
    start: tuple[Tensor, Tensor]
    inner: tuple[Tensor, Tensor]
    outer: tuple[Tensor, Tensor]
    guess: tuple[Tensor, Tensor]
    cold: bool
    keep_denoised: bool

    def field(self, middles: Tensor, denoised: Tensor) -> Tensor:
        """F at the midpoints, (R, B, ...); written over `middles`, or `denoised` itself."""
        if self.field_d is None:
            return denoised
        if denoised.untyped_storage().data_ptr() == middles.untyped_storage().data_ptr():
            denoised = denoised.clone()  # a model that hands back its own input
        return middles.addcmul_(self.field_d, denoised)


def combine(weights: tuple[Tensor, Tensor], x: Tensor, parts: Tensor) -> Tensor:
    """weights[0] x + weights[1] @ parts: one new tensor (O, B, ...), no other memory.

    Args:
        weights: (O, b) for x and (O, I, b) for the parts. x: (B, ...). parts: (I, B, ...).

    Two operations where the batch shares its weights, else 1 + I. float32 products on a GPU follow torch's own
    matmul precision setting.
    """
    of_x, of_parts = weights
    x, parts = x.contiguous(), parts.contiguous()
    inner = [1] * (x.ndim - 1)
    out = of_x.view(*of_x.shape, *inner) * x
    if of_x.shape[1] == 1:
        out.view(len(out), -1).addmm_(of_parts[..., 0], parts.view(len(parts), -1))
    else:
        for k, part in enumerate(parts):
            out.addcmul_(of_parts[:, k].view(*of_x.shape, *inner), part)
    return out


def plan_run(
    levels: list[float],
    positions: Tensor,
    measure: str,
    process: NoiseProcess,
    x: Tensor,
    *,
    warm_start: bool,
    moved: bool = False,
) -> tuple[Tensor, list[StepWeights | None]]:
    """All steps' weights, in one transfer.

    Args:
        levels: the grid. positions: (b, steps, R) float64 in (0, 1), see plan_step; b = 1 or x.shape[0].
        warm_start: begin from the step before where it can be.
        moved: x is moved between steps (by a corrector), so that slopes of the step before are of another x: only
            "inverse_sigma", which needs D alone, stays warm.

    Returns:
        (steps, B) sigmas of the steps' beginnings, and a StepWeights for every step (None for the step to 0).
    """
    batch = x.shape[0]
    plans = [
        None if q == 0 else scale_field(plan_step(measure, s, q, positions[:, i].T, process))
        for i, (s, q) in enumerate(pairwise(levels))
    ]
    lasts = [
        before if warm_start and plan is not None and (not moved or plan.field_is_denoised) else None
        for before, plan in zip([None, *plans], plans, strict=False)
    ]
    rows = [[] if plan is None else _row(plan, levels[i], lasts[i]) for i, plan in enumerate(plans)]
    begins, *flat = _move([torch.tensor(levels[:-1], dtype=torch.float64), *(t for row in rows for t in row)], x)
    device = iter(flat)
    weights: list[StepWeights | None] = []
    for plan, last, row, after in zip(plans, lasts, rows, [*rows[1:], []], strict=True):
        if plan is None:
            weights.append(None)
            continue
        m, fd, *pairs = (next(device) for _ in row)
        start, inner, outer, guess = zip(pairs[::2], pairs[1::2], strict=True)
        shape = (*m.shape, *[1] * (x.ndim - 1))
        # More than F of two midpoints (or of the only one) is F and D.
        more = bool(after) and after[3].shape[1] > min(2, len(m))
        weights.append(
            StepWeights(
                sigma=m.expand(-1, batch),
                field_d=None if plan.field_is_denoised else fd.view(shape),
                start=start, inner=inner, outer=outer, guess=guess, cold=last is None, keep_denoised=more,
            )
        )  # fmt: skip
    return begins[:, None].expand(-1, batch), weights


def _row(plan: StepPlan, s: float, last: StepPlan | None) -> list[Tensor]:
    """m, fd, then the pairs start, inner, outer, guess of StepWeights."""
    field_x, field = first_field(plan, s, last)
    outer_x = torch.full_like(plan.outer[:1], plan.outer_x)
    rows = torch.cat([plan.inner, plan.outer[None]])  # midpoints 1 .. R, then x'
    of_x = torch.cat([plan.inner_x, outer_x]) + (rows * field_x).sum(1)
    of_kept = (rows[:, :, None] * field).sum(1)
    start, guess = (of_x[:-1], of_kept[:-1]), (of_x[-1:], of_kept[-1:])
    return [plan.m, plan.fd, *start, plan.inner_x, plan.inner, outer_x, plan.outer[None], *guess]


def _move(tensors: list[Tensor], x: Tensor) -> list[Tensor]:
    """Tensors in x's dtype on x's device, by one transfer; the dtype first, as some devices have no float64."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(x.dtype).to(x.device, non_blocking=True)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
