"""What Compare Schedules shows while it runs and when it is done."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from ..schedules.art.compare import Comparison, Measurement
from . import host
from .sketch import sketch_curve


class CompareWatcher:
    """Counts model evaluations; progress bar, the best run so far as a picture, Cancel."""

    def __init__(self, total: int, runs: int) -> None:
        """total: evaluations expected. runs: how many will be made."""
        self.total, self.runs, self.done = total, runs, 0
        self.made: list[Measurement] = []
        self.bar = host.LiveProgress(total)

    def spend(self, evaluations: int) -> None:
        """Evaluations were made; raises ComfyUI's interrupt where the user cancelled."""
        self.done += evaluations
        self.bar.update(self.done, max(self.total, self.done), self.picture)

    def show(self, made: list[Measurement]) -> None:
        """One more run is done."""
        self.made = made
        last = made[-1]
        host.show_text(f"{len(made)} of {self.runs}: {last.solver}, {last.name}, {last.steps} steps: {last.mean:.3g}")

    def picture(self) -> Image.Image | None:
        """The best levels so far at the step count that is being run; None before the first run."""
        if not self.made:
            return None
        here = [run for run in self.made if run.steps == self.made[-1].steps]
        best = min(here, key=lambda run: run.mean)
        errors = {f"{run.solver} {run.name}": run.mean for run in here if math.isfinite(run.mean)}
        return sketch_curve(best.sigmas.tolist(), f"{best.steps} steps: {best.solver}, {best.name}", errors, None, 1)

    def finish(self, picture: Image.Image) -> None:
        """Fill the bar and leave this picture in the node."""
        self.bar.finish(picture)


def chart_picture(found: Comparison) -> Image.Image:
    """The finished chart; without matplotlib the best levels instead, as the measuring was not for nothing."""
    try:
        from ..schedules.plot_compare import comparison_chart

        return comparison_chart(found)
    except ImportError:
        best = found.best(found.steps[0])
        return sketch_curve(best.sigmas.tolist(), f"{best.steps} steps: {best.solver}, {best.name}")


def sheet_picture(found: Comparison, pictures: Sequence[Tensor | None], exact: Tensor) -> Image.Image:
    """IMAGE tensors, one for each run (None: it has no end) and the exact one, side by side."""
    from ..schedules.plot_compare import picture_grid

    return picture_grid(found, [None if image is None else _picture(image) for image in pictures], _picture(exact))


def _picture(image: Tensor) -> Image.Image:
    """The first of an IMAGE, its first three channels."""
    values = image[0, ..., :3].detach().float().cpu().clamp(0, 1).numpy()
    return Image.fromarray(np.round(values * 255).astype(np.uint8))
