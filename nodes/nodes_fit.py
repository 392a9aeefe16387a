"""Fit ART Schedule: learns a noise schedule for the loaded model, solver and cfg."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..samplers.solvers import available_solvers, resolve_solver
from ..schedules import ArtSchedule as Schedule
from ..schedules import fit_schedule
from . import host
from .nodes_schedules import CATEGORY
from .parse import parse_steps
from .report import report_text
from .schema import ArtSchedule, build
from .sketch import sketch_curve


class FitARTSchedule(io.ComfyNode):
    """ART (Huang, Tang, Zhou 2026, arXiv 2601.18681), direct fit and measured refinement."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_FitARTSchedule",
            display_name="Fit ART Schedule",
            category=CATEGORY,
            description="Learns the noise levels that bring this model, at this cfg, closest to its own "
            "exact answer in the given number of steps, measures them against every scheduler of the list, "
            "and returns the best. Runs once; nothing is learned again while its inputs stay the same.",
            search_aliases=["learn schedule", "fit schedule", "art schedule", "optimize sigmas", "train "
            "scheduler"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The model to learn for, LoRAs and patches included."),
                io.Conditioning.Input("positive", tooltip="A prompt like those you will use."),
                io.Conditioning.Input("negative", tooltip="The negative prompt; not used at cfg 1."),
                io.Float.Input(
                    "cfg", default=5.0, min=0.0, max=100.0, step=0.1,
                    tooltip="The cfg you will sample with: another one bends the path and wants another "
                    "schedule.",
                ),
                io.Latent.Input("latent_image", tooltip="Gives the size (an empty latent); its content is "
                "not used."),
                io.Int.Input(
                    "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=False,
                    tooltip="Seeds the noise that is learned from. Keep it: a new seed learns everything "
                    "again.",
                ),
                io.Combo.Input(
                    "solver", options=available_solvers(), default="euler",
                    tooltip="The sampler you will use the schedule with. Each solver wants its own schedule.",
                ),
                io.String.Input(
                    "steps", default="12",
                    tooltip='The number of steps you will sample with. Several, such as "8, 12, 20", are '
                    'fitted and '
                    "measured together at more cost; the sigmas output is for the first.",
                ),
                build(
                    io.Int.Input, "trajectories", default=24, min=4, max=256, optional=True, advanced=True,
                    tooltip="How many noises take part: a few to learn from, the others to measure with. "
                    "More is surer and costs more.",
                ),
            ],
            outputs=[
                ArtSchedule.Output("schedule", display_name="schedule", tooltip="For an ART Scheduler."),
                io.Sigmas.Output("sigmas", display_name="sigmas", tooltip="The schedule at the first step "
                "count."),
                io.Image.Output("curve", display_name="curve", tooltip="A picture of the schedule."),
                io.String.Output("report", display_name="report", tooltip="What was measured, in words and "
                "numbers."),
                io.String.Output(
                    "schedule_text", display_name="schedule_text",
                    tooltip="The schedule as text, to paste into an ART Scheduler of any workflow.",
                ),
            ],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, cfg: float, latent_image: dict[str, Any], seed: int,
        solver: str, steps: str, trajectories: int = 24,
    ) -> io.NodeOutput:  # fmt: skip
        counts = parse_steps(steps)
        resolve_solver(solver)
        sampling = host.model_sampling_of(model)
        process = host.process_of(sampling)
        shape = host.latent_shape(model, latent_image)
        low, high = host.bounds_of(sampling)
        baselines = host.stock_schedules(sampling, counts)
        watch = FitWatcher(solver, baselines, max(counts))

        def job(denoiser: Any, noise: Tensor, extra_args: Mapping[str, Any]) -> Schedule:
            return fit_schedule(
                denoiser, noise, sigma_min=low, sigma_max=high, solver=solver, steps=counts,
                baselines=baselines, seed=seed, extra_args=extra_args, callback=watch,
            )  # fmt: skip

        schedule = host.run_in_guider(
            model, positive, negative, cfg, shape=shape, seed=seed, trajectories=trajectories, job=job
        )
        schedule = schedule.with_provenance(
            model=host.fingerprint(model), model_name=host.model_name(model), cfg=float(cfg)
        )
        report = report_text(schedule.report, schedule.warnings_for(process=process.kind, cfg=cfg, solver=solver))
        sigmas = schedule.sigmas_for(counts[0], 1.0, low, high)
        picture = final_picture(schedule, counts[0], sigmas, baselines)
        watch.finish(picture)
        host.show_text(str(schedule.report.get("verdict", "")))
        curve = image_tensor(picture)
        shown = ui.PreviewImage(curve, cls=cls).as_dict() | {"text": (report,)}
        return io.NodeOutput(schedule, sigmas, curve, report, schedule.to_text(), ui=shown)


class FitWatcher:
    """The fit's callback: progress bar, live curve in the node, Cancel."""

    def __init__(self, solver: str, baselines: Mapping[str, Any], steps: int) -> None:
        """baselines, steps: one of the stock schedules at that step count is drawn in grey to compare with."""
        self.solver = solver
        name = next((n for n in ("simple", "normal", *baselines) if n in baselines), None)
        self.beside = (name, baselines[name](steps).tolist()) if name else None
        self.bar: host.LiveProgress | None = None

    def __call__(self, progress: Any) -> None:
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
        return sketch_curve(progress.sigmas, line, progress.errors, self.beside)


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


NODES: list[type[io.ComfyNode]] = [FitARTSchedule]
