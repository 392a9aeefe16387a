"""ART-RL: the schedule learned by an actor-critic, as in the paper.

Huang, Tang, Zhou 2026, "ART for Diffusion Sampling: A Reinforcement Learning Approach to Timestep Schedule",
arXiv 2601.18681. In coordinates psi = sigma_max - sigma, a clock speed theta = dpsi/dt is chosen along a sampling
path; one Euler step's error is 0.5 dt^2 theta^2 |Q| with Q = d^2x/dpsi^2. What is minimised is
E integral |Q| theta^2 dt over t in [0, 1], subject to integral theta dt = T = sigma_max, by
    policy    theta ~ N(mu(t, psi), lambda / max(|Q|, eps)),
    reward    r = -|Q| theta^2 - gamma theta,      delta_k = V_{k+1} - V_k + r_k dt,
    critic    E sum xi_k delta_k = 0,   actor    E sum eta_k dlog pi(a_k) delta_k = 0   (martingale conditions),
    multiplier    gamma <- gamma + rate (psi(T) - T) after the trajectories,
and the schedule is the empirical mean of theta(t), scaled to sum to T, resampled to other numbers of steps.
direct.py reaches the same optimum theta ~ (E|Q|)^(-1/2) with a hundredth of the model evaluations; this is the mode for
fidelity to the paper. What the paper's text did not let us read is ours and marked so in ActorCriticSettings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .actor_critic_settings import ActorCriticSettings
from .direct import NODES, Density
from .policy import Clock, Critic, MeanPolicy, actor_moment, martingale_errors
from .rollout import Step, walk
from .trajectories import Field

__all__ = ["ActorCriticResult", "ActorCriticSettings", "LearningHistory", "LearningProgress", "fit_actor_critic"]

REPORT_EVERY = 5  # iterations between progress messages


@dataclass(frozen=True)
class LearningHistory:
    """One entry an iteration. cost: mean over its trajectories, in units of the first. terminal_error: mean psi(T) - T
    in steps (1 = one mean step of the learned clock too far). multiplier: gamma. policy: the mean policy's node
    levels, (steps + 1,) sigmas from sigma_max to 0, every REPORT_EVERY iterations."""

    cost: list[float] = field(default_factory=list)
    terminal_error: list[float] = field(default_factory=list)
    multiplier: list[float] = field(default_factory=list)
    policy: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class ActorCriticResult:
    """density: for grids of any number of steps. grid: the distilled theta's own, (steps + 1,) sigmas ending in 0.
    scaling: the factor that brought the empirical mean to its sum T (1 if the constraint held exactly).
    evaluations: of the model, all counted."""

    density: Density
    grid: list[float]
    scaling: float
    evaluations: int
    history: LearningHistory

    def summary(self, points: int = 24) -> dict[str, Any]:
        """Short enough for a schedule's report: evaluations, last cost and terminal error, thinned curves."""
        tail = max(1, len(self.history.cost) // 4)
        thin = np.unique(np.linspace(0, len(self.history.cost) - 1, points).astype(int))
        curves = {
            name: [round(float(getattr(self.history, name)[i]), 4) for i in thin]
            for name in ("cost", "terminal_error", "multiplier")
        }
        return {
            "model_evaluations": self.evaluations,
            "terminal_error": round(float(np.mean(self.history.terminal_error[-tail:])), 4),
            "cost": round(float(np.mean(self.history.cost[-tail:])), 4),
            "scaling": round(self.scaling, 6),
            "history": {"iteration": [int(i) for i in thin], **curves},
        }


@dataclass(frozen=True)
class LearningProgress:
    """What on_progress gets. sigmas: the schedule that would be distilled now."""

    iteration: int
    sigmas: list[float]
    message: str
    history: LearningHistory


def fit_actor_critic(
    field_: Field,
    rows: Sequence[int],
    sigma_min: float,
    sigma_max: float,
    settings: ActorCriticSettings | None = None,
    on_progress: Callable[[LearningProgress], None] | None = None,
) -> ActorCriticResult:
    """Learn a node density by ART-RL.

    Args:
        field_: the model; its evaluations are counted there too. Each trajectory starts from new noise.
        rows: whose conditioning (extra_args) is used, one row an iteration, in turn.
        sigma_min, sigma_max: 0 < sigma_min < sigma_max, in the model's own sigma (flow: <= 1). Below sigma_min |Q|
            is taken to be what it was there.
        settings: see ActorCriticSettings.
        on_progress: called every REPORT_EVERY iterations; what it raises ends the learning.

    Raises:
        ValueError: no rows; NaN or inf from the model.
    """
    settings = settings or ActorCriticSettings()
    if not rows:
        raise ValueError("rows is empty; ART-RL needs at least one trajectory's conditioning")
    rho = settings.clock_rho or (2.0 if field_.process.kind == "flow" else 7.0)
    learner = _Learner(Clock(sigma_min, sigma_max, rho), settings)
    noise = torch.Generator().manual_seed(settings.seed)
    explore = np.random.default_rng(settings.seed)
    evaluations = 0
    for i in range(settings.iterations):
        start = _new_noise(field_.noise, settings.trajectories, noise) * (sigma_max * field_.process.noise_scale)
        episode, spent = walk(field_, rows[i % len(rows)], start, learner.policy, settings, learner.unit, explore)
        evaluations += spent
        learner.update(i, episode)
        if on_progress is not None and (i % REPORT_EVERY == 0 or i == settings.iterations - 1):
            on_progress(learner.progress(i, evaluations))
    grid, scaling = distil(learner.kept)
    return ActorCriticResult(density_of(grid, learner.clock), grid.tolist(), scaling, evaluations, learner.history)


def _new_noise(like: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, *like.shape[1:], generator=generator, dtype=torch.float64).to(like)


class _Learner:
    """Policy, critic and multiplier, and their update from an iteration's trajectories."""

    def __init__(self, clock: Clock, settings: ActorCriticSettings):
        self.clock, self.settings = clock, settings
        self.policy = MeanPolicy(clock, settings.policy_width)
        self.critic = Critic(settings.policy_width, settings.critic_keep, settings.critic_ridge)
        self.multiplier, self.unit = 0.0, 0.0
        self.fisher: np.ndarray = np.zeros((settings.policy_width + 1, settings.policy_width + 1))
        self.history = LearningHistory()
        self.kept: list[np.ndarray] = []  # mean levels of the latest iterations' trajectories

    def update(self, i: int, episode: list[Step]) -> None:
        s, dt, last = self.settings, 1 / self.settings.steps, len(episode) - 1
        cost = sum(step.curvature * step.theta**2 * dt for step in episode)
        self.unit = self.unit or float(np.mean(cost)) or 1.0
        error = self._overrun(episode[-1].following)
        basis = [self.policy.features(step.sigma, k * dt) for k, step in enumerate(episode)]
        basis.append(np.zeros_like(basis[0]))  # V = 0 at the end
        costs = [-step.curvature / self.unit * step.theta**2 * dt for step in episode]
        self._learn_critic(episode, basis, costs)
        fisher: np.ndarray = np.zeros_like(self.fisher)
        moment: np.ndarray = np.zeros(len(fisher))
        for k, step in enumerate(episode):
            # The multiplier's share of V and r, gamma times what is left of T, is known: on the way to the end the
            # mean overruns it by `aim`. So it enters delta where that forecast meets what happened.
            ahead = error if k == last else self.policy.aim
            delta = martingale_errors(
                basis[k] @ self.critic.weights, basis[k + 1] @ self.critic.weights, costs[k]
            ) - self.multiplier * (ahead - self.policy.aim)
            if s.baseline:
                delta = delta - self._delta_of_mean(k, step, basis[k], k == last)
            score = step.gradient * ((step.action - step.mean) / step.deviation**2)[:, None]
            moment = moment + actor_moment(score, delta) / s.trajectories
            natural = step.gradient / step.deviation[:, None]
            fisher = fisher + natural.T @ natural * dt / s.trajectories
        fresh = max(0.05, 1 / (i + 1))
        self.fisher = (1 - fresh) * self.fisher + fresh * fisher
        if i >= s.warm_up:
            rate = 1 / (1 + i / s.rate_decay)
            self._step(s.actor_rate * rate / s.exploration, moment)
            self.multiplier += s.multiplier_rate * rate * float(error.mean())
        self._record(i, episode, float(np.mean(cost)), float(error.mean()))

    def _learn_critic(self, episode: list[Step], basis: list[np.ndarray], costs: list[np.ndarray]) -> None:
        """xi_k is the drop of dV/dweights over the mean step: known before acting, and almost local in the clock, so
        each knot's E|Q| is learned from the steps near it. Exploration's own cost |Q| variance, the same whatever
        the mean, is left out of V."""
        dt, last = 1 / self.settings.steps, len(episode) - 1
        test = []
        for k, step in enumerate(episode):
            ahead = 0.0 if k == last else self.policy.features(step.sigma - step.mean * dt, (k + 1) * dt)
            test.append(basis[k] - ahead)
        rewards = [
            c + step.curvature / self.unit * step.deviation**2 * dt for c, step in zip(costs, episode, strict=True)
        ]
        self.critic.learn(*(np.concatenate(part) for part in (test, basis[:-1], basis[1:], rewards)))

    def _overrun(self, sigma: np.ndarray) -> np.ndarray:
        """psi(T) - T on the learned clock: 0 at sigma 0, whole length 1."""
        return self.policy.z(self.clock.u(sigma)) - 1

    def _delta_of_mean(self, k: int, step: Step, basis: np.ndarray, last: bool) -> np.ndarray:
        """delta had the action been the mean, its reward expected over the policy; from what is known before acting."""
        dt = 1 / self.settings.steps
        sigma = step.sigma - step.mean * dt
        ahead = self._overrun(sigma) if last else self.policy.aim
        value = np.zeros(len(sigma)) if last else self.policy.features(sigma, (k + 1) * dt) @ self.critic.weights
        reward = -step.known_curvature / self.unit * (step.mean**2 + step.deviation**2) * dt
        forecast = self.multiplier * (ahead - self.policy.aim)
        return martingale_errors(basis @ self.critic.weights, value, reward) - forecast

    def _step(self, rate: float, moment: np.ndarray) -> None:
        width = self.settings.policy_width
        ridge = self.settings.actor_damping * float(np.trace(self.fisher[:width, :width])) / width
        damped = self.fisher + np.diag([ridge] * width + [1e-9])
        move = np.clip(rate * np.linalg.solve(damped, moment), -0.2, 0.2)
        self.policy.move(move[:width], float(move[width]))

    def _record(self, i: int, episode: list[Step], cost: float, error: float) -> None:
        self.history.cost.append(cost / self.unit)
        self.history.terminal_error.append(error * self.settings.steps)
        self.history.multiplier.append(self.multiplier)
        levels = [step.sigma for step in episode] + [episode[-1].following]
        self.kept.append(np.stack(levels).mean(axis=1))
        keep = max(1, round(self.settings.distil_share * self.settings.iterations))
        self.kept = self.kept[-min(keep, max(5, i // 2)) :]

    def progress(self, i: int, evaluations: int) -> LearningProgress:
        h, recent = self.history, slice(-20, None)
        grid = distil(self.kept)[0].tolist()
        h.policy.append(self.clock.sigma(self.policy.u(np.linspace(0, 1, self.settings.steps + 1))).tolist())
        message = (
            f"ART-RL {i + 1}/{self.settings.iterations}: cost {np.mean(h.cost[recent]):.3f}, "
            f"terminal error {np.mean(h.terminal_error[recent]):+.2f} steps, {evaluations} evaluations"
        )
        return LearningProgress(i + 1, grid, message, h)


def distil(levels: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """The empirical mean theta(t), scaled to sum to T.

    Args:
        levels: sigmas (steps + 1,) of trajectories or their means, all starting at the same sigma_max.

    Returns:
        (steps + 1,) sigmas strictly descending from sigma_max to exactly 0, and the factor applied to theta.
    """
    mean = np.mean(np.stack(levels), axis=0)
    theta = -np.diff(mean)
    scale = float(mean[0] / theta.sum())
    grid = mean[0] - np.concatenate([[0.0], np.cumsum(theta * scale)])
    grid[-1] = 0.0
    return grid, scale


def density_of(grid: np.ndarray, clock: Clock) -> Density:
    """The grid's node density over log sigma, for other numbers of steps: log theta straight on the clock's scale."""
    theta, middle = -np.diff(grid), 0.5 * (grid[1:] + grid[:-1])
    sigmas = np.exp(np.linspace(np.log(clock.sigma_max), np.log(clock.sigma_min), 2 * NODES))
    speed = np.exp(np.interp(clock.u(sigmas), clock.u(middle), np.log(theta)))
    return Density(sigmas, sigmas / speed * len(theta) ** -1)
