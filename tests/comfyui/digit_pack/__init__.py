"""Test-only ComfyUI pack: conditioning that asks a tiny checkpoint for one digit; a counter of model calls.

ComfyUI's own text encoders have nothing to say to these checkpoints (they come with an empty one).
"""

import copy
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


class WatchSigmas(io.ComfyNode):
    """Notes under `tag` the levels of every network call; use a tag once, as ComfyUI caches nodes."""

    seen = {}  # noqa: RUF012

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RestARTTest_WatchSigmas",
            category="testing",
            inputs=[io.Model.Input("model"), io.String.Input("tag")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model, tag):
        calls = WatchSigmas.seen[tag] = []
        # Not by a wrapper of the network: levels do not share a batch where there is one.
        sampling = copy.copy(model.get_model_object("model_sampling"))

        class Watched(type(sampling)):
            def calculate_input(self, sigma, noise):
                calls.append(sorted(set(sigma.flatten().tolist()), reverse=True))
                return super().calculate_input(sigma, noise)

        sampling.__class__ = Watched
        patched = model.clone()
        patched.add_object_patch("model_sampling", sampling)
        return io.NodeOutput(patched)


class WatchedSigmas(io.ComfyNode):
    """Shows what WatchSigmas noted: for each call the levels in its batch."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RestARTTest_WatchedSigmas",
            category="testing",
            is_output_node=True,
            inputs=[io.Latent.Input("after"), io.String.Input("tag")],
            outputs=[],
        )

    @classmethod
    def execute(cls, after, tag):
        return io.NodeOutput(ui=ui.PreviewText(json.dumps(WatchSigmas.seen[tag])))


class EncodeDigits(io.ComfyNode):
    """VAE Encode for the tiny checkpoints: their pixel-space VAE makes pictures of latents, but not latents of them."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RestARTTest_EncodeDigits",
            category="testing",
            inputs=[io.Image.Input("pixels"), io.Vae.Input("vae")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, pixels, vae):
        small = torch.nn.functional.interpolate(pixels.movedim(-1, 1), (8, 8), mode="area")
        latent = torch.zeros(len(small), 16, 8, 8)
        latent[:, :3] = 2 * small - 1
        return io.NodeOutput({"samples": latent})


class DigitPack(ComfyExtension):
    async def get_node_list(self):
        return [
            DigitConditioning, CountModelCalls, ModelCalls, ExactNumbers, WatchSigmas, WatchedSigmas, EncodeDigits,
        ]  # fmt: skip


async def comfy_entrypoint():
    return DigitPack()
