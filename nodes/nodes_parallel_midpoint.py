"""SAMPLER node: parallel midpoint."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..samplers.langevin import STRENGTH
from ..samplers.parallel_midpoint import MEASURES, PRESETS
from . import host
from .schema import CUSTOM, MEASURE_TIP, SAMPLER_CATEGORY, build, corrector_inputs


def tell(report: dict[str, Any]) -> None:
    """Say in the node that samples what the run took."""
    rounds, calls, evaluations = report["rounds"], report["calls"], report["evaluations"]
    text = f"{rounds} rounds one after another, {calls} model calls, {evaluations} pictures through the model"
    if report["mode"] == "several devices":
        text += ", several devices at a time"
    if report["obstacle"]:
        text += f". No batching: {report['obstacle']}, so each level was asked alone"
    elif report["mode"] == "chunks":
        text += ". Not everything fitted into memory at once"
    host.show_text(text + ".")


class SamplerParallelMidpoint(io.ComfyNode):
    """Parallel midpoint (Gupta, Cai, Chen, ICLR 2025, arXiv 2406.00924)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_SamplerParallelMidpoint",
            display_name="Sampler Parallel Midpoint",
            category=SAMPLER_CATEGORY,
            description="Evaluates several midpoints of a step in one batched model call. It pays only "
            "where a batch of that size costs clearly less than as many single calls (small pictures, fast "
            "or several GPUs).",
            search_aliases=["parallel midpoint", "parallel sampling", "picard"],
            inputs=[
                build(
                    io.Int.Input, "midpoints", default=4, min=1, max=64,
                    tooltip="Midpoints per step, all in one batch: the batch grows by this factor, and "
                    "memory with it.",
                ),
                build(
                    io.Int.Input, "sweeps", default=1, min=1, max=16,
                    tooltip="How often the midpoints are corrected, one batched call each. 1 up to about 16 "
                    "steps, 2 beyond.",
                ),
                build(
                    io.Boolean.Input, "warm_start", default=True, optional=True, advanced=True,
                    tooltip="Start from the previous step's answers instead of spending one more call on "
                    "each step.",
                ),
                build(
                    io.Float.Input, "jitter", default=0.0, min=0.0, max=1.0, step=0.01, optional=True, advanced=True,
                    tooltip="0: midpoints in the middle of their cells (smallest error). 1: anywhere in "
                    "their cell, drawn by the seed.",
                ),
                build(
                    io.Combo.Input, "measure", options=list(MEASURES), default="inverse_sigma", optional=True,
                    advanced=True, tooltip=MEASURE_TIP,
                ),
                build(
                    io.Float.Input, "tolerance", default=0.0, min=0.0, max=1.0, step=0.0001,
                    optional=True, advanced=True,
                    tooltip="Above 0, sweeps is a maximum: a step ends as soon as a sweep changes it by less than "
                    "this part of its noise level. 0.01 is a start. 0: always all sweeps.",
                ),
                *corrector_inputs(", in at most as many more calls as there are sweeps."),
                build(
                    io.Combo.Input, "preset", options=[CUSTOM, *PRESETS], default=CUSTOM, optional=True,
                    advanced=True,
                    tooltip="custom: the inputs of this node count. paper: the published method (ou, jitter 1, no "
                    "warm start, corrector on), whatever measure, jitter and warm_start say.",
                ),
            ],
            outputs=[io.Sampler.Output()],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(
        cls,
        midpoints: int,
        sweeps: int,
        warm_start: bool = True,
        jitter: float = 0.0,
        measure: str = "inverse_sigma",
        tolerance: float = 0.0,
        corrector_steps: int = 0,
        corrector_strength: float = STRENGTH,
        preset: str = CUSTOM,
    ) -> io.NodeOutput:
        options: dict[str, Any] = {
            "midpoints": midpoints, "sweeps": sweeps, "tolerance": tolerance, "corrector_steps": corrector_steps,
            "corrector_strength": corrector_strength, "report": tell,
        }  # fmt: skip
        if preset == CUSTOM:
            options |= {"warm_start": warm_start, "jitter": jitter, "measure": measure}
        else:
            options["preset"] = preset
        return io.NodeOutput(host.sampler(host.sampler_function("parallel_midpoint"), **options))


NODES: list[type[io.ComfyNode]] = [SamplerParallelMidpoint]
