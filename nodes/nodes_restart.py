"""SAMPLER node: Restart."""

from __future__ import annotations

from comfy_api.latest import io

from ..samplers.solvers import available_solvers, resolve_solver
from . import host
from .parse import parse_segments
from .schema import SAMPLER_CATEGORY, build


class SamplerRestart(io.ComfyNode):
    """Restart (Xu et al. 2023, arXiv 2306.14878)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_SamplerRestart",
            display_name="Sampler Restart",
            category=SAMPLER_CATEGORY,
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


NODES: list[type[io.ComfyNode]] = [SamplerRestart]
