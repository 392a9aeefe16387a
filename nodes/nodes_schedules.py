"""SIGMAS nodes: EDM and learned (ART) schedules."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..schedules import ArtSchedule as Schedule
from ..schedules import ScheduleError, edm_sigmas
from . import host
from .parse import check_share, check_steps
from .schema import ArtSchedule, build
from .sockets import check_optional_sockets, check_sockets

CATEGORY = host.category_of("KarrasScheduler", "sampling/custom_sampling/schedulers")
STEPS_TIP = "How many steps the sampler takes."
DENOISE_TIP = (
    "1: the whole way from pure noise. Less: only the last part, as in Basic Scheduler, for image to image; "
    "the number of steps stays the same."
)


class EDMScheduler(io.ComfyNode):
    """Karras et al. 2022, eq. 5, over the loaded model's own range, flow models included."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_EDMScheduler",
            display_name="EDM Scheduler",
            category=CATEGORY,
            description="The EDM (Karras) noise schedule over the loaded model's own range. On flow models "
            "it is built in noise-to-signal ratio and mapped back.",
            search_aliases=["edm scheduler", "karras rho"],
            inputs=[
                io.Model.Input("model", tooltip="The model that will be sampled: gives the range of noise "
                "levels."),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip=STEPS_TIP),
                io.Float.Input(
                    "rho", default=7.0, min=0.1, max=100.0, step=0.1,
                    tooltip="How strongly steps gather at low noise. 7 is the paper's; 1 is evenly spaced.",
                ),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=DENOISE_TIP),
                build(
                    io.Float.Input, "sigma_min", default=0.0, min=0.0, max=5000.0, step=0.0001, round=False,
                    optional=True, advanced=True, tooltip="Lowest level before 0. 0 takes the model's own.",
                ),
                build(
                    io.Float.Input, "sigma_max", default=0.0, min=0.0, max=5000.0, step=0.01, round=False,
                    optional=True, advanced=True, tooltip="Highest level. 0 takes the model's own.",
                ),
            ],
            outputs=[io.Sigmas.Output()],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(
        cls,
        model: Any,
        steps: int,
        rho: float,
        denoise: float,
        sigma_min: float = 0.0,
        sigma_max: float = 0.0,
    ) -> io.NodeOutput:
        check_sockets(model=model)
        check_steps(steps)
        if check_share("denoise", denoise) == 0.0:
            return io.NodeOutput(torch.zeros(0))
        sampling = host.model_sampling_of(model)
        low, high = host.bounds_of(sampling)
        flow = host.process_of(sampling).kind == "flow"
        bounds = (sigma_min or low, sigma_max or high)
        return io.NodeOutput(edm_sigmas(steps, *bounds, rho, denoise=denoise, flow=flow))


class ARTScheduler(io.ComfyNode):
    """A learned schedule at any number of steps, with a warning where it does not fit the model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_ARTScheduler",
            display_name="ART Scheduler",
            category=CATEGORY,
            description="Noise levels from a schedule that Fit ART Schedule learned, plugged in or pasted "
            "as text. Says so if the schedule was learned on another model.",
            search_aliases=["art scheduler", "learned schedule", "adaptive schedule"],
            inputs=[
                io.Model.Input("model", tooltip="The model that will be sampled: the schedule is mapped to "
                "its range."),
                io.Int.Input("steps", default=12, min=1, max=10000, tooltip=STEPS_TIP),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=DENOISE_TIP),
                io.String.Input(
                    "schedule_text", default="", multiline=True,
                    tooltip="A schedule as text, as Fit ART Schedule gives it (schedule_text). Used when "
                    "nothing is plugged into schedule. It is saved with the workflow, so the schedule "
                    "travels with it. The bookmark button above a selected Fit ART Schedule writes it "
                    "here after a run.",
                ),
                ArtSchedule.Input(
                    "schedule", optional=True, tooltip="From Fit ART Schedule. Wins over schedule_text.",
                ),
                io.Sampler.Input(
                    "sampler", optional=True,
                    tooltip="The sampler it will run with; plug it in to be told when the schedule was learned for "
                    "another.",
                ),
                build(
                    io.Float.Input, "cfg", default=0.0, min=0.0, max=100.0, step=0.1, optional=True, advanced=True,
                    tooltip="The cfg it will run with, to be told when the schedule was learned at another. 0: not "
                    "checked.",
                ),
            ],
            outputs=[
                io.Sigmas.Output(),
                io.String.Output(
                    "info", display_name="info", tooltip="What the schedule is, and warnings if it does not "
                    "fit."
                ),
            ],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(
        cls, model: Any, steps: int, denoise: float, schedule_text: str = "", schedule: Schedule | None = None,
        sampler: Any = None, cfg: float = 0.0,
    ) -> io.NodeOutput:  # fmt: skip
        check_sockets(model=model)
        check_optional_sockets(schedule=schedule)
        check_steps(steps)
        check_share("denoise", denoise)
        if schedule is None:
            if not schedule_text.strip():
                raise ValueError(
                    "schedule and schedule_text are both empty; plug in the schedule of a Fit ART Schedule "
                    "node or paste its schedule_text"
                )
            schedule = read_text(schedule_text)
        sampling = host.model_sampling_of(model)
        low, high = host.bounds_of(sampling)
        solver = None if sampler is None else host.solver_of(sampler)
        info = describe(schedule, model, steps, solver=solver, cfg=cfg or None)
        host.show_text(info)
        sigmas: Tensor = torch.zeros(0)
        if denoise > 0.0:
            sigmas = schedule.sigmas_for(steps, denoise, low, high)
        return io.NodeOutput(sigmas, info, ui=ui.PreviewText(info))


def read_text(text: str) -> Schedule:
    """A schedule from its text; ScheduleError naming the input."""
    try:
        return Schedule.from_text(text)
    except ScheduleError as error:
        raise ScheduleError(f"schedule_text: {error}") from None


def describe(schedule: Schedule, model: Any, steps: int, *, solver: str | None = None, cfg: float | None = None) -> str:
    """Plain sentences: what the schedule was learned on, and warnings where that is not what is at hand."""
    fitted = ", ".join(str(count) for count in schedule.steps)
    at_cfg = "" if schedule.cfg is None else f" at cfg {schedule.cfg:g}"
    lines = [f"Learned on {schedule.model_name or 'an unnamed model'}{at_cfg} for {schedule.solver}, {fitted} steps."]
    if steps not in schedule.steps:
        lines.append(f"{steps} steps were not measured: the schedule is read off its curve.")
    process = host.process_of(host.model_sampling_of(model)).kind
    warnings = schedule.warnings_for(model=host.fingerprint(model), process=process, solver=solver, cfg=cfg)
    lines += [f"Warning: {sentence}" for sentence in warnings]
    return "\n".join(lines)


NODES: list[type[io.ComfyNode]] = [EDMScheduler, ARTScheduler]
