"""What the host knows of its devices: how many samples fit into one model call, and how to use several devices.

samplers/ knows no host, so a host that can tell registers itself here; without one the only limit is what the
device refuses, and there is one device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MemoryProbe = Callable[[Any, Tensor], "int | None"]
Spreader = Callable[[Any, Mapping[str, Any], int], "dict[str, Any] | None"]


@dataclass
class _Host:
    probe: MemoryProbe | None = None
    release: Callable[[], None] | None = None
    spreader: Spreader | None = None


_host = _Host()


def set_memory_probe(probe: MemoryProbe | None, release: Callable[[], None] | None = None) -> None:
    """Register what the host knows; None takes it back.

    Args:
        probe: probe(model, x) -> how many samples like x's (n, ...) fit into one model call, or None if it
            cannot tell for this model. May raise: a guess that fails is no guess.
        release: gives cached memory back to the device after an out-of-memory error.
    """
    _host.probe, _host.release = probe, release


def set_spreader(spreader: Spreader | None) -> None:
    """Register a host's engine for several devices; None takes it back.

    Args:
        spreader: spreader(model, extra_args, batch) -> the extra_args with which a call of n * batch samples,
            sigma-major, is spread over the devices by the host itself, or None where it has only one. The
            host's engine then also minds each device's memory.
    """
    _host.spreader = spreader


def spread_args(model: Any, extra_args: Mapping[str, Any], batch: int) -> dict[str, Any] | None:
    """extra_args with which the host spreads calls of n * batch samples over its devices; None: one device."""
    return None if _host.spreader is None else _host.spreader(model, extra_args, batch)


def samples_that_fit(model: Any, x: Tensor) -> int | None:
    """The host's estimate for samples of x's shape (n, ...), at least 1; None if there is none."""
    if _host.probe is None:
        return None
    try:
        found = _host.probe(model, x)
    except Exception:  # the estimate is a courtesy; out-of-memory recovery stands behind it
        return None
    return None if found is None else max(1, int(found))


def release_memory() -> None:
    """Give cached memory back to the device."""
    if _host.release is not None:
        _host.release()
    elif torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is an accelerator's (or the host's) out-of-memory error."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory", "not enough gpu video memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
