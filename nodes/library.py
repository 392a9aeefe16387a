"""Names and files of saved schedules. Plain Python: where the folders lie is host's to say."""

from __future__ import annotations

import re
import time
from pathlib import Path

from ..samplers.grid import shown
from ..schedules import ArtSchedule, ScheduleError

SUFFIX = ".safetensors"
MAX_NAME = 120
MAX_COPIES = 999
FORM = 'allowed: letters, digits, spaces and most signs, subfolders with "/", such as "portraits/my model"'
# What one of the usual systems refuses in a file name, or reads as something else.
FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]')
DEVICES = re.compile(r"(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³]|conin\$|conout\$) *(\..*)?", re.IGNORECASE)

# storage.write_atomically's temporary file: it is there for milliseconds, unless the process was killed.
LEFTOVER = re.compile(r"\..+" + re.escape(SUFFIX) + r"\.[a-z0-9_]{8}\.tmp")
LEFTOVER_SECONDS = 24 * 3600


def check_name(name: str) -> str:
    """A schedule's name, safe as a file name below a folder on any system; the suffix may be left out.

    Raises:
        ValueError: empty, too long, absolute, leading out of the folder, or holding what a system forbids.
    """
    text = name.strip().replace("\\", "/") if isinstance(name, str) else ""
    text = text[: -len(SUFFIX)] if text.lower().endswith(SUFFIX) else text
    if not text:
        raise ValueError(f"name is {shown(name)}; {FORM}")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_NAME:
        raise ValueError(f"name is {len(text)} characters long; at most {MAX_NAME} bytes")
    for part in text.split("/"):
        bad = (
            not part or part.startswith(".") or part.endswith((".", " ")) or part != part.strip()
            or FORBIDDEN.search(part) or DEVICES.fullmatch(part) or not part.isprintable()
        )  # fmt: skip
        if bad:
            raise ValueError(f"name is {shown(name)}, and {shown(part)} cannot be part of a file name; {FORM}")
    return text


def save_named(schedule: ArtSchedule, folder: Path, name: str, *, overwrite: bool) -> str:
    """Save a schedule below a folder; returns the name it got.

    A file that holds the same schedule already is left as it is. With overwrite=False another schedule's file
    is kept, and this one gets the next free name: "name_2", "name_3" ...

    Raises:
        ValueError: the name cannot be used. OSError: the folder cannot be written; nothing is changed then.
    """
    wanted = check_name(name)
    for count in range(1, MAX_COPIES + 1):
        given = wanted if count == 1 else f"{wanted}_{count}"
        path = folder / f"{given}{SUFFIX}"
        if holds(path, schedule):
            return given
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            schedule.save(path, overwrite=overwrite)
        except FileExistsError:
            if holds(path, schedule):  # saved by someone else just now
                return given
            continue
        return given
    raise ValueError(f"name is {shown(name)}, and so are {MAX_COPIES} files; choose another or let it overwrite")


def sweep(folder: Path) -> list[Path]:
    """Remove what saves that were killed left behind, hidden files at least a day old; what was removed."""
    gone = []
    for path in folder.rglob(f".*{SUFFIX}.*.tmp"):
        try:
            if LEFTOVER.fullmatch(path.name) and time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()
                gone.append(path)
        except OSError:
            continue
    return gone


def holds(path: Path, schedule: ArtSchedule) -> bool:
    """Whether the file is there and holds this very schedule (its report apart)."""
    try:
        return path.is_file() and ArtSchedule.load(path) == schedule
    except (OSError, ScheduleError):
        return False
