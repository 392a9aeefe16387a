"""SAMPLER node: randomized midpoint."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..samplers.randomized_midpoint import MEASURES
from . import host
from .schema import MEASURE_TIP, SAMPLER_CATEGORY, build


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


NODES: list[type[io.ComfyNode]] = [SamplerRandomizedMidpoint]
