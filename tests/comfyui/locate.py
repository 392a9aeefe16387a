"""Finds a ComfyUI checkout and the Python that runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STANDARD_PLACE = Path.home() / "comfy" / "ComfyUI"
HOW_TO_INSTALL = """ComfyUI was not found. Looked at COMFYUI_PATH, ~/comfy/ComfyUI and the folder this pack
lies in. To install it where it is looked for:
    pip install comfy-cli && comfy install
or:
    git clone https://github.com/comfyanonymous/ComfyUI ~/comfy/ComfyUI
    python -m venv ~/comfy/ComfyUI/.venv
    ~/comfy/ComfyUI/.venv/bin/pip install -r ~/comfy/ComfyUI/requirements.txt
or say where it is: COMFYUI_PATH=/path/to/ComfyUI (and COMFYUI_PYTHON=/path/to/python if it has its own)"""


def is_checkout(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy" / "samplers.py").is_file()


def find_checkout() -> Path | None:
    """COMFYUI_PATH, else ~/comfy/ComfyUI, else the ComfyUI whose custom_nodes folder this pack lies in.

    Raises ValueError if COMFYUI_PATH is set to something else than a checkout.
    """
    named = os.environ.get("COMFYUI_PATH")
    if named:
        folder = Path(named).expanduser().resolve()
        if not is_checkout(folder):
            raise ValueError(f"COMFYUI_PATH is {named!r}, which holds no ComfyUI (no main.py and comfy/samplers.py)")
        return folder
    for folder in (STANDARD_PLACE, REPOSITORY.parent.parent):
        if is_checkout(folder):
            return folder
    return None


def find_checkouts() -> list[Path]:
    """COMFYUI_PATHS (several, separated like PATH) for a run over versions, else the one of find_checkout."""
    several = os.environ.get("COMFYUI_PATHS")
    if several:
        folders = [Path(entry).expanduser().resolve() for entry in several.split(os.pathsep) if entry]
        wrong = [str(folder) for folder in folders if not is_checkout(folder)]
        if wrong:
            raise ValueError(f"COMFYUI_PATHS names {', '.join(wrong)}, which hold no ComfyUI")
        return folders
    found = find_checkout()
    return [found] if found else []


def find_python(checkout: Path) -> Path:
    """COMFYUI_PYTHON, else the checkout's own virtual environment, else the running Python."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        return Path(named).expanduser()
    for environment in (".venv", "venv"):
        for relative in ("bin/python", "Scripts/python.exe"):
            python = checkout / environment / relative
            if python.is_file():
                return python
    return Path(sys.executable)


def version_of(checkout: Path) -> str:
    """The release a checkout says it is, such as "0.33.0"."""
    for line in (checkout / "comfyui_version.py").read_text().splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    return "unknown"


def lies_in(checkout: Path) -> bool:
    """Whether this pack is already one of the checkout's custom nodes."""
    folder = checkout / "custom_nodes"
    return folder.is_dir() and any(entry.resolve() == REPOSITORY for entry in folder.iterdir())
