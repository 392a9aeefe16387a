"""ComfyUI nodes: thin. They read inputs, call samplers/ or schedules/, and wrap what comes back.

Only nodes_*.py, schema.py and host/ need ComfyUI; the rest of the folder can be imported anywhere.
"""

from __future__ import annotations

from typing import Any


async def comfy_entrypoint() -> Any:
    """ComfyUI's way in: the pack's ComfyExtension."""
    from .extension import RestARTExtension

    return RestARTExtension()


__all__ = ["comfy_entrypoint"]
