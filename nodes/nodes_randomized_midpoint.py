"""SAMPLER node: randomized midpoint."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..samplers.langevin import STRENGTH
from ..samplers.randomized_midpoint import MEASURES, PRESETS
from . import host
from .schema import CUSTOM, MEASURE_TIP, SAMPLER_CATEGORY, build, corrector_inputs


class SamplerRandomizedMidpoint(io.ComfyNode):
    """Randomized midpoint (Gupta, Cai, Chen, ICLR 2025, arXiv 2406.00924)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_SamplerRandomizedMidpoint",
            display_name="Sampler Randomized Midpoint",
            category=SAMPLER_CATEGORY,
            description="A two-call solver that takes each step with the model's answer at a randomly "
            "placed level inside it, so that errors average out instead of adding up. 2 model calls a step, "
            "1 for the last; a corrector, off by default, costs more.",
            search_aliases=["randomized midpoint", "random midpoint", "langevin corrector", "predictor corrector"],
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
                build(
                    io.Combo.Input, "preset", options=[CUSTOM, *PRESETS], default=CUSTOM, optional=True,
                    tooltip="custom: the inputs of this node count. paper: the published method (ou, spread 1, "
                    "antithetic off, corrector on), whatever measure, spread and antithetic say.",
                ),
                *corrector_inputs(". One more model call each."),
            ],
            outputs=[io.Sampler.Output()],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(
        cls,
        measure: str,
        spread: float,
        antithetic: bool = True,
        preset: str = CUSTOM,
        corrector_steps: int = 0,
        corrector_strength: float = STRENGTH,
    ) -> io.NodeOutput:
        options: dict[str, Any] = {"corrector_steps": corrector_steps, "corrector_strength": corrector_strength}
        if preset == CUSTOM:
            options |= {"measure": measure, "spread": spread, "antithetic": antithetic}
        else:
            options["preset"] = preset
        return io.NodeOutput(host.sampler(host.sampler_function("randomized_midpoint"), **options))


NODES: list[type[io.ComfyNode]] = [SamplerRandomizedMidpoint]
