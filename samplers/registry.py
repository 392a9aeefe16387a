"""Adds the samplers to a k-diffusion-style namespace and its list of names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from torch import Tensor

from .parallel_midpoint import sample_parallel_midpoint
from .randomized_midpoint import sample_randomized_midpoint
from .restart import sample_restart
from .solvers import set_host

log = logging.getLogger(__name__)

SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "restart": sample_restart,
    "randomized_midpoint": sample_randomized_midpoint,
    "parallel_midpoint": sample_parallel_midpoint,
}


def register_samplers(namespace: Any, *names: list[str]) -> list[str]:
    """Add sample_<name> to `namespace` and <name> to each live list, in place.

    A name that someone else owns is left alone and logged; calling twice changes nothing. `namespace` becomes the
    host whose solvers are found by name (see solvers.py).

    Args:
        namespace: module or object holding sample_<name> functions, e.g. comfy.k_diffusion.sampling.
        names: the host's live lists of sampler names; appended to, never rebound.

    Returns:
        The names that are ours in `namespace` afterwards.
    """
    set_host(namespace)
    ours = []
    for name, function in SAMPLERS.items():
        attribute = f"sample_{name}"
        owner = getattr(namespace, attribute, None)
        if owner is not None and getattr(owner, "__module__", None) != function.__module__:
            log.warning("sampler name %r is already taken by %s and is left alone", name, _origin(owner))
            continue
        taken = owner is None and any(name in known for known in names)
        if taken:
            log.warning("sampler name %r is already in the host's list and is left alone", name)
            continue
        setattr(namespace, attribute, function)
        for known in names:
            if name not in known:
                known.append(name)
        ours.append(name)
    return ours


def _origin(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
