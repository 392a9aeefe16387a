"""Building V3 schemas that older ComfyUI versions accept too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from . import host

# Known to newer versions only; dropped where the running one does not take them. They never change what a
# node does.
NEWER_KEYWORDS = ("advanced", "search_aliases")

ArtSchedule = io.Custom("ART_SCHEDULE")

SAMPLER_CATEGORY = host.category_of("KSamplerSelect", "sampling/custom_sampling/samplers")
MEASURE_TIP = (
    "How a midpoint between two noise levels is chosen: evenly in sigma, evenly in 1/sigma (leans towards "
    "low noise) or evenly in the paper's own time (ou)."
)


def build(factory: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """factory(*args, **keywords) without the keywords of NEWER_KEYWORDS that this ComfyUI does not know."""
    known = inspect.signature(factory).parameters
    return factory(*args, **{k: v for k, v in keywords.items() if k in known or k not in NEWER_KEYWORDS})
