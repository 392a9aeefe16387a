"""What a fit tells while it works: stage, evaluations so far, the current best curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from .pilot import Trial

if TYPE_CHECKING:
    from .actor_critic import LearningHistory


@dataclass(frozen=True)
class FitProgress:
    """What a fit's callback gets.

    stage: "density" (direct) or "refine" (refined), then "reference" and "pilot". done, total: model evaluations so
    far and expected (total is an upper estimate). sigmas: the current best grid for the largest asked step count, or
    None. message: one line. errors: mean end error of each candidate so far at that step count. learning: ART-RL's
    LearningHistory while it learns, for learning_curves (plot_learning.py), else None.
    """

    stage: str
    done: int
    total: int
    sigmas: list[float] | None = None
    message: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    learning: LearningHistory | None = None


class Monitor:
    """Counts evaluations and tells the callback; what that raises ends the fit."""

    def __init__(self, callback: Callable[[FitProgress], None] | None):
        self.callback = callback
        self.done = self.total = 0
        self.stage, self.message = "reference", ""
        self.sigmas: list[float] | None = None
        self.errors: dict[str, float] = {}
        self.learning: LearningHistory | None = None

    def enter(self, stage: str, message: str) -> None:
        """A new stage begins."""
        self.stage, self.message, self.learning = stage, message, None
        self.tell()

    def spend(self, evaluations: int) -> None:
        """Model evaluations were made."""
        self.done += evaluations
        self.tell()

    def show(self, sigmas: Tensor, errors: Mapping[str, float] | None = None, message: str | None = None) -> None:
        """A new best grid, and what is known of its rivals."""
        self.sigmas = [float(v) for v in sigmas]
        self.errors = self.errors if errors is None else dict(errors)
        self.message = self.message if message is None else message
        self.tell()

    def show_learning(self, sigmas: Tensor, message: str, history: LearningHistory) -> None:
        """ART-RL has learned a little more."""
        self.learning = history
        self.show(sigmas, message=message)

    def show_trials(self, trials: Mapping[int, list[Trial]]) -> None:
        """The pilot's table so far."""
        largest = [t for t in trials[max(trials)] if t.errors]
        if largest:
            best = min(largest, key=lambda t: (-len(t.errors), t.mean))
            self.show(best.sigmas, {t.name: t.mean for t in largest})

    def tell(self) -> None:
        """Call the callback with how things stand."""
        if self.callback is not None:
            total = max(self.total, self.done)
            self.callback(
                FitProgress(self.stage, self.done, total, self.sigmas, self.message, dict(self.errors), self.learning)
            )
