"""Shared test set-up: one torch thread (the tests are many small calls) and a line saying which hosts were found."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


def comfyui_path() -> Path | None:
    found = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
    return found if (found / "main.py").is_file() else None


def pytest_report_header():
    comfyui = comfyui_path()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    return [
        "ComfyUI: "
        + (f"found at {comfyui}" if comfyui else "not found (COMFYUI_PATH, ~/comfy/ComfyUI); its tests skip"),
        "Chromium: " + ("found" if browser else "not found; browser tests skip"),
    ]


def pytest_terminal_summary(terminalreporter):
    """Writes docs/compatibility.md where the run was told to (make compatibility)."""
    if os.environ.get("RESTART_ART_WRITE_COMPATIBILITY") == "1":
        import datetime
        import platform

        import compatibility

        counts = compatibility.count(compatibility.reports_of(terminalreporter.stats))
        today = datetime.date.today().isoformat()
        before = compatibility.PAGE.read_text(encoding="utf-8") if compatibility.PAGE.is_file() else ""
        text = compatibility.page(counts, today, platform.python_version(), torch.__version__.split("+")[0], before)
        compatibility.PAGE.write_text(text, encoding="utf-8")
        terminalreporter.write_line(f"wrote {compatibility.PAGE}")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
