"""What a fit shows while it runs and when it is done: progress, live curve, finished picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..schedules import ArtSchedule as Schedule
from . import host
from .sketch import sketch_curve

WINDOW = 20  # iterations that a learning curve's point is the mean of


class FitWatcher:
    """The fit's callback: progress bar, live curve in the node, Cancel."""

    def __init__(self, solver: str, baselines: Mapping[str, Any], steps: int) -> None:
        """baselines, steps: Karras's schedule at that step count, where there is one, is drawn in grey beside."""
        self.solver = solver
        name = next((n for n in ("karras", "simple", *baselines) if n in baselines), None)
        self.beside = (name, baselines[name](steps).tolist()) if name else None
        self.bar: host.LiveProgress | None = None
        self.lowest: list[float] = []  # error of the best candidate, each time it changed

    def __call__(self, progress: Any) -> None:
        if progress.errors:
            best = min(float(error) for error in progress.errors.values())
            if not self.lowest or best != self.lowest[-1]:
                self.lowest.append(best)
        if self.bar is None:
            self.bar = host.LiveProgress(progress.total)
        self.bar.update(progress.done, progress.total, lambda: self.picture(progress))

    def finish(self, picture: Image.Image) -> None:
        """Fill the bar and show the finished picture: the front end keeps the last live one in the node."""
        if self.bar is not None:
            self.bar.finish(picture)

    def picture(self, progress: Any) -> Image.Image:
        """The current best grid, drawn quickly."""
        line = f"{self.solver}: {progress.message or progress.stage}"
        history = progress.learning
        if history is not None and history.cost:
            learning = {"cost": smooth(history.cost), "terminal error": smooth(history.terminal_error)}
            return sketch_curve(progress.sigmas, line, {}, self.beside, traces=learning)
        return sketch_curve(progress.sigmas, line, progress.errors, self.beside, trace=self.lowest)


def smooth(values: Sequence[float]) -> list[float]:
    """The mean of the last WINDOW values up to each: single iterations of ART-RL jump."""
    ends = range(1, len(values) + 1)
    return [sum(values[max(0, end - WINDOW) : end]) / min(end, WINDOW) for end in ends]


def final_picture(schedule: Schedule, steps: int, sigmas: Tensor, baselines: Mapping[str, Any]) -> Image.Image:
    """The learned sigmas beside the best stock schedules at the same step count."""
    measured = dict(schedule.report.get("pilot", {}).get(steps, {}))
    name = str(schedule.report.get("chosen", {}).get(steps, "learned"))
    rivals = sorted((n for n in baselines if n in measured and n != name), key=lambda n: float(measured[n]))
    grids = {n: baselines[n](steps).tolist() for n in rivals}
    curves = dict([(n, grid) for n, grid in grids.items() if len(grid) == steps + 1][:3])
    title = f"{schedule.solver}, {steps} steps: {name} is best"
    try:
        from ..schedules.plot import schedule_curves

        label = name if name in baselines else f"ART ({name})"
        return schedule_curves({**curves, label: sigmas.tolist()}, title=title, width=640, height=400)
    except ImportError:  # matplotlib is not installed here; the fit was not for nothing
        return sketch_curve(sigmas.tolist(), title, {n: float(e) for n, e in measured.items()})


def image_tensor(picture: Image.Image) -> Tensor:
    """A picture as ComfyUI's IMAGE: (1, height, width, 3) float32 in [0, 1]."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32) / 255.0)[None]
