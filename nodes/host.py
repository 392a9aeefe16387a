"""Everything that touches ComfyUI's internals; no other file of the pack does.

Works on ComfyUI 0.3.64 to 0.33: differences between versions are looked up in the running one, not by number.
"""

from __future__ import annotations

import inspect
import logging
import math
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import comfy.k_diffusion.sampling
import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from PIL import Image
from torch import Tensor

from ..samplers.evaluation import is_out_of_memory
from ..samplers.noise_process import NoiseProcess
from ..samplers.registry import SAMPLERS, register_samplers
from ..schedules import edm_sigmas
from . import multigpu
from .fingerprint import fingerprint_weights

log = logging.getLogger(__name__)
T = TypeVar("T")

PREVIEW_SECONDS = 0.5  # at most two live pictures a second
PREVIEW_SIZE = 512
POSITIONS_PER_CALL = 4 * 128 * 128  # latent positions in one model call of a fit: 4 pictures of 1024 x 1024


# -- registration ----------------------------------------------------------------------------------


def register() -> list[str]:
    """Add the samplers and the `edm` scheduler to ComfyUI's live lists; returns the names that are ours.

    KSampler and KSampler (Advanced) read KSampler.SAMPLERS, KSamplerSelect reads SAMPLER_NAMES, and other
    packs read KSAMPLER_NAMES, of which the first two are one list and the third its source. All are appended
    to in place and never rebound; a name that someone else owns stays theirs. Calling twice changes nothing.
    """
    multigpu.register()
    host = comfy.samplers
    names = register_samplers(comfy.k_diffusion.sampling, *_distinct_lists(
        host.KSampler.SAMPLERS, host.SAMPLER_NAMES, host.KSAMPLER_NAMES))  # fmt: skip
    lists = scheduler_lists()
    owner = host.SCHEDULER_HANDLERS.get("edm")
    if owner is not None and getattr(owner.handler, "__module__", None) != __name__:
        log.warning("scheduler name 'edm' is already taken and is left alone")
        return names
    if owner is None and any("edm" in known for known in lists):
        log.warning("scheduler name 'edm' is already in the host's list and is left alone")
        return names
    host.SCHEDULER_HANDLERS["edm"] = host.SchedulerHandler(edm_scheduler, use_ms=True)
    for known in lists:
        if "edm" not in known:
            known.append("edm")
    return [*names, "edm"]


def scheduler_lists() -> list[list[str]]:
    """The live lists of scheduler names."""
    return _distinct_lists(comfy.samplers.KSampler.SCHEDULERS, comfy.samplers.SCHEDULER_NAMES)


def _distinct_lists(*lists: list[str]) -> list[list[str]]:
    return list({id(known): known for known in lists}.values())


def edm_scheduler(model_sampling: Any, steps: int) -> Tensor:
    """The scheduler list's `edm`: Karras et al. 2022, eq. 5, rho 7, over the model's own range of sigmas."""
    low, high = bounds_of(model_sampling)
    return edm_sigmas(steps, low, high, flow=process_of(model_sampling).kind == "flow")


# -- what a model says of itself -------------------------------------------------------------------


def model_sampling_of(model: Any) -> Any:
    """The live model_sampling of a MODEL, with the patch of a node such as ModelSamplingFlux applied."""
    return model.get_model_object("model_sampling")


def bounds_of(model_sampling: Any) -> tuple[float, float]:
    """(sigma_min, sigma_max) of a model_sampling."""
    return float(model_sampling.sigma_min), float(model_sampling.sigma_max)


def process_of(model_sampling: Any) -> NoiseProcess:
    """The noise process (VE or flow) of a model_sampling; ValueError if it is neither."""
    return NoiseProcess.of(SimpleNamespace(model_sampling=model_sampling))


def model_name(model: Any) -> str:
    """A name for people: the architecture's, as ComfyUI detected it."""
    return type(model.model).__name__


def fingerprint(model: Any) -> str:
    """Names a MODEL's weights and LoRAs (see fingerprint.py); a change of shift or cfg is not part of it."""
    entries = model.get_key_patches("diffusion_model.")
    weights = {name: entry[0][0] if isinstance(entry[0], tuple) else entry[0] for name, entry in entries.items()}
    return fingerprint_weights(weights, {name: entry[1:] for name, entry in entries.items() if len(entry) > 1})


def stock_schedules(model_sampling: Any, steps: tuple[int, ...] = ()) -> dict[str, Callable[[int], Tensor]]:
    """Every scheduler of ComfyUI's list as a function of the step count, on the live model_sampling.

    Left out: saved schedules (`art/...`: what is compared must not depend on what lies on disk), and those that
    raise, or give no usable sigmas, at one of `steps`.
    """
    usable = {}
    for name in comfy.samplers.SCHEDULER_HANDLERS:
        if name.startswith("art/"):
            continue
        schedule = _schedule(model_sampling, name)
        try:
            good = all(_is_schedule(schedule(count)) for count in steps)
        except Exception as error:  # another pack's handler may raise anything; the fit goes on without it
            log.info("scheduler %r is left out of the comparison: %s", name, error)
            continue
        if good:
            usable[name] = schedule
    return usable


def _schedule(model_sampling: Any, name: str) -> Callable[[int], Tensor]:
    def sigmas(steps: int) -> Tensor:
        found: Tensor = comfy.samplers.calculate_sigmas(model_sampling, name, steps)
        return found.detach().to("cpu", torch.float32).clone()

    return sigmas


def _is_schedule(sigmas: Tensor) -> bool:
    return bool(
        sigmas.ndim == 1
        and len(sigmas) >= 2
        and torch.isfinite(sigmas).all()
        and (sigmas[:-1] > sigmas[1:]).all()
        and sigmas[-1] == 0
    )


def category_of(stock_node: str, default: str) -> str:
    """The menu folder of one of ComfyUI's own nodes, which moved between versions."""
    known = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {})  # ComfyUI's own module of that name
    node = known.get(stock_node)
    return getattr(node, "CATEGORY", None) or default


def sampler(function: Callable[..., Tensor], **options: Any) -> Any:
    """A SAMPLER that runs one of our functions with fixed keyword options."""
    return comfy.samplers.KSAMPLER(function, extra_options=options)


def solver_of(sampler: Any) -> str | None:
    """The name of the solver inside a SAMPLER ("euler", ...), or None where it cannot be told.

    Of our own Restart it is the solver that runs the pieces.
    """
    options = getattr(sampler, "extra_options", None) or {}
    name = getattr(getattr(sampler, "sampler_function", None), "__name__", "")
    if name == "sample_restart":
        found = options.get("solver", "heun")
        return found if isinstance(found, str) else None
    return name.removeprefix("sample_") if name.startswith("sample_") else None


def sampler_function(name: str) -> Callable[..., Tensor]:
    """Our sampler function by its short name."""
    return SAMPLERS[name]


# -- running a fit where a sampler would run -------------------------------------------------------


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
                start += self.per_call
            except Exception as error:
                if not is_out_of_memory(error) or self.per_call == 1:
                    raise
                self.per_call = max(1, min(self.per_call, x.shape[0]) // 2)
                log.info("out of memory: going on with %d samples in one model call", self.per_call)
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


# -- talking to the user while a node runs ---------------------------------------------------------


def check_interrupted() -> None:
    """Raise ComfyUI's own interrupt if the user pressed Cancel."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def show_text(text: str) -> None:
    """Write a text into the running node, where the front end can (no JavaScript of ours needed)."""
    prompt_server: Any = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    context = getattr(sys.modules.get("comfy_execution.utils"), "get_executing_context", lambda: None)()
    if context is not None and hasattr(prompt_server, "send_progress_text"):
        prompt_server.send_progress_text(text, context.node_id)


class LiveProgress:
    """The running node's progress bar, with a picture shown in the node at most twice a second."""

    def __init__(self, total: int) -> None:
        self.bar = comfy.utils.ProgressBar(max(1, total))
        self.last_picture = -math.inf

    def update(self, done: int, total: int, draw: Callable[[], Image.Image | None] | None = None) -> None:
        """Move the bar to done of total; draw() is called only when a picture is due. Cancel raises here."""
        check_interrupted()
        preview = None
        now = time.monotonic()
        if draw is not None and now - self.last_picture >= PREVIEW_SECONDS:
            picture = draw()
            if picture is not None:
                self.last_picture = now
                preview = ("PNG", picture, PREVIEW_SIZE)
        self.bar.update_absolute(min(done, total), max(1, total), preview)

    def finish(self, picture: Image.Image) -> None:
        """Fill the bar and leave this picture in the node."""
        self.bar.update_absolute(self.bar.total, self.bar.total, ("PNG", picture, PREVIEW_SIZE))
