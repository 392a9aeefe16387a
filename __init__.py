"""RestART: Restart, randomized-midpoint and parallel-midpoint samplers and learned sigma schedules.

In ComfyUI this folder is a node pack. Outside it is the import package `restart_art`, without comfy.
"""

import sys

__version__ = "0.1.0"
WEB_DIRECTORY = "./web"

if "comfy.samplers" in sys.modules:  # loaded by ComfyUI
    from .nodes import comfy_entrypoint, host

    # At import: other packs copy the sampler and scheduler lists while ComfyUI starts.
    host.register()
    host.register_files()
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
