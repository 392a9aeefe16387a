"""SAMPLER nodes: Restart, randomized midpoint, parallel midpoint."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..samplers.parallel_midpoint import MEASURES
from ..samplers.solvers import available_solvers, resolve_solver
from . import host
from .parse import parse_segments
from .schema import build

CATEGORY = host.category_of("KSamplerSelect", "sampling/custom_sampling/samplers")
MEASURE_TIP = (
    "How a midpoint between two noise levels is chosen: evenly in sigma, evenly in 1/sigma (leans towards "
    "low noise) or evenly in the paper's own time (ou)."
)


class SamplerRestart(io.ComfyNode):
    """Restart (Xu et al. 2023, arXiv 2306.14878)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_SamplerRestart",
            display_name="Sampler Restart",
            category=CATEGORY,
            description="Runs an ordinary solver, but at chosen noise levels adds fresh noise and solves "
            "back, a few times over, which washes out accumulated errors. Each repeat costs extra model "
            "calls on top of the steps.",
            search_aliases=["restart sampling", "restart sampler", "A1111 restart"],
            inputs=[
                build(
                    io.String.Input, "segments", default="3, 2, 0.06, 0.30", multiline=True,
                    tooltip="One restart per line: N, K, t_min, t_max. K times noise is added from level "
                    "t_min up to t_max and solved back on N levels (N - 1 steps). Levels are sigmas of a "
                    "Stable-Diffusion-like model; on flow models (Flux, SD3 ...) the level with as much "
                    "noise is used. A JSON list of lists works too.",
                ),
                build(
                    io.Combo.Input, "solver", options=available_solvers(), default="heun",
                    tooltip="The solver that runs all pieces. heun is the paper's (2 model calls a step); "
                    "dpmpp_2m and euler need 1.",
                ),
                build(
                    io.Float.Input, "s_noise", default=1.0, min=0.0, max=2.0, step=0.001, optional=True, advanced=True,
                    tooltip="Multiplies the noise added at restarts. The paper uses 1.003 on ImageNet, "
                    "otherwise 1.",
                ),
            ],
            outputs=[io.Sampler.Output()],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(cls, segments: str, solver: str, s_noise: float = 1.0) -> io.NodeOutput:
        parsed = parse_segments(segments)
        resolve_solver(solver)
        return io.NodeOutput(
            host.sampler(host.sampler_function("restart"), segments=parsed, solver=solver, s_noise=s_noise)
        )


class SamplerRandomizedMidpoint(io.ComfyNode):
    """Randomized midpoint (Gupta, Cai, Chen, ICLR 2025, arXiv 2406.00924)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_SamplerRandomizedMidpoint",
            display_name="Sampler Randomized Midpoint",
            category=CATEGORY,
            description="A two-call solver that takes each step with the model's answer at a randomly "
            "placed level inside it, so that errors average out instead of adding up. 2 model calls a step, "
            "1 for the last.",
            search_aliases=["randomized midpoint", "random midpoint"],
            inputs=[
                build(
                    io.Combo.Input, "measure", options=list(MEASURES), default="sigma", tooltip=MEASURE_TIP,
                ),
                build(
                    io.Float.Input, "spread", default=0.6, min=0.0, max=1.0, step=0.01,
                    tooltip="How far midpoints may lie from the middle of a step: 0 always the middle, 1 "
                    "anywhere (the paper). 0.6 is better at few steps.",
                ),
                build(
                    io.Boolean.Input, "antithetic", default=True, optional=True, advanced=True,
                    tooltip="Mirror the midpoint of every second step around the middle, so that "
                    "neighbouring errors cancel.",
                ),
            ],
            outputs=[io.Sampler.Output()],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(cls, measure: str, spread: float, antithetic: bool = True) -> io.NodeOutput:
        options: dict[str, Any] = {"measure": measure, "spread": spread, "antithetic": antithetic}
        return io.NodeOutput(host.sampler(host.sampler_function("randomized_midpoint"), **options))


class SamplerParallelMidpoint(io.ComfyNode):
    """Parallel midpoint (Gupta, Cai, Chen, ICLR 2025, arXiv 2406.00924)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_SamplerParallelMidpoint",
            display_name="Sampler Parallel Midpoint",
            category=CATEGORY,
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
    ) -> io.NodeOutput:
        options: dict[str, Any] = {
            "midpoints": midpoints, "sweeps": sweeps, "warm_start": warm_start, "jitter": jitter,
            "measure": measure,
        }  # fmt: skip
        return io.NodeOutput(host.sampler(host.sampler_function("parallel_midpoint"), **options))


NODES: list[type[io.ComfyNode]] = [SamplerRestart, SamplerRandomizedMidpoint, SamplerParallelMidpoint]
