"""Fitting a schedule to a tiny checkpoint, and the pilot's table as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..schedules import ArtSchedule, fit_schedule
from .options import UserError
from .running import Checkpoint, Schedule, starting_noise


def fit_checkpoint(
    checkpoint: Checkpoint,
    *,
    solver: str,
    steps: tuple[int, ...],
    trajectories: int,
    seed: int,
    method: str = "direct",
    callback: Callable[[Any], None] | None = None,
    ranks: Any = None,
) -> ArtSchedule:
    """Fits a schedule to a tiny checkpoint, the ten digits taking turns.

    method, callback, ranks: as ``fit_schedule``'s. Raises UserError for a fit that cannot be made.
    """
    low, high = checkpoint.bounds
    try:
        schedule = fit_schedule(
            checkpoint.model,
            starting_noise(trajectories, seed),
            sigma_min=low,
            sigma_max=high,
            solver=solver,
            steps=steps,
            seed=seed,
            extra_args={"classes": torch.arange(trajectories) % 10},
            method=method,
            callback=callback,
            ranks=ranks,
        )
    except ValueError as problem:
        raise UserError(str(problem)) from None
    name = f"tiny {checkpoint.name}"
    return schedule.with_provenance(model=checkpoint.fingerprint, model_name=name, cfg=1.0)


def pilot_table(report: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """The report's pilot as steps -> candidate -> mean end error, steps ascending."""
    rows = sorted(((int(steps), row) for steps, row in report["pilot"].items()), key=lambda item: item[0])
    return {steps: {str(name): float(error) for name, error in row.items()} for steps, row in rows}


def trajectories_table(report: Mapping[str, Any]) -> dict[int, dict[str, int]]:
    """Steps -> candidate -> trajectories it ran on: fewer for those that were dropped early."""
    return {int(steps): dict(row) for steps, row in report["pilot_trajectories"].items()}


def chosen_names(report: Mapping[str, Any]) -> dict[int, str]:
    """The report's chosen candidates as steps -> name."""
    return {int(steps): str(name) for steps, name in report["chosen"].items()}


def best_stock(report: Mapping[str, Any], stock: Mapping[str, Schedule], steps: int) -> list[str]:
    """The stock schedules that did best in a pilot, at the fitted step count nearest to ``steps``.

    One name, or two: the best of all, and the best of those that have exactly as many steps as they are asked
    for (ddim_uniform may have one more, a help in the pilot that it has not at an equal number of calls).
    """
    pilot, tried = pilot_table(report), trajectories_table(report)
    nearest = min(pilot, key=lambda count: abs(math.log(count / steps)))
    row = pilot[nearest]
    ranked = sorted((name for name in stock if name in row), key=lambda name: (-tried[nearest][name], row[name]))
    exact = [name for name in ranked if len(stock[name](nearest)) == nearest + 1]
    return list(dict.fromkeys([*ranked[:1], *exact[:1]]))


def pilot_text(report: Mapping[str, Any]) -> str:
    """The pilot table of a fit as aligned text, its verdict, and what the fit cost."""
    pilot, chosen, tried = pilot_table(report), chosen_names(report), trajectories_table(report)
    names = list(dict.fromkeys(name for row in pilot.values() for name in row))
    width = max(len(name) for name in names)
    lines = [
        "Mean end error by steps (* kept, ~ dropped early, so measured on fewer trajectories):",
        " " * width + "".join(f"{steps:>10} " for steps in pilot),
    ]
    for name in names:
        line = f"{name:<{width}}"
        for steps, row in pilot.items():
            early = tried[steps].get(name, 0) < max(tried[steps].values())
            mark = "*" if chosen.get(steps) == name else "~" if early else " "
            line += f"{row[name]:>10.4f}{mark}" if name in row else f"{'-':>10} "
        lines.append(line.rstrip())
    lines.append(str(report["verdict"]))
    lines.append(
        f"Cost: {report['model_evaluations']} model evaluations to fit, {report['pilot_evaluations']} for the pilot."
    )
    return "\n".join(lines)
