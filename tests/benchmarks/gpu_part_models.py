"""Part (a): the models at full size, on the meta device: what they are and how large."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from gpu_live import Live
from gpu_report import Result, Table
from gpu_specs import GLYPH, SPECS, Spec


def inspect(live: Live, spec: Spec, sides: dict[int, int]) -> dict[str, Any]:
    """parameters, the class ComfyUI detects from the weights' names and shapes, teraflops and megabytes by pixels."""
    model = live.architecture(spec, spec.full, "meta", torch.float16)
    network = model.diffusion_model
    detected = "none: our own size"
    if spec is not GLYPH:
        detection = importlib.import_module("comfy.model_detection")
        detected = type(detection.model_config_from_unet(dict(network.state_dict()), "")).__name__
    channels = model.latent_format.latent_channels
    meta = {"device": "meta", "dtype": torch.float16}
    y = {SPECS["sdxl"].name: 2816, SPECS["sd3"].name: 2048}.get(spec.name)
    inputs = {"context": torch.zeros(1, spec.tokens, spec.width, **meta)}
    if y is not None:
        inputs["y"] = torch.zeros(1, y, **meta)
    work = {}
    for pixels, side in sides.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, channels, side, side, **meta), torch.zeros(1, device="meta"), **inputs)
        work[pixels] = counter.get_total_flops() / 1e12
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "detected": detected,
        "class": type(model).__name__,
        "teraflops": work,
    }


def run(live: Live, models: list[str]) -> Result:
    """All models, whichever are run."""
    rows = []
    sides_of = {512: 64, 1024: 128} if live.size.name == "full" else {512: 64}
    for spec, sides in [*((spec, sides_of) for spec in SPECS.values()), (GLYPH, {64: 32})]:
        found = inspect(live, spec, sides)
        weights = "trained on glyphs (part f)" if spec is GLYPH else "random weights"
        work = ", ".join(f"{pixels}: {value:.3f}" for pixels, value in found["teraflops"].items())
        rows.append(
            [spec.name, weights, f"{found['parameters']:,}", found["class"], found["detected"], spec.dtype, work]
        )
    header = ["model", "weights", "parameters", "ComfyUI's class", "detected as", "precision", "teraflops of a picture"]
    text = [
        "Architectures are ComfyUI's own classes, built from its own configurations; the weights are random, so "
        "nothing here says how pictures look. The denoiser adds the exact one of Gaussian latents to the random "
        "network's (half of its answer), so that the ODE contracts as a trained model's does. Every model is run "
        "by ComfyUI's patcher and guider, with a positive and a negative prompt."
    ]
    return Result([Table("(a) Models", header, rows, text)], [])
