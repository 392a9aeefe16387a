"""Building V3 schemas that older ComfyUI versions accept too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..samplers.langevin import MAX_STRENGTH, STRENGTH
from . import host

# Known to newer versions only; dropped where the running one does not take them. They never change what a
# node does.
NEWER_KEYWORDS = ("advanced", "search_aliases")

ArtSchedule = io.Custom("ART_SCHEDULE")

SAMPLER_CATEGORY = host.category_of("KSamplerSelect", "sampling/custom_sampling/samplers")
CUSTOM = "custom"  # the choice that means no preset
MEASURE_TIP = (
    "How a midpoint between two noise levels is chosen: evenly in sigma, evenly in 1/sigma (leans towards "
    "low noise) or evenly in the paper's own time (ou)."
)


def build(factory: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """factory(*args, **keywords) without the keywords of NEWER_KEYWORDS that this ComfyUI does not know."""
    known = inspect.signature(factory).parameters
    return factory(*args, **{k: v for k, v in keywords.items() if k in known or k not in NEWER_KEYWORDS})


def corrector_inputs(price: str) -> list[Any]:
    """corrector_steps and corrector_strength. price: what the steps cost, for the tooltip."""
    return [
        build(
            io.Int.Input, "corrector_steps", default=0, min=0, max=50, optional=True, advanced=True,
            tooltip="Corrector: after each step, redraw part of the noise this many times at the level reached"
            f"{price} 0: off (the paper preset then makes 1).",
        ),
        build(
            io.Float.Input, "corrector_strength", default=STRENGTH, min=0.0, max=MAX_STRENGTH, step=0.01,
            optional=True, advanced=True,
            tooltip="How much of the noise one corrector step redraws. Higher mends more and is less exact; 0.25 to 1 "
            "is sensible, 0 is off.",
        ),
    ]  # fmt: skip
