"""ART-RL as a method of fit_schedule: candidates for the pilot, and what the report says of the learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ..stock import Schedule
from .actor_critic import LearningProgress, fit_actor_critic
from .actor_critic_settings import ActorCriticSettings
from .direct import OBJECTIVES
from .monitor import Monitor
from .trajectories import Field

LATE = 0.6  # increments left out at the top by the candidate that starts below sigma_max, as in direct.VARIANTS


def art_rl_candidates(
    field: Field,
    rows: Sequence[int],
    bounds: tuple[float, float],
    solver: str,
    settings: ActorCriticSettings | None,
    seed: int,
    free_start: bool,
    monitor: Monitor,
) -> tuple[dict[str, Schedule], dict[str, Any]]:
    """Learn by ART-RL; {"art_rl": schedule, ...} and {"art_rl": report}.

    settings: None for the defaults with the fit's own seed. free_start adds "art_rl_late", the same density started
    a little below sigma_max, for first-order solvers, which gain by it. ART's objective is Euler's error: for other
    solvers the same grid is used, as in the paper.
    """
    settings = settings or replace(ActorCriticSettings(), seed=seed)

    def show(progress: LearningProgress) -> None:
        monitor.show_learning(torch.tensor(progress.sigmas), progress.message, progress.history)

    result = fit_actor_critic(field, rows, *bounds, settings, show)

    def maker(skip: float) -> Schedule:
        return lambda n: torch.tensor([*result.density.grid(n, skip), 0.0], dtype=torch.float32)

    found = {"art_rl": maker(0.0)}
    if free_start and OBJECTIVES[solver] == "first order":
        found["art_rl_late"] = maker(LATE)
    return found, {"art_rl": result.summary()}
