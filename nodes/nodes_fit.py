"""Fit ART Schedule: learns a noise schedule for the loaded model, solver and cfg."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from comfy_api.latest import io, ui

from ..samplers.solvers import resolve_solver
from ..schedules import ArtSchedule as Schedule
from ..schedules import fit_schedule
from ..schedules.art.fit import METHODS
from . import host
from .fit_inputs import cfg_inputs, fit_inputs, fit_outputs, guider_inputs
from .fit_watch import FitWatcher, final_picture, image_tensor
from .nodes_schedules import CATEGORY
from .parse import parse_steps
from .report import report_text
from .schema import build
from .sockets import check_sockets

ALIASES = ["learn schedule", "fit schedule", "art schedule", "optimize sigmas", "train scheduler"]
DIRECT = METHODS[0]  # what a workflow without a method input was made with


def learn(
    guider: Callable[[], Any], model: Any, cfg: float | None, latent_image: dict[str, Any], seed: int, solver: str,
    steps: str, trajectories: int, method: str, free_start: bool, cls: type[io.ComfyNode],
) -> io.NodeOutput:  # fmt: skip
    """Fit on what guider() samples with (asked for only once the other inputs are checked); both nodes' result."""
    check_sockets(latent_image=latent_image)
    counts = parse_steps(steps)
    resolve_solver(solver)
    sampling = host.model_sampling_of(model)
    process = host.process_of(sampling)
    shape = host.latent_shape(model, latent_image)
    low, high = host.bounds_of(sampling)
    baselines = host.stock_schedules(sampling, counts)
    watch = FitWatcher(solver, baselines, max(counts))

    def job(denoiser: Any, noise: Any, extra_args: Mapping[str, Any]) -> Schedule:
        return fit_schedule(
            denoiser, noise, sigma_min=low, sigma_max=high, solver=solver, steps=counts, method=method,
            free_start=free_start, baselines=baselines, seed=seed, extra_args=extra_args, callback=watch,
        )  # fmt: skip

    schedule = host.run_in_guider(guider(), shape=shape, seed=seed, trajectories=trajectories, job=job)
    schedule = schedule.with_provenance(model=host.fingerprint(model), model_name=host.model_name(model), cfg=cfg)
    report = report_text(schedule.report, schedule.warnings_for(process=process.kind, cfg=cfg, solver=solver))
    sigmas = schedule.sigmas_for(counts[0], 1.0, low, high)
    picture = final_picture(schedule, counts[0], sigmas, baselines)
    watch.finish(picture)
    host.show_text(str(schedule.report.get("verdict", "")))
    curve = image_tensor(picture)
    text = schedule.to_text()
    shown = ui.PreviewImage(curve, cls=cls).as_dict() | {"text": (report,), "schedule_text": (text,)}
    return io.NodeOutput(schedule, sigmas, curve, report, text, ui=shown)


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
            search_aliases=ALIASES,
            is_output_node=True,
            inputs=[*cfg_inputs(), *fit_inputs()],
            outputs=fit_outputs(),
        )
        return schema

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, cfg: float, latent_image: dict[str, Any], seed: int,
        solver: str, steps: str, trajectories: int = 24, method: str = DIRECT, free_start: bool = True,
    ) -> io.NodeOutput:  # fmt: skip
        check_sockets(model=model, positive=positive, negative=negative)
        return learn(
            lambda: host.cfg_guider(model, positive, negative, cfg), model, float(cfg), latent_image, seed, solver,
            steps, trajectories, method, free_start, cls,
        )  # fmt: skip


class FitARTScheduleAdvanced(io.ComfyNode):
    """The same for any GUIDER, as SamplerCustomAdvanced is to SamplerCustom."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_FitARTScheduleAdvanced",
            display_name="Fit ART Schedule (Advanced)",
            category=CATEGORY,
            description="Fit ART Schedule for whatever a GUIDER samples with: dual cfg, perpendicular negative, a "
            "guider without a negative prompt, or one of another pack.",
            search_aliases=ALIASES,
            is_output_node=True,
            inputs=[*guider_inputs(), *fit_inputs()],
            outputs=fit_outputs(),
        )
        return schema

    @classmethod
    def execute(
        cls, guider: Any, latent_image: dict[str, Any], seed: int, solver: str, steps: str, trajectories: int = 24,
        method: str = DIRECT, free_start: bool = True,
    ) -> io.NodeOutput:  # fmt: skip
        return learn(
            lambda: guider, host.guider_model(guider), host.guider_cfg(guider), latent_image, seed, solver, steps,
            trajectories, method, free_start, cls,
        )  # fmt: skip


NODES: list[type[io.ComfyNode]] = [FitARTSchedule, FitARTScheduleAdvanced]
