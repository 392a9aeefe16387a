"""docs/data: what the commands measured, committed, so that a clean clone writes docs/results.md again.

A record is {"about": {"command", "date", "machine", "seeds", ...}, ...}; the machine is told by its kind only.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "docs" / "data"

Record = dict[str, Any]


class MissingRecord(LookupError):
    """A record, or a key of one, that the results page needs and that is not there."""


def machine(hosts: Sequence[str] = ()) -> dict[str, Any]:
    """The kind of machine: cores, memory in GB, system, Python, torch; hosts: the ComfyUI versions that took part."""
    import torch

    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):  # not Linux
        system = f"{platform.system()} {platform.release()}"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 2**30),
        "system": f"{system}, {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "comfyui": list(hosts),
    }


def machine_words(kind: Record) -> str:
    """What machine() found, as the pages tell it."""
    hosts = f", ComfyUI {' and '.join(kind['comfyui'])}" if kind["comfyui"] else ""
    return (
        f"{kind['cores']} CPU cores, {kind['memory_gb']} GB, {kind['system']}, Python {kind['python']}, "
        f"torch {kind['torch']}{hosts}"
    )


def about(command: str, seeds: dict[str, Any], hosts: Sequence[str] = (), **more: Any) -> Record:
    """The head of a record made today on this machine."""
    date = datetime.date.today().isoformat()
    return {"command": command, "date": date, "machine": machine(hosts), "seeds": seeds, **more}


def keep(name: str, record: Record, folder: Path = DATA) -> Path:
    """Write a record, its lists on one line each; the same record gives the same bytes. ValueError without a head."""
    head = record.get("about")
    if not isinstance(head, dict) or not {"command", "date", "machine", "seeds"} <= set(head):
        raise ValueError(f"the record {name!r} needs about: command, date, machine and seeds; it has {head!r}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(_lines(record) + "\n", encoding="utf-8")
    fresh.replace(path)
    return path


def load(name: str, folder: Path = DATA) -> Record:
    """A record. MissingRecord names one that is not there, and how to make it."""
    path = folder / f"{name}.json"
    if not path.is_file():
        raise MissingRecord(f"no record docs/data/{name}.json: {HOW.get(name, 'no command makes it')}")
    found: Record = json.loads(path.read_text(encoding="utf-8"))
    return found


HOW = {
    "samplers": "`make bench-samplers` writes it",
    "schedules": "`make bench-schedules` writes it",
    "reach": "`make bench-reach` writes it, after bench-schedules",
    "claims": "`make bench-claims` writes it",
    "faults": "`make test-faults` writes it when all of it passed",
    "gpu": "`make bench-gpu` writes it on a machine with a CUDA GPU",
}


def pick(record: Record, path: str) -> Any:
    """The value at a path such as "kill/fit_kills" (an index is a part too). MissingRecord names what is missing."""
    found: Any = record
    for part in path.split("/"):
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, ValueError, TypeError):
            command = record.get("about", {}).get("command", "unknown")
            raise MissingRecord(f"the record of `{command}` has no {path!r} (not found: {part!r})") from None
    return found


def _lines(value: Any, depth: int = 0) -> str:
    """JSON with a line for each innermost list or object: small files that a reader can compare."""
    nested = isinstance(value, dict | list) and any(
        isinstance(v, dict | list) for v in (value.values() if isinstance(value, dict) else value)
    )
    if not nested or depth > 4:
        return json.dumps(value)
    space = " " * (depth + 1)
    if isinstance(value, dict):
        items = [f"{space}{json.dumps(str(key))}: {_lines(item, depth + 1)}" for key, item in value.items()]
    else:
        items = [space + _lines(item, depth + 1) for item in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return start + "\n" + ",\n".join(items) + "\n" + " " * depth + end
