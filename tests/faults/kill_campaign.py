"""Forks children that save a schedule, or fit one and save it, kills each with SIGKILL and looks at what is left.

python kill_campaign.py <folder> <seed> save=50 fit=50 points=9      prints one line of JSON
A process of its own, without threads: forking is safe here, and importing torch is paid for once.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from restart_art.nodes.library import save_named
from restart_art.schedules import ArtSchedule, fit_schedule
from restart_art.schedules.art import storage

sys.path.insert(0, str(Path(__file__).parents[1]))
from exact import mixture_16d

TOPS = (10.0, 9.0, 8.0)
SAVE_WINDOW = 0.02  # seconds after the first save began; a save takes about one millisecond


def schedule(top: float) -> ArtSchedule:
    knots = tuple(top * 0.5**k for k in range(12))
    return ArtSchedule(((12, knots),), "euler", "ve", 0.002, 14.6, report={"verdict": "x" * 20_000})


def save_forever(folder: Path) -> None:
    """Overwrite one name again and again, and add new ones beside it."""
    for count in range(10**6):
        save_named(schedule(TOPS[count % 3]), folder, "group/over", overwrite=True)
        save_named(schedule(TOPS[count % 3]), folder, "kept", overwrite=False)
        if count % 3 == 2:
            for path in folder.glob("kept*.safetensors"):
                path.unlink()


def fit_and_save(folder: Path) -> None:
    noise = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    learned = fit_schedule(mixture_16d(), noise, sigma_min=0.03, sigma_max=14.6, steps=(6,))
    save_named(learned, folder, "fitted", overwrite=True)


# The moments at which a save can die: before each of these calls, and in the middle of the write.
POINTS = ("mkstemp", "fdopen", "write", "half", "fsync", "chmod", "replace", "link", "unlink")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(point: str, folder: Path) -> None:
    """Save over the old schedule and beside it, dead at this point of it."""
    if point in {"write", "half"}:
        real = os.fdopen

        @contextlib.contextmanager
        def opened(handle: int, mode: str) -> Iterator[Any]:
            with real(handle, mode) as file:
                yield Dying(file, half=point == "half")

        storage.os.fdopen = opened  # type: ignore[attr-defined,assignment]
    else:
        owner = storage.tempfile if point == "mkstemp" else os
        setattr(owner, point, lambda *args, **kwargs: die())
    overwrite = point not in {"link", "unlink"}
    save_named(schedule(TOPS[1]), folder, "point", overwrite=overwrite)


class Dying:
    def __init__(self, file: Any, half: bool) -> None:
        self.file, self.half = file, half

    def write(self, data: bytes) -> None:
        if self.half:
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            os.fsync(self.file.fileno())
        die()


def child(work: Callable[[], None]) -> tuple[int, int]:
    """Start work in a fork; (its id, a pipe that gets a byte as it begins)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, b"!")
            work()
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)
    os.close(write)
    os.read(read, 1)
    os.close(read)
    return pid, read


def listed(folder: Path) -> list[Path]:
    """The files that ComfyUI lists: by suffix, hidden ones left out."""
    return sorted(p for p in folder.rglob("*.safetensors") if not p.name.startswith("."))


def look(folder: Path, known: list[ArtSchedule]) -> dict[str, int]:
    """What lies there: whole files, broken ones, and temporary ones (none of which may be listed)."""
    whole = broken = 0
    for path in listed(folder):
        try:
            good = ArtSchedule.load(path) in known
        except (ValueError, OSError):
            good = False
        whole, broken = whole + good, broken + (not good)
    left = [p for p in folder.rglob("*") if p.is_file() and p not in listed(folder)]
    odd = [p for p in left if not (p.name.startswith(".") and p.suffix == ".tmp")]
    return {"whole": whole, "broken": broken + len(odd), "left": len(left)}


def campaign(kind: str, folder: Path, children: int, seed: int) -> dict[str, int]:
    folder = folder / kind
    folder.mkdir(parents=True, exist_ok=True)
    rng, known = random.Random(seed), [schedule(top) for top in TOPS]
    found = {"kills": 0, "ended": 0, "broken": 0, "left": 0, "next_failed": 0, "whole": 0}
    work, window = save_forever, SAVE_WINDOW
    if kind == "fit":
        fit_and_save(folder / "whole")
        began = time.monotonic()
        fit_and_save(folder / "whole")
        known.append(ArtSchedule.load(folder / "whole" / "fitted.safetensors"))
        work, window = fit_and_save, 1.05 * (time.monotonic() - began)
    count = -1
    while found["kills"] < children and count < 5 * children:
        count += 1
        if kind == "points":
            point = POINTS[count % len(POINTS)]
            for path in listed(folder):
                path.unlink()
            if point not in {"link", "unlink"}:  # there the name is still free
                save_named(schedule(TOPS[0]), folder, "point", overwrite=True)
            pid, _ = child(lambda point=point: die_at(point, folder))  # type: ignore[misc]
        else:
            pid, _ = child(lambda: work(folder))
            moment = rng.uniform(0, window)
            time.sleep(moment)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        found["kills" if killed else "ended"] += 1
        if not killed and kind == "fit":  # the machine was quicker than before: kill sooner
            window = min(window, moment)
        left = look(folder, known)
        found["broken"] += left["broken"]
        found["whole"] += left["whole"]
        found["left"] = left["left"]
        # The next start: the same names can be saved again and read.
        name = save_named(schedule(TOPS[count % 3]), folder, "group/over", overwrite=True)
        found["next_failed"] += ArtSchedule.load(folder / f"{name}.safetensors") != schedule(TOPS[count % 3])
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = dict(word.split("=") for word in sys.argv[3:])
    found = {kind: campaign(kind, Path(sys.argv[1]), int(count), int(sys.argv[2])) for kind, count in asked.items()}
    print("CAMPAIGN " + json.dumps(found))
