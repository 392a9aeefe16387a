"""What is plugged into a node's sockets, checked: ComfyUI checks links, but lets a workflow hold any value instead.

Plain Python: told apart by what they can do, so that other packs' models, samplers and latents count too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..samplers.grid import shown
from ..schedules import ArtSchedule


def _is_conditioning(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, list | tuple) and len(v) >= 2 for v in value)


# Input name -> what it is called, and how to tell.
SOCKETS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "model": ("a MODEL", lambda value: callable(getattr(value, "get_model_object", None))),
    "vae": ("a VAE", lambda value: callable(getattr(value, "decode", None)) and not isinstance(value, bytes)),
    "positive": ("CONDITIONING", _is_conditioning),
    "negative": ("CONDITIONING", _is_conditioning),
    "latent_image": ("a LATENT", lambda value: isinstance(value, Mapping) and hasattr(value.get("samples"), "shape")),
    "schedule": ("an ART_SCHEDULE", lambda value: isinstance(value, ArtSchedule)),
    "sigmas": ("SIGMAS", lambda value: isinstance(value, Tensor)),
}


def check_sockets(**values: Any) -> None:
    """Check what was plugged in, by the inputs' names.

    Raises:
        ValueError: naming the input, what it holds and what it must be.
    """
    for name, value in values.items():
        kind, fits = SOCKETS[name]
        if not fits(value):
            raise ValueError(f"{name} is {shown(value)}; it must be {kind}, plugged in from another node")


def check_optional_sockets(**values: Any) -> None:
    """check_sockets for those that are not empty (None)."""
    check_sockets(**{name: value for name, value in values.items() if value is not None})
