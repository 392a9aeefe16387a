"""Which files the ComfyUI registry's package holds: what git holds, less the patterns of .comfyignore."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pathspec import PathSpec

ROOT = Path(__file__).resolve().parent.parent


def tracked() -> list[str]:
    """Paths that git holds, as the registry's tool lists them, and those it would hold after `git add .`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted({path for path in out.split("\0") if path and (ROOT / path).is_file()})


def packed(paths: list[str]) -> list[str]:
    """The paths that .comfyignore leaves (gitignore patterns)."""
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    ignored = PathSpec.from_lines("gitwildmatch", lines)
    return [path for path in paths if not ignored.match_file(path)]


def unpack(folder: Path) -> None:
    """Copies the package's files into a new folder."""
    for path in packed(tracked()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
