"""Our samplers and the `edm` scheduler in ComfyUI's live lists."""

from __future__ import annotations

import logging
from typing import Any

import comfy.k_diffusion.sampling
import comfy.samplers
from torch import Tensor

from ...samplers.registry import register_samplers
from ...schedules import edm_sigmas
from .devices import register_devices
from .models import bounds_of, process_of

log = logging.getLogger(__name__)


def register() -> list[str]:
    """Add the samplers and the `edm` scheduler to ComfyUI's live lists; returns the names that are ours.

    KSampler and KSampler (Advanced) read KSampler.SAMPLERS, KSamplerSelect reads SAMPLER_NAMES, and other
    packs read KSAMPLER_NAMES, of which the first two are one list and the third its source. All are appended
    to in place and never rebound; a name that someone else owns stays theirs. Calling twice changes nothing.
    """
    register_devices()
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
