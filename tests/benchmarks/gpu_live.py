"""ComfyUI at work in this process: models built from ComfyUI's own classes with random weights, and a guider that
runs them as a sampler node does. Runs in ComfyUI's own Python only."""

from __future__ import annotations

import gc
import importlib
import logging
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boot import ImportMender
from gpu_meter import Clock
from gpu_specs import Size, Spec

ROOT = Path(__file__).resolve().parents[2]
NETWORK_SHARE = 0.5  # of the random network in the denoiser, beside the exact one for Gaussian latents


class Live:
    """ComfyUI and the pack, imported for one device ("cuda" or "cpu")."""

    def __init__(self, checkout: Path, device: str, size: Size, seed: int = 0) -> None:
        self.device, self.size, self.seed, self.clock = device, size, seed, Clock(device)
        packs = tempfile.mkdtemp()
        (Path(packs) / "RestART").symlink_to(ROOT, target_is_directory=True)
        sys.meta_path.insert(0, ImportMender())
        sys.path[0:0] = [str(checkout), packs]
        sys.argv = ["main.py", "--cpu" if device == "cpu" else "--gpu-only", "--use-pytorch-cross-attention"]
        importlib.import_module("comfy.options").enable_args_parsing()
        self.samplers = importlib.import_module("comfy.samplers")
        self.host = importlib.import_module("RestART.nodes.host")
        self.pack = importlib.import_module("RestART")
        self.host.register()
        logging.getLogger().setLevel(logging.WARNING)

    def ours(self, module: str) -> Any:
        return importlib.import_module(f"RestART.{module}")

    def architecture(self, spec: Spec, config: dict[str, Any], device: str, dtype: torch.dtype) -> Any:
        """ComfyUI's BaseModel for a configuration; its weights are not set yet."""
        kind = getattr(importlib.import_module("comfy.supported_models"), spec.kind)
        chosen = kind(dict(config))
        chosen.set_inference_dtype(dtype, None)
        return chosen.get_model({}, "", device=torch.device(device))

    def config(self, spec: Spec) -> dict[str, Any]:
        return spec.full if self.size.name == "full" else spec.toy

    def build(self, spec: Spec, steady: bool = True) -> Any:
        """A MODEL: random weights, made on the device in the precision they run in, inside ComfyUI's patcher.

        steady: the denoiser is part the random network and part the exact one of Gaussian latents (see steadied).
        """
        dtype = getattr(torch, spec.dtype) if self.device == "cuda" else torch.float32
        model = self.architecture(spec, self.config(spec), self.device, dtype)
        fill(model.diffusion_model, self.seed)
        if steady:
            model.model_sampling.__class__ = steadied(type(model.model_sampling), spec.flow)
        management = importlib.import_module("comfy.model_management")
        patcher = importlib.import_module("comfy.model_patcher").ModelPatcher
        devices = {"load_device": management.get_torch_device(), "offload_device": management.unet_offload_device()}
        return patcher(model, **devices)

    def width(self, spec: Spec) -> int:
        return int(self.config(spec).get("context_dim") or 4096)

    def prompt(self, spec: Spec, seed: int) -> list[Any]:
        generator = torch.Generator().manual_seed(seed)
        extra = {"pooled_output": torch.randn(1, spec.pooled, generator=generator)} if spec.pooled else {}
        tokens = spec.tokens if self.size.name == "full" else min(spec.tokens, 4)
        return [[torch.randn(1, tokens, self.width(spec), generator=generator), extra]]

    def guider(self, model: Any, spec: Spec) -> Any:
        """The GUIDER of a plain sampler node, with a positive and a negative prompt."""
        return self.host.cfg_guider(model, self.prompt(spec, 1), self.prompt(spec, 2), self.size.cfg)

    def sampling(self, model: Any) -> Any:
        return self.host.model_sampling_of(model)

    def sigmas(self, model: Any, schedule: str, steps: int) -> Tensor:
        found: Tensor = self.samplers.calculate_sigmas(self.sampling(model), schedule, steps)
        return found

    def shape(self, model: Any, pixels: int, batch: int = 1) -> tuple[int, ...]:
        side = self.size.latents[pixels]
        return (batch, model.model.latent_format.latent_channels, side, side)

    def inside(self, guider: Any, shape: tuple[int, ...], sigmas: Tensor, job: Callable[..., Any]) -> Any:
        """job(model, x, sigmas, extra_args), where the GUIDER calls a sampler function; returns what it returns."""
        found: list[Any] = []

        def function(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, **kwargs: Any) -> Tensor:
            found.append(job(model, x, sigmas, extra_args))
            return x

        noise = torch.randn(shape, generator=torch.Generator().manual_seed(self.seed))
        with torch.inference_mode():
            sampler = self.samplers.KSAMPLER(function)
            guider.sample(noise, torch.zeros(shape), sampler, sigmas, disable_pbar=True, seed=self.seed)
        return found[0]

    def function(self, name: str) -> Callable[..., Tensor]:
        """sample_<name> as ComfyUI finds it, ours among them."""
        found: Callable[..., Tensor] = getattr(self.samplers.k_diffusion_sampling, f"sample_{name}")
        return found

    def release(self) -> None:
        """Lets go of every loaded model."""
        management = importlib.import_module("comfy.model_management")
        management.unload_all_models()
        gc.collect()
        management.soft_empty_cache()


@torch.no_grad()
def fill(network: Any, seed: int) -> None:
    """Random weights of variance 1 / fan-in, unit norms, no biases, in place, on the device they lie on."""
    device = next(network.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if value.ndim >= 2:
            # Position tables have no fan-in; half the size of a normalised input.
            deviation = 0.5 if name == "pos_embed" else 1.0 / math.sqrt(math.prod(value.shape[1:]))
            value.normal_(0.0, deviation, generator=generator)
        elif value.is_floating_point():
            value.fill_(1.0 if name.endswith("weight") else 0.0)


def steadied(kind: type, flow: bool) -> type:
    """A model_sampling of this kind whose denoiser is a x / v + share (D - x) / sqrt(v), v = a^2 + sigma^2.

    The first part is exact for unit Gaussian latents, a the signal's scale (1, or 1 - sigma of a flow model); D is
    what the network says. Its ODE contracts to the scale of data, as a trained model's does, which a random
    network alone would not. The network runs in full, and nothing about the call changes.
    """

    def calculate_denoised(self: Any, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        found: Tensor = kind.calculate_denoised(self, sigma, model_output, model_input)  # type: ignore[attr-defined]
        level = sigma.reshape(-1, *[1] * (model_input.ndim - 1)).to(model_input)
        signal = 1 - level if flow else torch.ones_like(level)
        variance = signal**2 + level**2
        return model_input * (signal / variance) + NETWORK_SHARE * (found - model_input) / variance.sqrt()

    return type(kind.__name__, (kind,), {"calculate_denoised": calculate_denoised})
