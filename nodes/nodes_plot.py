"""Plot Sigmas: any schedules, drawn together."""

from __future__ import annotations

import math
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from .curve_labels import MAX_CURVES, label_curves
from .fit_watch import image_tensor
from .nodes_schedules import CATEGORY
from .schema import build


class PlotSigmas(io.ComfyNode):
    """Up to MAX_CURVES SIGMAS in one picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_PlotSigmas",
            display_name="Plot Sigmas",
            category=CATEGORY,
            description="Draws noise schedules (SIGMAS) of any node as curves in one picture, and shows it.",
            search_aliases=["plot sigmas", "sigma graph", "visualize schedule", "sigmas preview", "draw scheduler"],
            is_output_node=True,
            inputs=[
                io.Boolean.Input(
                    "log_axis", default=True,
                    tooltip="On: equal heights are equal ratios, so that low noise levels can be told apart. Off: a "
                    "plain axis from 0.",
                ),
                io.String.Input(
                    "labels", default="", multiline=True, dynamic_prompts=False,
                    tooltip="Names for the legend, one per line: line 1 is for sigmas_1, and so on. An empty line "
                    "keeps the input's own name.",
                ),
                *(_sigmas_input(number) for number in range(1, MAX_CURVES + 1)),
            ],
            outputs=[io.Image.Output("image", display_name="image", tooltip="The picture.")],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(cls, log_axis: bool = True, labels: str = "", **sigmas: Any) -> io.NodeOutput:
        curves = {name: _levels(name, value) for name, value in sigmas.items() if value is not None}
        named = label_curves(curves, labels)
        try:
            from ..schedules.plot import schedule_curves
        except ImportError as error:
            raise RuntimeError("Plot Sigmas needs matplotlib, which is not installed (see requirements.txt)") from error
        picture = schedule_curves(named, width=960, height=600, inches=7.0, log_axis=log_axis)
        image = image_tensor(picture)
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))


def _sigmas_input(number: int) -> Any:
    return io.Sigmas.Input(f"sigmas_{number}", optional=True, tooltip="A schedule to draw, from any node.")


def _levels(name: str, sigmas: Any) -> list[float]:
    """Levels as numbers; ValueError naming the input where they cannot be drawn."""
    if not isinstance(sigmas, Tensor) or sigmas.ndim != 1:
        raise ValueError(f"{name} is {_shape(sigmas)}; it must be SIGMAS, one row of noise levels")
    levels = [float(v) for v in sigmas.detach().to("cpu").double().tolist()]
    if not levels:
        raise ValueError(f"{name} is empty (a scheduler gives that at denoise 0); there is nothing to draw")
    for i, level in enumerate(levels):
        if not math.isfinite(level) or level < 0:
            raise ValueError(f"{name}[{i}] is {level}; every sigma must be a finite number from 0 up")
    if max(levels) == 0:
        raise ValueError(f"{name} holds only zeros; at least one sigma must be above 0")
    return levels


def _shape(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


NODES: list[type[io.ComfyNode]] = [PlotSigmas]
