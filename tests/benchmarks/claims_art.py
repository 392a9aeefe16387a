"""ART's claim of transfer: a time grid learned on one distribution, used on the others without learning again."""

from __future__ import annotations

import torch

from restart_art.schedules.art.direct import measure_curvature

from schedule_cases import FIT_ROWS, Setting, make
from schedule_fits import _Counter, _grids

PROBLEMS = ("2-D, EDM range", "16-D, EDM range", "256-D, EDM range")
COUNTS = (5, 10, 20, 30)
HELD = 512


def learned(setting: Setting) -> dict[int, torch.Tensor]:
    """ART's own objective by its closed form, from sigma_max, without a pilot."""
    rows = list(range(min(FIT_ROWS, len(setting.fit_noise))))
    with torch.no_grad():
        curvature = measure_curvature(_Counter().field(setting), rows, setting.low, setting.high)
    return _grids(curvature.density(1, 0.0, 0.5), COUNTS)


def transfer() -> dict[str, dict[str, dict[str, float]]]:
    """{learned on: {used on: {steps: Euler's end error over Karras' there}}}."""
    settings = {name: make(name, {}, held=HELD) for name in PROBLEMS}
    grids = {name: learned(setting) for name, setting in settings.items()}
    karras = {
        name: {n: setting.error("euler", setting.stock["karras"][n]) for n in COUNTS}
        for name, setting in settings.items()
    }
    return {
        source: {
            used: {str(n): setting.error("euler", grids[source][n]) / karras[used][n] for n in COUNTS}
            for used, setting in settings.items()
        }
        for source in PROBLEMS
    }
