"""What the demo measures and what it returns: plain data, without any of the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..schedules import ArtSchedule
from .budget import BY_ROUNDS

FITTED = ("euler", "heun", "dpmpp_2m")
# Which of the fitted schedules (and which pilot's best stock schedule) a sampler is run on.
FAMILY = {
    "euler": "euler",
    "heun": "heun",
    "dpmpp_2m": "dpmpp_2m",
    "restart": "dpmpp_2m",  # its pieces run on DPM++ 2M here
    "randomized_midpoint": "heun",
    "parallel_midpoint": "dpmpp_2m",
}
REFERENCE = "dpmpp_2m"  # of the samplers at hand, the closest to a finer run of either kind at equal calls
STOCHASTIC = ("restart", "randomized_midpoint")


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    budgets: model calls of one picture (for parallel midpoint: rounds, and no more than max_rounds). shown:
    the budget of the picture grid. pictures: held-out starting noises of every end error. judged: pictures,
    those and more, whose distribution is judged at the shown budget. fit_calls: model calls of one picture
    that the schedules are fitted for. trajectories: noises of a fit.
    """

    budgets: tuple[int, ...] = (8, 12, 20, 32)
    shown: int = 12
    pictures: int = 20
    judged: int = 50
    max_rounds: int = 20
    fit_calls: tuple[int, ...] = (8, 12, 20)
    trajectories: int = 16
    reference_steps: int = 128

    @classmethod
    def quick(cls) -> Settings:
        """A few seconds' worth, for the tests."""
        return cls((6, 8), 6, 10, 20, 6, (6,), 2, 32)

    def steps_of_fit(self, solver: str) -> tuple[int, ...]:
        """The step counts a solver's schedule is fitted for: Heun makes two calls a step."""
        return tuple(calls // 2 for calls in self.fit_calls) if solver == "heun" else self.fit_calls

    def batch(self, budget: int) -> int:
        """Pictures made at a budget."""
        return self.judged if budget == self.shown else self.pictures

    def budgets_of(self, sampler: str) -> tuple[int, ...]:
        """The budgets a sampler is measured at."""
        limit = self.max_rounds if sampler in BY_ROUNDS else max(self.budgets)
        return tuple(budget for budget in self.budgets if budget <= limit)


@dataclass(frozen=True)
class Run:
    """One sampler on one schedule at one budget.

    schedule: the column ("karras", "edm", "stock", "art"); schedule_name: what it was, e.g. "simple".
    calls: model calls of one picture. rounds: sequential model runs. seconds: of one picture, of a batch
    made together. error: end error. Only at the shown budget, else None: accuracy, the share of pictures the
    classifier reads as the digit asked for; energy and energy_error, the energy distance to the real digits
    and its standard error.
    """

    sampler: str
    schedule: str
    schedule_name: str
    budget: int
    steps: int
    calls: float = 0.0
    rounds: int = 0
    seconds: float = 0.0
    error: float = 0.0
    accuracy: float | None = None
    energy: float | None = None
    energy_error: float | None = None


@dataclass
class CheckpointResult:
    """What was found on one checkpoint.

    fits: solver -> the fit's report. schedules: solver -> the fitted schedule. curves: solver -> name ->
    sigmas at the shown budget. pictures: (sampler, schedule) -> (10, 8, 8) in [0, 1] at the shown budget.
    columns: schedules measured, in order. reference: the fine run itself; its error is its difference from
    a run of half as many steps.
    """

    name: str
    process: str
    columns: list[str]
    fits: dict[str, dict[str, Any]]
    schedules: dict[str, ArtSchedule]
    curves: dict[str, dict[str, list[float]]]
    reference: Run
    reference_pictures: Tensor
    runs: list[Run] = field(default_factory=list)
    pictures: dict[tuple[str, str], Tensor] = field(default_factory=dict)


@dataclass
class DemoResult:
    """The whole demo: settings, seed, seconds, and one result a checkpoint."""

    settings: Settings
    seed: int
    seconds: float
    checkpoints: list[CheckpointResult]
