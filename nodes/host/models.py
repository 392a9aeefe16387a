"""What a MODEL, a SAMPLER or a node of ComfyUI says of itself."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ...samplers.grid import shown
from ...samplers.noise_process import NoiseProcess
from ...samplers.registry import SAMPLERS
from ..fingerprint import fingerprint_weights

log = logging.getLogger(__name__)


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
    for name in stock_names():
        schedule = _schedule(model_sampling, name)
        try:
            good = all(_is_schedule(schedule(count)) for count in steps)
        except Exception as error:  # another pack's handler may raise anything; the fit goes on without it
            log.info("scheduler %r is left out of the comparison: %s", name, error)
            continue
        if good:
            usable[name] = schedule
    return usable


def stock_names() -> list[str]:
    """Names of all of ComfyUI's schedulers, saved schedules (`art/...`) left out."""
    return [name for name in comfy.samplers.SCHEDULER_HANDLERS if not name.startswith("art/")]


def named_schedule(model_sampling: Any, name: str) -> Callable[[int], Tensor]:
    """One scheduler of ComfyUI's list, `art/<name>` included, as stock_schedules gives them, but not tried out.

    Raises:
        ValueError: ComfyUI has no scheduler of that name.
    """
    known = comfy.samplers.SCHEDULER_HANDLERS
    if name not in known:
        raise ValueError(f"{shown(name)} is not a scheduler of this ComfyUI; allowed: {', '.join(known)}")
    return _schedule(model_sampling, name)


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
