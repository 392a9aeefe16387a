"""Talking to the user while a node runs: text, progress, live pictures, Cancel."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.utils
from PIL import Image

PREVIEW_SECONDS = 0.5  # at most two live pictures a second
PREVIEW_SIZE = 512


def check_interrupted() -> None:
    """Raise ComfyUI's own interrupt if the user pressed Cancel."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def show_text(text: str) -> None:
    """Write a text into the running node, where the front end can (no JavaScript of ours needed)."""
    prompt_server: Any = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    context = getattr(sys.modules.get("comfy_execution.utils"), "get_executing_context", lambda: None)()
    if context is not None and hasattr(prompt_server, "send_progress_text"):
        prompt_server.send_progress_text(text, context.node_id)


class LiveProgress:
    """The running node's progress bar, with a picture shown in the node at most twice a second."""

    def __init__(self, total: int) -> None:
        self.bar = comfy.utils.ProgressBar(max(1, total))
        self.last_picture = -math.inf

    def update(self, done: int, total: int, draw: Callable[[], Image.Image | None] | None = None) -> None:
        """Move the bar to done of total; draw() is called only when a picture is due. Cancel raises here."""
        check_interrupted()
        preview = None
        now = time.monotonic()
        if draw is not None and now - self.last_picture >= PREVIEW_SECONDS:
            picture = draw()
            if picture is not None:
                self.last_picture = now
                preview = ("PNG", picture, PREVIEW_SIZE)
        self.bar.update_absolute(min(done, total), max(1, total), preview)

    def finish(self, picture: Image.Image) -> None:
        """Fill the bar and leave this picture in the node."""
        self.bar.update_absolute(self.bar.total, self.bar.total, ("PNG", picture, PREVIEW_SIZE))
