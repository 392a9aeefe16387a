"""Langevin corrector: underdamped Langevin dynamics at a fixed noise level, in exact Gaussian substeps.

The corrector of Gupta, Cai, Chen (ICLR 2025, arXiv 2406.00924), sequential and parallel (Picard sweeps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

from .evaluation import PairEvaluator
from .grid import check_choice, check_count, check_range
from .noise import item_noise
from .noise_process import NoiseProcess

HOLDS = ("denoised", "score")
STRENGTH = 0.5
MAX_STRENGTH = 2.0
FRICTION = 2.0  # gamma of order sqrt(L): here L = 1, and 2 is critical damping of the pure-noise directions


@dataclass(frozen=True)
class Substep:
    """Weights of one substep, in the model's own scale of x; v is a unit Gaussian velocity, D the denoised.

    x' = xx x + xv v + xd D + x1 n1,   v' = vx x + vv v + vd D + v1 n1 + v2 n2,   n1, n2 ~ N(0, I).
    """

    xx: float
    xv: float
    xd: float
    x1: float
    vx: float
    vv: float
    vd: float
    v1: float
    v2: float

    def advance(self, x: Tensor, v: Tensor, denoised: Tensor, n1: Tensor, n2: Tensor) -> tuple[Tensor, Tensor]:
        """(x, v) after the substep; all tensors of one shape. Sums in place: no latents but the two results."""
        position = (self.xx * x).add_(v, alpha=self.xv).add_(denoised, alpha=self.xd).add_(n1, alpha=self.x1)
        velocity = (self.vx * x).add_(v, alpha=self.vv).add_(denoised, alpha=self.vd).add_(n1, alpha=self.v1)
        return position, velocity.add_(n2, alpha=self.v2)


def plan_substep(
    process: NoiseProcess, sigma: float, strength: float = STRENGTH, *, hold: str = "denoised",
    friction: float = FRICTION,
) -> Substep:  # fmt: skip
    """Exact weights of one substep at level sigma, in float64 on the host.

    With std = sigma * noise_scale, a the signal scale and u = x / std, the dynamics are
      du = v dt,   dv = (a D / std - u - gamma v) dt + sqrt(2 gamma) dB,   v ~ N(0, I),
    because std * score = (a D - x) / std (on a flow model too: y = x / (1 - sigma) and s = sigma / (1 - sigma)
    give the same u). In u no direction's force is steeper than 1, so L = 1 and time has no unit.

    Args:
        sigma: the process's own level, > 0.
        strength: length h of the substep in that time; in VE coordinates a time of h * sigma.
        hold: what stays fixed during the substep. "score": the whole force (the paper's). "denoised": D only, the
            pull -u is solved exactly too; then pure noise keeps its law at any h.
        friction: gamma.

    Returns:
        Substep; the linear SDE's exact transition and the Cholesky factor of its exact covariance (Van Loan 1978).

    Raises:
        ValueError: an argument out of range.
    """
    check_choice("hold", hold, HOLDS)
    h = check_range("strength", strength, 0.0, MAX_STRENGTH)
    gamma = check_range("friction", friction, 1e-3, 1e3)
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma is {sigma}; the Langevin corrector needs a finite noise level above 0")
    pull = 1.0 if hold == "denoised" else 0.0
    drift = np.array([[0.0, 1.0], [-pull, -gamma]])
    block = np.zeros((4, 4))
    block[:2, :2], block[2:, 2:], block[1, 3] = -drift, drift.T, 2 * gamma
    exponential = expm(block * h)
    carry = exponential[2:, 2:].T
    covariance = carry @ exponential[:2, 2:]
    forced = np.zeros((3, 3))
    forced[:2, :2], forced[1, 2] = drift, 1.0
    force = expm(forced * h)[:2, 2]  # response to a unit force held over the substep
    if hold == "score":
        carry = carry - np.outer(force, [1.0, 0.0])
    x1 = math.sqrt(max(covariance[0, 0], 0.0))
    v1 = covariance[0, 1] / x1 if x1 > 0 else 0.0
    v2 = math.sqrt(max(covariance[1, 1] - v1 * v1, 0.0))
    std, a = sigma * process.noise_scale, process.signal(sigma)
    return Substep(
        xx=float(carry[0, 0]), xv=float(carry[0, 1]) * std, xd=float(force[0]) * a, x1=x1 * std,
        vx=float(carry[1, 0]) / std, vv=float(carry[1, 1]), vd=float(force[1]) * a / std, v1=float(v1), v2=v2,
    )  # fmt: skip


def langevin_noise(x: Tensor, steps: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Noise for `steps` substeps: (2 steps + 1, batch, ...), unit Gaussian, like x.

    Entry 0 is the starting velocity, then two per substep. Sample i comes from generators[i] alone.
    """
    return torch.stack([item_noise(x, generators) for _ in range(2 * steps + 1)])


@torch.no_grad()
def correct(
    model: Any,
    x: Tensor,
    sigma: float,
    noise: Tensor | tuple[int, Callable[[], Tensor]],
    *,
    process: NoiseProcess | None = None,
    strength: float = STRENGTH,
    hold: str = "denoised",
    extra_args: Mapping[str, Any] | None = None,
) -> Tensor:
    """n substeps of underdamped Langevin dynamics at one level: n model calls, one after the other.

    Leaves the law of level sigma as it is, but for an error of order h, and drives another law towards it.

    Args:
        model: denoiser, called as model(x, sigma (batch,), **extra_args).
        x: (batch, ...) at level sigma > 0.
        noise: (2 n + 1, batch, ...), see langevin_noise; n >= 0 is read from it. Or n and a function that draws
            one (batch, ...) after the other in that order, so that no more than two are held.
        process: the model's noise process; found from the model if None.
        strength, hold: see plan_substep.

    Returns:
        (batch, ...), dtype and device of x.

    Raises:
        ValueError: bad sigma, strength, hold or noise shape, before any model call.
    """
    steps, draw = (_count_substeps(x, noise), iter(noise).__next__) if isinstance(noise, Tensor) else noise
    weights = plan_substep(process or NoiseProcess.of(model), sigma, strength, hold=hold)
    args, level, v = dict(extra_args or {}), x.new_full((x.shape[0],), sigma), draw()
    for _ in range(steps):
        x, v = weights.advance(x, v, model(x, level, **args), draw(), draw())
    return x


@torch.no_grad()
def correct_parallel(
    evaluator: PairEvaluator,
    x: Tensor,
    sigma: float,
    noise: Tensor,
    *,
    sweeps: int,
    process: NoiseProcess | None = None,
    strength: float = STRENGTH,
    hold: str = "denoised",
    denoised: Tensor | None = None,
) -> Tensor:
    """The substeps of `correct` as Picard sweeps: each sweep evaluates all points of the path in one batch.

    Sweep j leaves the first j substeps exact, so n sweeps give the sequential result, and points that are
    already exact are not evaluated again: sweep j = 1, 2, ... evaluates n + 1 - j points. Few sweeps are
    enough where n * strength is small.

    Args:
        evaluator: evaluate(x (R, B, ...), sigma (R, B)) -> (R, B, ...).
        x, sigma, noise, process, strength, hold: as in correct; same noise, same result.
        sweeps: rounds, >= 1; more than n are not made.
        denoised: (batch, ...) first guess of D along the path, e.g. the latest one known at a level near sigma.
            None: start from the path without any force.

    Returns:
        (batch, ...), dtype and device of x.

    Raises:
        ValueError: bad sigma, strength, hold, sweeps or noise shape, before any model call.
    """
    steps = _count_substeps(x, noise)
    sweeps = check_count("sweeps", sweeps, 1)
    weights = plan_substep(process or NoiseProcess.of(evaluator.model), sigma, strength, hold=hold)
    if steps == 0:
        return x
    # Without force D = x / a; where a is 0 (a flow model at sigma 1) D has no weight.
    signal = (process or NoiseProcess.of(evaluator.model)).signal(sigma)
    states = [(x, noise[0])]  # (x, v) before each substep
    for k in range(steps):
        now, v = states[k]
        guess = denoised if denoised is not None else now / signal if signal > 0 else now
        states.append(weights.advance(now, v, guess, noise[2 * k + 1], noise[2 * k + 2]))
    for first in range(min(sweeps, steps)):  # states[: first + 1] are exact already
        level = x.new_full((steps - first, x.shape[0]), sigma)
        fresh = evaluator.evaluate(torch.stack([state[0] for state in states[first:steps]]), level)
        for k in range(first, steps):
            states[k + 1] = weights.advance(*states[k], fresh[k - first], noise[2 * k + 1], noise[2 * k + 2])
    return states[steps][0]


def _count_substeps(x: Tensor, noise: Tensor) -> int:
    if noise.ndim != x.ndim + 1 or noise.shape[1:] != x.shape or noise.shape[0] % 2 == 0:
        raise ValueError(
            f"noise has shape {tuple(noise.shape)}; it must be (2 n + 1, *x.shape) for x of shape {tuple(x.shape)}"
        )
    return noise.shape[0] // 2
