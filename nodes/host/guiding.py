"""Running a job (a fit) where a sampler would run: inside a GUIDER, with all that it does."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from typing import Any, TypeVar

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ...samplers.evaluation import is_out_of_memory
from .live import check_interrupted
from .models import bounds_of, model_sampling_of

log = logging.getLogger(__name__)
T = TypeVar("T")

POSITIONS_PER_CALL = 4 * 128 * 128  # latent positions in one model call of a fit: 4 pictures of 1024 x 1024


class GuidedDenoiser:
    """The guider at work as a k-diffusion denoiser: model(x, sigma, **extra_args) -> denoised.

    Any batch size: work is cut into calls of `per_call` samples, halved after an out-of-memory error. Plain
    tensors in and out, although ComfyUI runs nodes in inference mode, so that a fit may use autograd on its
    own maths. A cancelled prompt raises ComfyUI's interrupt at the next call.
    """

    def __init__(self, model_k: Any, per_call: int) -> None:
        self.model_k = model_k
        self.inner_model = model_k.inner_model
        self.model_patcher = self.inner_model.model_patcher  # some solvers ask their model's inner_model for it
        self.per_call = max(1, per_call)

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        sigma = sigma.expand(x.shape[0]) if sigma.ndim == 0 or sigma.shape[0] == 1 else sigma
        parts: list[Tensor] = []
        start = 0
        while start < x.shape[0]:
            check_interrupted()
            piece = slice(start, start + self.per_call)
            try:
                with torch.inference_mode():
                    parts.append(self.model_k(x[piece], sigma[piece], **extra_args))
            except Exception as error:
                if not is_out_of_memory(error) or self.per_call == 1:
                    raise
                self.per_call = max(1, min(self.per_call, x.shape[0]) // 2)
                log.info("out of memory: going on with %d samples in one model call", self.per_call)
            else:
                start += self.per_call
                continue
            # Out of the except block, which would keep the failed call's tensors alive.
            comfy.model_management.soft_empty_cache()
        return torch.cat(parts).to(x)


class _JobSampler(comfy.samplers.Sampler):
    """A ComfyUI Sampler that runs job(denoiser, noise, extra_args) instead of drawing a picture."""

    def __init__(self, job: Callable[[GuidedDenoiser, Tensor, dict[str, Any]], Any], noise: Tensor) -> None:
        self.job, self.noise = job, noise
        self.result: Any = None

    def sample(
        self, model_wrap: Any, sigmas: Tensor, extra_args: dict[str, Any], callback: Any, noise: Tensor,
        latent_image: Tensor | None = None, denoise_mask: Tensor | None = None, disable_pbar: bool = False,
    ) -> Tensor:  # fmt: skip
        extra_args["denoise_mask"] = denoise_mask
        model_k = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model_k.latent_image, model_k.noise = latent_image, noise
        with torch.inference_mode(False):
            start = self.noise.clone().to(noise.device, torch.float32)
            self.result = self.job(GuidedDenoiser(model_k, noise.shape[0]), start, extra_args)
        return torch.zeros_like(noise)


def latent_shape(model: Any, latent: dict[str, Any]) -> tuple[int, ...]:
    """Shape of one sample as this MODEL draws it, for the latent of an "empty latent" node or an encoded
    picture.

    Raises:
        ValueError: latent_image holds several latents of different shapes (a video with sound, say).
    """
    samples = latent["samples"]
    if getattr(samples, "is_nested", False):
        raise ValueError("latent_image holds several latents of different shapes; a schedule is fitted on one")
    fix = comfy.sample.fix_empty_latent_channels
    extra = {name: latent.get(name) for name in ("downscale_ratio_spacial", "downscale_ratio_temporal")}
    known = inspect.signature(fix).parameters
    fixed = fix(model, torch.zeros_like(samples), **{k: v for k, v in extra.items() if k in known})
    return tuple(fixed.shape[1:])


def cfg_guider(model: Any, positive: Any, negative: Any, cfg: float) -> Any:
    """The GUIDER of a plain sampler node."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider


def guider_model(guider: Any) -> Any:
    """The MODEL inside a GUIDER. Raises ValueError where there is none to be found."""
    model = getattr(guider, "model_patcher", None)
    if model is None or not callable(getattr(guider, "sample", None)):
        raise ValueError(f"guider is a {type(guider).__name__}; it must be a GUIDER with a model, as CFGGuider gives")
    return model


def guider_cfg(guider: Any) -> float | None:
    """The one cfg of a GUIDER, or None where it has none or several."""
    several = any(hasattr(guider, name) for name in ("cfg1", "cfg2", "neg_scale"))
    cfg = getattr(guider, "cfg", None)
    return None if several or isinstance(cfg, bool) or not isinstance(cfg, int | float) else float(cfg)


def run_in_guider(
    guider: Any,
    *,
    shape: tuple[int, ...],
    seed: int,
    trajectories: int,
    job: Callable[[GuidedDenoiser, Tensor, dict[str, Any]], T],
) -> T:
    """Run job(denoiser, noise, extra_args) where a sampler would run: all that the GUIDER does counts.

    noise: (trajectories, *shape) unit Gaussian, drawn on the CPU from `seed`, on the model's device.
    Returns what job returns. ComfyUI's interrupt passes through, and the guider cleans up behind it.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.randn((trajectories, *shape), generator=generator)
    positions = math.prod(shape[1:]) or 1
    # The guider's own noise only says how much memory one model call needs.
    per_call = max(1, min(trajectories, POSITIONS_PER_CALL // positions))
    runner = _JobSampler(job, noise)
    sigmas = torch.linspace(bounds_of(model_sampling_of(guider_model(guider)))[1], 0.0, 21)
    guider.sample(noise[:per_call], torch.zeros_like(noise[:per_call]), runner, sigmas, disable_pbar=True, seed=seed)
    result: T = runner.result
    return result
