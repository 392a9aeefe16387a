"""Test-only ComfyUI pack: conditioning that asks a tiny checkpoint for one digit.

ComfyUI's own text encoders have nothing to say to these checkpoints (they come with an empty one).
"""

import torch
from comfy_api.latest import ComfyExtension, io

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


class DigitPack(ComfyExtension):
    async def get_node_list(self):
        return [DigitConditioning]


async def comfy_entrypoint():
    return DigitPack()
