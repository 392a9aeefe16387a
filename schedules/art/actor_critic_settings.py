"""Every hyper-parameter of ART-RL, with what it does and where its value comes from."""

from __future__ import annotations

from dataclasses import dataclass

from ...samplers.grid import check_count, check_range


@dataclass(frozen=True)
class ActorCriticSettings:
    """Every hyper-parameter of ART-RL. "Ours": unreadable in the paper, chosen by us on exact mixtures.

    Costs are in units of the first iteration's mean cost, so none of the values depends on the model's scale.

    iterations: policy updates (the paper: 5000 of one trajectory; here fewer of a small batch, the same work shared).
    trajectories: new ones an iteration, one batch of the model (the paper: 1).
    steps: K, actions a trajectory; each costs one evaluation (and one more a trajectory).
    exploration: lambda, the policy's variance times |Q| (ours). 0.1 is about a third of the optimal speed.
    epsilon: the floor of |Q| in the variance, in cost units (ours).
    max_noise: the policy's deviation is at most this share of its mean, a floor of |Q| too (ours).
    actor_rate: step of the actor, a share of a natural-gradient step that would reach the optimum alone (ours).
    actor_damping: ridge of that natural gradient, a share of the Fisher matrix' mean diagonal (ours).
    rate_decay: iterations after which actor and multiplier rates have halved: rate / (1 + i / rate_decay) (ours).
    multiplier_rate: a in gamma <- gamma + a (psi(T) - T), the error taken on the learned clock, of length 1 (ours).
    warm_up: iterations in which only the critic learns (ours).
    critic_keep: how much an iteration's moments count in the next: 0.98 remembers about 50 (ours).
    critic_ridge: the critic's ridge, a share of its matrix' mean diagonal (ours).
    policy_width: knots of the mean's log speed, and of the critic's E|Q| (ours; the paper's widths are unknown).
    baseline: subtract from delta what the mean action would have given. It does not depend on the action, so the
        actor's condition is the same, with less noise (ours).
    clock_rho: exponent of the clock that learning starts from; None: 7, EDM's, for VE, and 2 for flow (ours).
    distil_share: last share of the iterations whose trajectories the schedule is the mean of (ours).
    seed: of the trajectories' noise and of the exploration.
    """

    iterations: int = 250
    trajectories: int = 4
    steps: int = 24
    exploration: float = 0.1
    epsilon: float = 1e-12
    max_noise: float = 0.3
    actor_rate: float = 0.05
    actor_damping: float = 0.05
    rate_decay: float = 100.0
    multiplier_rate: float = 2.0
    warm_up: int = 5
    critic_keep: float = 0.98
    critic_ridge: float = 1e-3
    policy_width: int = 12
    baseline: bool = True
    clock_rho: float | None = None
    distil_share: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError naming the setting, its value and what is allowed."""
        limits: dict[str, tuple[float, float]] = {
            "exploration": (1e-4, 1.0),
            "epsilon": (0.0, 1.0),
            "max_noise": (0.01, 0.5),
            "actor_rate": (0.0, 1.0),
            "actor_damping": (1e-4, 10.0),
            "rate_decay": (1.0, 1e9),
            "multiplier_rate": (0.0, 100.0),
            "critic_keep": (0.0, 1.0),
            "critic_ridge": (1e-9, 10.0),
            "distil_share": (0.01, 1.0),
        }
        for name, (low, high) in limits.items():
            object.__setattr__(self, name, check_range(name, getattr(self, name), low, high))
        counts = {
            "iterations": (1, 100_000),
            "trajectories": (1, 1024),
            "steps": (4, 1000),
            "warm_up": (0, 100_000),
            "policy_width": (2, 64),
            "seed": (0, 2**64 - 1),
        }
        for name, (low_count, high_count) in counts.items():
            object.__setattr__(self, name, check_count(name, getattr(self, name), low_count, high_count))
        if self.clock_rho is not None:
            object.__setattr__(self, "clock_rho", check_range("clock_rho", self.clock_rho, 1.0, 20.0))

    def expected_evaluations(self) -> int:
        """The most model evaluations a run can spend."""
        return self.iterations * self.trajectories * (self.steps + 2)
