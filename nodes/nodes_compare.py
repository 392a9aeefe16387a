"""Compare Schedules: which sampler with which schedule lands closest to the exact answer, on the loaded model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..samplers.grid import check_count
from ..schedules import ArtSchedule as Schedule
from ..schedules.art.compare import MIN_REFERENCE_NODES, Comparison, Measurement, compare, expected_evaluations, plan
from ..schedules.art.compare_report import comparison_text, verdict
from ..schedules.art.trajectories import Field
from . import host
from .compare_entries import comparison_entries
from .compare_watch import CompareWatcher, chart_picture, sheet_picture
from .fit_inputs import LATENT_TIP
from .fit_watch import image_tensor
from .nodes_schedules import CATEGORY
from .parse import parse_steps
from .schema import ArtSchedule, build
from .sockets import check_optional_sockets, check_sockets

NO_VAE = "pictures needs a VAE: plug one into the vae input of Compare Schedules"


class CompareSchedules(io.ComfyNode):
    """End errors of sampler and schedule pairs from the same noises, against a fine third-order solution."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_CompareSchedules",
            display_name="Compare Schedules",
            category=CATEGORY,
            description="Runs samplers with schedules on your model from the same noises, measures how far from the "
            "exact answer each lands, and says which is best at each number of steps. Learns nothing and changes "
            "nothing.",
            search_aliases=["compare schedulers", "benchmark samplers", "xy plot scheduler", "best scheduler"],
            is_output_node=True,
            inputs=[*_required_inputs(), *_optional_inputs()],
            outputs=[
                io.String.Output("verdict", display_name="verdict", tooltip="Which is best, in words."),
                io.String.Output("report", display_name="report", tooltip="The verdict, its cost and all errors."),
                io.Image.Output("chart", display_name="chart", tooltip="Error against model calls."),
                io.Image.Output(
                    "pictures", display_name="pictures",
                    tooltip="Where each landed from the first noise, side by side. Needs the vae input.",
                ),
            ],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, cfg: float, latent_image: dict[str, Any], seed: int,
        samplers: str, schedules: str, steps: str, schedule: Schedule | None = None, sigmas: Tensor | None = None,
        vae: Any = None, trajectories: int = 4, reference_steps: int = 64,
    ) -> io.NodeOutput:  # fmt: skip
        began = time.monotonic()
        check_sockets(model=model, positive=positive, negative=negative, latent_image=latent_image)
        check_optional_sockets(schedule=schedule, sigmas=sigmas, vae=vae)
        counts = parse_steps(steps)
        check_count("trajectories", trajectories, 1)
        check_count("reference_steps", reference_steps, MIN_REFERENCE_NODES)
        sampling = host.model_sampling_of(model)
        low, high = host.bounds_of(sampling)
        process = host.process_of(sampling).kind
        entries, notes = comparison_entries(sampling, samplers, schedules, counts, schedule, sigmas)
        runs = plan(entries, counts)
        shape = host.latent_shape(model, latent_image)
        if schedule is not None:
            warnings = schedule.warnings_for(model=host.fingerprint(model), process=process, cfg=float(cfg))
            notes += [f"Warning: {sentence}" for sentence in warnings]
        watch = CompareWatcher(expected_evaluations(runs, trajectories, reference_steps), len(runs))

        def job(denoiser: Any, noise: Tensor, extra_args: Mapping[str, Any]) -> Comparison:
            field = Field(denoiser, noise, extra_args, watch.spend)
            return compare(field, range(trajectories), runs, low, high, reference_steps, watch.show)

        guider = host.cfg_guider(model, positive, negative, float(cfg))
        found = host.run_in_guider(guider, shape=shape, seed=seed, trajectories=trajectories, job=job)
        report = comparison_text(found, watch.done, time.monotonic() - began, notes)
        picture = chart_picture(found)
        watch.finish(picture)
        host.show_text(verdict(found))
        chart = image_tensor(picture)
        pictures = host.blocked(NO_VAE) if vae is None else image_tensor(_sheet(model, vae, found))
        shown = ui.PreviewImage(chart, cls=cls).as_dict() | {"text": (report,)}
        return io.NodeOutput(verdict(found), report, chart, pictures, ui=shown)

    @classmethod
    def fingerprint_inputs(cls, schedules: str = "", **_: Any) -> str:
        """Measured again when a saved schedule's file has changed."""
        names = [line.strip() for line in str(schedules or "").splitlines()]
        saved = [name[len(host.PREFIX) :] for name in names if name.startswith(host.PREFIX)]
        return " ".join(host.file_state(name) for name in saved)


def _sheet(model: Any, vae: Any, found: Comparison) -> Any:
    def decoded(run: Measurement) -> Tensor | None:
        return None if run.end is None else host.decode(model, vae, run.end)

    exact = host.decode(model, vae, found.reference_end)
    return sheet_picture(found, [decoded(run) for run in found.runs], exact)


def _required_inputs() -> list[Any]:
    return [
        io.Model.Input("model", tooltip="The model to measure on, LoRAs and patches included."),
        io.Conditioning.Input("positive", tooltip="A prompt like those you will use."),
        io.Conditioning.Input("negative", tooltip="The negative prompt; not used at cfg 1."),
        io.Float.Input(
            "cfg", default=5.0, min=0.0, max=100.0, step=0.1,
            tooltip="The cfg you will sample with: at another one, another schedule may be best.",
        ),
        io.Latent.Input("latent_image", tooltip=LATENT_TIP),
        io.Int.Input(
            "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=False,
            tooltip="Seeds the noises that everything starts from.",
        ),
        io.String.Input(
            "samplers", default="euler\ndpmpp_2m", multiline=True, dynamic_prompts=False,
            tooltip="Samplers to run, one per line. Those that add noise of their own (ancestral, SDE) have no one "
            "exact answer and are refused.",
        ),
        io.String.Input(
            "schedules", default="simple\nbeta\nkarras\nedm", multiline=True, dynamic_prompts=False,
            tooltip="Schedulers to run them with, one per line: any name of ComfyUI's list, art/<name> for a saved "
            "schedule, or all for the whole list without saved ones.",
        ),
        io.String.Input(
            "steps", default="8, 12, 20",
            tooltip='Numbers of steps to measure at, such as "12" or "8, 12, 20".',
        ),
    ]  # fmt: skip


def _optional_inputs() -> list[Any]:
    return [
        ArtSchedule.Input("schedule", optional=True, tooltip="A learned schedule to measure along with the others."),
        io.Sigmas.Input(
            "sigmas", optional=True,
            tooltip="Any node's SIGMAS to measure along with the others, at their own number of steps, which must be "
            "one of steps. They must end in 0.",
        ),
        io.Vae.Input("vae", optional=True, tooltip="Only for the pictures output."),
        build(
            io.Int.Input, "trajectories", default=4, min=1, max=64, optional=True, advanced=True,
            tooltip="How many noises everything is run from. More tells smaller differences from chance and costs "
            "more.",
        ),
        build(
            io.Int.Input, "reference_steps", default=64, min=16, max=1000, optional=True, advanced=True,
            tooltip="Steps of the fine solution that stands for the exact answer. The report says how exact it is.",
        ),
    ]  # fmt: skip


NODES: list[type[io.ComfyNode]] = [CompareSchedules]
