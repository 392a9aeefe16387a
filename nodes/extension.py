"""The extension object: every node of the pack. Imported only where ComfyUI's API is."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .nodes_compare import NODES as COMPARE_NODES
from .nodes_fit import NODES as FIT_NODES
from .nodes_parallel_midpoint import NODES as PARALLEL_NODES
from .nodes_plot import NODES as PLOT_NODES
from .nodes_randomized_midpoint import NODES as RANDOMIZED_NODES
from .nodes_restart import NODES as RESTART_NODES
from .nodes_schedule_files import NODES as FILE_NODES
from .nodes_schedules import NODES as SCHEDULE_NODES


class RestARTExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Every node of the pack."""
        samplers = [*RESTART_NODES, *RANDOMIZED_NODES, *PARALLEL_NODES]
        return [*samplers, *SCHEDULE_NODES, *FIT_NODES, *FILE_NODES, *PLOT_NODES, *COMPARE_NODES]
