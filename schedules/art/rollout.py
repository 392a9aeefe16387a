"""Trajectories of ART-RL: Gaussian clock speeds chosen step by step along the model's own sampling paths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .actor_critic_settings import ActorCriticSettings
from .policy import MeanPolicy
from .trajectories import Field, FieldRows


@dataclass(frozen=True)
class Step:
    """One step of a batch of trajectories; arrays (n,), gradient (n, parameters).

    sigma, following: levels before and after. mean, deviation: the policy's. gradient: dmean/dparameters.
    action: the draw; theta: the speed taken, the draw within limits. curvature: |Q| of this step, known_curvature: of
    the one before, which is what is known when the action is chosen.
    """

    sigma: np.ndarray
    following: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    gradient: np.ndarray
    action: np.ndarray
    theta: np.ndarray
    curvature: np.ndarray
    known_curvature: np.ndarray


def walk(
    field: Field,
    row: int,
    x: Tensor,
    policy: MeanPolicy,
    settings: ActorCriticSettings,
    unit: float,
    generator: np.random.Generator,
) -> tuple[list[Step], int]:
    """Euler along dx/dsigma = (x - D) / sigma with the policy's steps.

    |Q| = |d^2x/dsigma^2| is the finite difference of dx/dsigma between a step's ends. Before the first step half a mean
    step is probed for it. Below sigma_min nothing is evaluated and |Q| stays what it was.

    Args:
        row: whose conditioning. x: (n, ...) starting points at sigma_max. unit: of the cost; 0 while unknown.

    Returns:
        settings.steps steps, and the model evaluations they cost.
    """
    model, clock, dt, n = FieldRows(field, [row]), policy.clock, 1 / settings.steps, x.shape[0]
    spent = 0

    def denoise(state: Tensor, level: np.ndarray) -> Tensor:
        nonlocal spent
        spent += len(level)
        # Each trajectory is a level of its own for the evaluator: levels may differ within the batch.
        return model.evaluate(state[:, None], torch.from_numpy(level)[:, None].to(state))[:, 0]

    def advance(state: Tensor, denoised: Tensor, level: np.ndarray, following: np.ndarray) -> Tensor:
        share = torch.from_numpy(following / level).to(state).reshape(-1, *[1] * (state.ndim - 1))
        return denoised + share * (state - denoised)

    sigma: np.ndarray = np.full(n, clock.sigma_max)
    denoised = denoise(x, sigma)
    probe = sigma - 0.5 * np.minimum(policy.mean(sigma, 0.0, dt)[0] * dt, sigma)
    probed = denoise(advance(x, denoised, sigma, probe), probe)
    curvature = _curvature(denoised, probed, sigma, probe)
    steps = []
    for k in range(settings.steps):
        mean, gradient = policy.mean(sigma, k * dt, dt)
        known = curvature
        deviation = _deviation(mean, known, unit, settings)
        action = mean + deviation * generator.standard_normal(n)
        # The speed taken stays positive, and a step may not lead far past the end.
        limit = 0.9 * mean
        if k < settings.steps - 1:
            limit = np.minimum(limit, 0.7 * np.abs(sigma / dt - mean))
        theta = np.clip(action, mean - limit, mean + limit)
        following = sigma - theta * dt
        curvature = known.copy()
        live = np.flatnonzero(sigma > 1.2 * clock.sigma_min)
        if len(live):
            at, to = sigma[live], np.maximum(following[live], clock.sigma_min)
            x, denoised = x.clone(), denoised.clone()
            x[live] = advance(x[live], denoised[live], at, to)
            fresh = denoise(x[live], to)
            curvature[live] = _curvature(denoised[live], fresh, at, to)
            denoised[live] = fresh
        steps.append(Step(sigma, following, mean, deviation, gradient, action, theta, curvature, known))
        sigma = following
    return steps, spent


def _deviation(mean: np.ndarray, curvature: np.ndarray, unit: float, settings: ActorCriticSettings) -> np.ndarray:
    """sqrt(lambda / max(|Q|, eps)); the first iteration, whose cost gives the unit, explores a tenth of the mean."""
    if not unit:
        return 0.1 * mean
    floor = np.maximum(settings.epsilon, settings.exploration / (settings.max_noise * mean) ** 2)
    return np.sqrt(settings.exploration / np.maximum(curvature / unit, floor))


def _curvature(first: Tensor, second: Tensor, sigma: np.ndarray, following: np.ndarray) -> np.ndarray:
    """|d^2x/dsigma^2| of an Euler step, (n,) float64: the difference of d = (x - D) / sigma over the step.

    With x moved by Euler that is exactly (D_before - D_after) / following, without the cancellation of large x.
    """
    change = (second - first).flatten(1).double().norm(dim=1).cpu().numpy()
    return np.asarray(change / (following * (sigma - following)))
