"""The extension object: every node of the pack. Imported only where ComfyUI's API is."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .nodes_fit import NODES as FIT_NODES
from .nodes_samplers import NODES as SAMPLER_NODES
from .nodes_schedules import NODES as SCHEDULE_NODES


class RestARTExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Every node of the pack."""
        return [*SAMPLER_NODES, *SCHEDULE_NODES, *FIT_NODES]
