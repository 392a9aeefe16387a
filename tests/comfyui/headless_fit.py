"""`restart-art fit --comfyui` as a user runs it, in ComfyUI's own Python, on machines without a GPU build too.

<ComfyUI's python> headless_fit.py <the pack's folder> fit --comfyui ...
"""

import runpy
import sys

from boot import ImportMender

sys.meta_path.insert(0, ImportMender())
folder = sys.argv.pop(1)
runpy.run_path(folder, run_name="__main__")
