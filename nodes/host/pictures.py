"""Latents to pictures, and outputs that have nothing to give."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def decode(model: Any, vae: Any, latent: Tensor) -> Tensor:
    """A latent in the MODEL's own scale, (1, ...), as ComfyUI's IMAGE (1, height, width, channels); of a video its
    first picture."""
    with torch.inference_mode():
        found: Tensor = vae.decode(model.model.process_latent_out(latent.float()))
    return found.reshape(-1, *found.shape[-3:])[:1].clone()


def blocked(message: str) -> Any:
    """Stands for an output there is nothing for: nodes that use it say the message, others run on."""
    from comfy_execution.graph_utils import ExecutionBlocker

    return ExecutionBlocker(message)
