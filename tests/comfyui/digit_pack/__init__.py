"""Test-only ComfyUI pack: conditioning that asks a tiny checkpoint for one digit; a counter of model calls.

ComfyUI's own text encoders have nothing to say to these checkpoints (they come with an empty one).
"""

import json

import torch
from comfy_api.latest import ComfyExtension, io, ui

TOKENS, CONTEXT, POOLED = 77, 4096, 2048


class DigitConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RestARTTest_DigitConditioning",
            category="testing",
            inputs=[io.Int.Input("digit", default=0, min=0, max=9)],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, digit):
        pooled = torch.zeros(1, POOLED)
        pooled[0, digit] = 1.0
        return io.NodeOutput([[torch.zeros(1, TOKENS, CONTEXT), {"pooled_output": pooled}]])


class CountModelCalls(io.ComfyNode):
    """Counts under `tag` how often the network runs; use a tag once, as ComfyUI caches nodes."""

    counts = {}  # noqa: RUF012

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RestARTTest_CountModelCalls",
            category="testing",
            inputs=[io.Model.Input("model"), io.String.Input("tag")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model, tag):
        CountModelCalls.counts[tag] = 0

        def counted(apply_model, options):
            CountModelCalls.counts[tag] += 1
            return apply_model(options["input"], options["timestep"], **options["c"])

        patched = model.clone()
        patched.set_model_unet_function_wrapper(counted)
        return io.NodeOutput(patched)


class ModelCalls(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RestARTTest_ModelCalls",
            category="testing",
            inputs=[io.Latent.Input("after"), io.String.Input("tag")],
            outputs=[io.Int.Output()],
        )

    @classmethod
    def execute(cls, after, tag):
        return io.NodeOutput(CountModelCalls.counts[tag])


class ExactNumbers(io.ComfyNode):
    """Shows SIGMAS with every digit they have (PreviewAny rounds)."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RestARTTest_ExactNumbers",
            category="testing",
            is_output_node=True,
            inputs=[io.Sigmas.Input("sigmas")],
            outputs=[],
        )

    @classmethod
    def execute(cls, sigmas):
        return io.NodeOutput(ui=ui.PreviewText(json.dumps(sigmas.tolist())))


class DigitPack(ComfyExtension):
    async def get_node_list(self):
        return [DigitConditioning, CountModelCalls, ModelCalls, ExactNumbers]


async def comfy_entrypoint():
    return DigitPack()
