"""A short, cheap name for "these weights with these patches", the same after a restart and on another "
"machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

MAX_WEIGHTS = 64  # weights looked at, spread over the whole model
MAX_VALUES = 32  # numbers read from each


def fingerprint_weights(weights: Mapping[str, Any], patches: Mapping[str, Sequence[Any]] | None = None) -> str:
    """16 hexadecimal digits for a model's weights and the patches (LoRAs ...) on them.

    Reads a few thousand numbers in all, as bfloat16, so that loading a checkpoint as fp32, fp16 or bf16
    gives the same name. Nothing that changes from one start of the host to the next goes in (no ids, no
    addresses).

    Args:
        weights: name -> unpatched tensor. patches: name -> the host's patch entries; their numbers and
        strengths
            count, patched weights all of them, whatever their number.
    """
    digest = hashlib.sha256()
    names = sorted(weights)
    digest.update(str(len(names)).encode())
    for name in _spread(names, MAX_WEIGHTS):
        digest.update(name.encode())
        _feed(digest, weights[name])
    for name in sorted(patches or {}, key=str):
        digest.update(f"patch {name}".encode())
        _feed(digest, (patches or {})[name])
    return digest.hexdigest()[:16]


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        digest.update(repr(tuple(value.shape)).encode())
        digest.update(_sampled_bytes(value))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _feed(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(digest, item)
    elif value is None or isinstance(value, str | bool | int | float):
        digest.update(repr(value).encode())
    else:  # a weight adapter, a conversion function ...: what it holds, else what it is
        digest.update(type(value).__name__.encode())
        if hasattr(value, "weights"):
            _feed(digest, value.weights)


@torch.no_grad()
def _sampled_bytes(tensor: Tensor) -> bytes:
    """A few of the tensor's numbers as bfloat16; nothing for a tensor that cannot be read (its shape "
    "counts then)."""
    try:
        flat = tensor.detach().reshape(-1)
        if flat.numel() > MAX_VALUES:
            step = (flat.numel() - 1) // (MAX_VALUES - 1)
            flat = flat[:: max(step, 1)][:MAX_VALUES]
        return flat.to("cpu", torch.float32).bfloat16().view(torch.int16).numpy().tobytes()
    except (RuntimeError, NotImplementedError, TypeError):  # a quantised or virtual tensor of the host's own
        return b""
