"""Picture of ART-RL while it learns: the policy's mean grid, the terminal error and the cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from .plot import GREY, INK, LEARNED, new_figure, plain_log_labels, render, style_axes

WINDOW = 20  # iterations averaged into the thick line


def learning_curves(history: Any, width: int = 960, height: int = 300) -> Image.Image:
    """Three panels side by side, drawn from an ART-RL run's history (`LearningHistory`, art/actor_critic.py).

    Policy mean: sigma against step, the first grid grey, later ones warmer, the latest thick. Terminal error: in steps,
    0 is the constraint. Cost: in units of the first iteration's. The last two show every iteration thinly and the mean
    of the last WINDOW thickly.

    Returns a ``PIL.Image`` (RGB). Raises ValueError if the history is empty.
    """
    if not history.cost:
        raise ValueError("history: nothing has been learned yet, so there is nothing to draw")
    inches = 10.0
    figure = new_figure(inches * height / width, inches)
    policy, error, cost = figure.subplots(1, 3)
    for axes, title in ((policy, "Policy mean"), (error, "Terminal error"), (cost, "Cost")):
        style_axes(axes)
        axes.set_title(title, color=INK, fontsize=10.5, loc="left", fontweight="bold")
        axes.set_xlabel("step" if axes is policy else "iteration", color=INK, fontsize=9.5)
    grids = history.policy[:: max(1, len(history.policy) // 8)] + history.policy[-1:]
    for i, grid in enumerate(grids):
        levels = [s for s in grid if s > 1e-9 * grid[0]]  # the last is 0 up to rounding
        latest = i == len(grids) - 1
        colour = GREY if i == 0 and not latest else LEARNED[0]
        axes_alpha = 1.0 if latest or i == 0 else 0.15 + 0.5 * i / len(grids)
        policy.plot(range(len(levels)), levels, color=colour, alpha=axes_alpha, linewidth=2.4 if latest else 1.2)
    if grids:
        policy.set_yscale("log")
        plain_log_labels(policy)
    policy.set_ylabel("sigma (noise level)", color=INK, fontsize=9.5)
    error.axhline(0.0, color=GREY, linewidth=1.0)
    error.set_ylabel("steps too far", color=INK, fontsize=9.5)
    cost.set_ylabel("of the first iteration's", color=INK, fontsize=9.5)
    for axes, values in ((error, history.terminal_error), (cost, history.cost)):
        series = np.asarray(values, dtype=float)
        axes.plot(series, color=LEARNED[0], alpha=0.25, linewidth=0.8)
        axes.plot(_running_mean(series), color=LEARNED[0], linewidth=2.2)
    return render(figure, width)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the last WINDOW values up to each."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - WINDOW, 0)
    return np.asarray((total[ends] - total[starts]) / (ends - starts))
