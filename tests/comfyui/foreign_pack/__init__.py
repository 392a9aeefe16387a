"""Test-only ComfyUI pack that behaves as some others do: it copies the lists of names when it is imported, and adds a
sampler called "restart" and a scheduler called "edm", whoever had those names before.
"""

import json
import sys

import comfy.samplers
import torch
from comfy.k_diffusion import sampling
from comfy_api.latest import ComfyExtension, io, ui

OURS = ("randomized_midpoint", "parallel_midpoint")
LOADED_BEFORE = any(name.endswith("RestART.samplers.registry") for name in sys.modules)
SAMPLERS = list(comfy.samplers.KSampler.SAMPLERS)  # the copy
SCHEDULERS = [*comfy.samplers.KSampler.SCHEDULERS, "my own"]


def foreign_restart(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A sampler of this name that is somebody else's: plain Euler."""
    return sampling.sample_euler(model, x, sigmas, extra_args=extra_args, callback=callback, disable=disable)


if not hasattr(sampling, "sample_restart"):
    sampling.sample_restart = foreign_restart
    comfy.samplers.KSampler.SAMPLERS.append("restart")
if "edm" not in comfy.samplers.SCHEDULER_HANDLERS:
    comfy.samplers.SCHEDULER_HANDLERS["edm"] = comfy.samplers.SchedulerHandler(
        lambda n, sigma_min, sigma_max: torch.cat([torch.linspace(sigma_max, sigma_min, n), torch.zeros(1)]), False
    )
    comfy.samplers.KSampler.SCHEDULERS.append("edm")


class ForeignNames(io.ComfyNode):
    """Offers the copied names, as detailer nodes do, and says what it saw when it was imported."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RestARTTest_ForeignNames",
            category="testing",
            is_output_node=True,
            inputs=[
                io.Combo.Input("sampler_name", options=SAMPLERS),
                io.Combo.Input("scheduler", options=SCHEDULERS),
                io.Model.Input("model"),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, sampler_name, scheduler, model):
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, 6)
        seen = {
            "loaded before": LOADED_BEFORE,
            "samplers": [name for name in SAMPLERS if name in OURS],
            "counts": [comfy.samplers.KSampler.SAMPLERS.count(name) for name in ("restart", *OURS)],
            "edm count": comfy.samplers.KSampler.SCHEDULERS.count("edm"),
            "sampler": type(comfy.samplers.sampler_object(sampler_name)).__name__,
            "sigmas": len(sigmas),
        }
        return io.NodeOutput(ui=ui.PreviewText(json.dumps(seen)))


class ForeignPack(ComfyExtension):
    async def get_node_list(self):
        return [ForeignNames]


async def comfy_entrypoint():
    return ForeignPack()
