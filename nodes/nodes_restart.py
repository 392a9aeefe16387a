"""SAMPLER node: Restart."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..samplers.restart_presets import PRESETS
from ..samplers.restart_setup import BUDGETS, ON_TOP
from ..samplers.solvers import available_solvers, resolve_solver
from . import host
from .parse import parse_segments
from .plugged import solver_in
from .schema import SAMPLER_CATEGORY, build

CUSTOM = "custom (segments)"
DEFAULT_MAIN = "default"


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
                    'noise is used. "75%" is the level when that share of the steps is done, "#9" the '
                    "level of step 9. A JSON list of lists works too. Not read when a preset is chosen.",
                ),
                build(
                    io.Combo.Input, "solver", options=available_solvers(), default="heun",
                    tooltip="The solver that runs all pieces. heun is the paper's (2 model calls a step); "
                    "dpmpp_2m and euler need 1.",
                ),
                build(
                    io.Float.Input, "s_noise", default=1.0, min=0.0, max=2.0, step=0.001, optional=True, advanced=True,
                    tooltip="Multiplies the noise added at restarts. The paper uses 1.003 on ImageNet, "
                    "otherwise 1. With a preset, 1 stands for the preset's own value.",
                ),
                build(
                    io.Combo.Input, "preset", options=[CUSTOM, *PRESETS], default=CUSTOM, optional=True,
                    tooltip="Ready-made restarts instead of the segments text. auto chooses from the model's "
                    "noise range and your steps; a1111 is the Restart sampler of AUTOMATIC1111; sd1.5 are the "
                    "published ones for Stable Diffusion by cfg; cifar10 and imagenet64 the paper's tables.",
                ),
                build(
                    io.Combo.Input, "budget", options=list(BUDGETS), default=ON_TOP, optional=True,
                    tooltip="on top of steps: restarts cost extra model calls. within steps: the run costs no "
                    "more than your steps would; main run and restarts share them, and what was shortened or "
                    "left out is written under the sampling node.",
                ),
                io.Sampler.Input(
                    "sampler", optional=True,
                    tooltip="Any deterministic SAMPLER to run all pieces instead of the solver above. One that "
                    "adds noise of its own (ancestral, SDE) or chooses its own steps is refused.",
                ),
                build(
                    io.Combo.Input, "main_solver", options=[DEFAULT_MAIN, *available_solvers()], default=DEFAULT_MAIN,
                    optional=True, advanced=True,
                    tooltip="Another solver for the main run; restarts keep theirs. default: the same solver, "
                    "or the preset's own (the sd1.5 presets: euler).",
                ),
                build(
                    io.Float.Input, "churn", default=0.0, min=0.0, max=0.414, step=0.01, optional=True, advanced=True,
                    tooltip="Extra noise at each step inside restarts, as a share of the noise level (the "
                    "official code's restart_gamma, there 0.05). 0 is off. It acts at levels from 0.01 to 1.",
                ),
            ],
            outputs=[io.Sampler.Output()],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(
        cls,
        segments: str,
        solver: str,
        s_noise: float = 1.0,
        preset: str = CUSTOM,
        budget: str = ON_TOP,
        sampler: Any = None,
        main_solver: str = DEFAULT_MAIN,
        churn: float = 0.0,
    ) -> io.NodeOutput:
        resolve_solver(solver)
        plugged = None if sampler is None else solver_in(sampler)
        restart = host.sampler(
            host.sampler_function("restart"),
            segments=parse_segments(segments) if preset == CUSTOM else preset,
            solver=plugged or solver,
            s_noise=None if preset != CUSTOM and s_noise == 1.0 else s_noise,
            budget=budget,
            main_solver=plugged if main_solver == DEFAULT_MAIN else main_solver,
            churn=churn,
            report=host.show_text,  # runs, and so appears, in the node that samples
        )
        if sampler is not None:  # how it wants masked parts noised (ddim)
            restart.inpaint_options = sampler.inpaint_options
        return io.NodeOutput(restart)


NODES: list[type[io.ComfyNode]] = [SamplerRestart]
