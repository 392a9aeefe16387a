"""What the fault tests counted: bench/faults.json, {section: {figure: value}}, written by a full run only.

A run is full where RESTART_ART_FAULTS=full (make test-faults); elsewhere the same tests take fewer inputs.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

FULL = os.environ.get("RESTART_ART_FAULTS") == "full"
FILE = Path(__file__).resolve().parents[2] / "bench" / "faults.json"

Figure = int | float | str


def inputs(full: int, short: int) -> int:
    """How many inputs this run takes."""
    return full if FULL else short


def record(section: str, file: Path | None = None, **figures: Figure) -> None:
    """Add figures to a section, in the file of a full run (a short one writes nothing) or in the one named."""
    if file is None and not FULL:
        return
    target = file or FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:  # several test workers write the one file
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read(target)
        known.setdefault(section, {}).update(figures)
        fresh = target.with_suffix(".new")
        fresh.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        fresh.replace(target)


def read(file: Path = FILE) -> dict[str, dict[str, Figure]]:
    """Every section recorded so far; empty without a file."""
    try:
        found: dict[str, dict[str, Figure]] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found
