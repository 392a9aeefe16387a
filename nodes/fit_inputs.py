"""Inputs and outputs that the two fit nodes share."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..samplers.solvers import available_solvers
from ..schedules.art.direct import OBJECTIVES
from ..schedules.art.fit import METHODS
from .schema import ArtSchedule, build

LATENT_TIP = "Gives the size (an empty latent); its content is not used."


def cfg_inputs() -> list[Any]:
    """What is learned for, as a model and its prompts."""
    return [
        io.Model.Input("model", tooltip="The model to learn for, LoRAs and patches included."),
        io.Conditioning.Input("positive", tooltip="A prompt like those you will use."),
        io.Conditioning.Input("negative", tooltip="The negative prompt; not used at cfg 1."),
        io.Float.Input(
            "cfg", default=5.0, min=0.0, max=100.0, step=0.1,
            tooltip="The cfg you will sample with: another one bends the path and wants another schedule.",
        ),
    ]  # fmt: skip


def guider_inputs() -> list[Any]:
    """What is learned for, as a GUIDER."""
    return [io.Guider.Input("guider", tooltip="The guider you will sample with: model, prompts and guidance.")]


def fit_inputs() -> list[Any]:
    """How it is learned."""
    solvers = [name for name in available_solvers() if name in OBJECTIVES]
    return [
        io.Latent.Input("latent_image", tooltip=LATENT_TIP),
        io.Int.Input(
            "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=False,
            tooltip="Seeds the noise that is learned from. Keep it: a new seed learns everything again.",
        ),
        io.Combo.Input(
            "solver", options=solvers, default="euler",
            tooltip="The sampler you will use the schedule with. Each solver wants its own schedule.",
        ),
        io.String.Input(
            "steps", default="12",
            tooltip='The number of steps you will sample with. Several, such as "8, 12, 20", are fitted and '
            "measured together at more cost; the sigmas output is for the first.",
        ),
        build(
            io.Int.Input, "trajectories", default=24, min=4, max=256, optional=True, advanced=True,
            tooltip="How many noises take part: a few to learn from, the others to measure with. More is surer and "
            "costs more.",
        ),
        io.Combo.Input(
            "method", options=list(METHODS), default="refined", optional=True,
            tooltip="refined: learns from real runs on candidate schedules, best at few steps. direct: from the bend "
            "of the paths alone, at about half the cost. art_rl: the ART paper's own reinforcement learning; same aim "
            "as direct, for about thirty times the model calls.",
        ),
        build(
            io.Boolean.Input, "free_start", default=True, optional=True, advanced=True,
            tooltip="Let the first level lie somewhat below the model's highest one, which makes every step shorter. "
            "Its cost is part of what is measured. Off: always start at the very top.",
        ),
    ]  # fmt: skip


def fit_outputs() -> list[Any]:
    """What a fit gives."""
    return [
        ArtSchedule.Output("schedule", display_name="schedule", tooltip="For an ART Scheduler."),
        io.Sigmas.Output("sigmas", display_name="sigmas", tooltip="The schedule at the first step count."),
        io.Image.Output("curve", display_name="curve", tooltip="A picture of the schedule."),
        io.String.Output("report", display_name="report", tooltip="What was measured, in words and numbers."),
        io.String.Output(
            "schedule_text", display_name="schedule_text",
            tooltip="The schedule as text, to paste into an ART Scheduler of any workflow.",
        ),
    ]  # fmt: skip
