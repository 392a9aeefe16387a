"""Feeds hostile inputs to a function and holds it to its promises: a value or a clear ValueError, soon, in little room.

Memory is held by the system itself: the address space may grow by ROOM at most, so a greedy input ends in MemoryError.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SLOWEST = 1.0  # seconds an input may take
AGAIN = 2  # times that a slower input is tried again; its quickest run counts
ROOM = 64 * 2**20  # bytes the process may grow by
LONGEST_ERROR = 1000  # characters: an artist reads it in a dialog
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CODE = (".py", ".pyc", ".so", ".pyd")
# Audit events that touch the disk by a path, those that leave the machine, and those that run something.
PATHS = {"os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1,
         "os.chmod": 1, "os.chown": 1, "os.listdir": 1, "os.scandir": 1, "shutil.rmtree": 1}  # fmt: skip
FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.", "compile")


class Broken(AssertionError):
    """An input that broke a promise; the text names input and promise."""


class Guard:
    """Counts inputs, refusals, and the slowest one. Each input has little_room for itself."""

    def __init__(self, errors: tuple[type[Exception], ...] = (ValueError,)) -> None:
        self.errors = errors
        self.inputs = self.refused = 0
        self.slowest = 0.0

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns, or None where it refused the input as it may. Broken otherwise."""
        self.inputs += 1
        began = time.process_time()  # what a busy neighbour takes does not count
        result = None
        try:
            with little_room():
                result = function(*arguments)
        except self.errors as error:
            self.refused += 1
            text = str(error)
            if isinstance(error, UnicodeError) or not text.strip() or len(text) > LONGEST_ERROR:
                raise Broken(f"{brief(arguments)}: unclear {type(error).__name__}: {brief(text)}") from error
        except AssertionError:
            raise
        except BaseException as error:
            raise Broken(f"{brief(arguments)}: {type(error).__name__}: {error}") from error
        took = time.process_time() - began
        for _ in range(AGAIN):  # a hang hangs again; a pause of the garbage collector, or a stalled core, does not
            if took <= SLOWEST:
                break
            began = time.process_time()
            with contextlib.suppress(*self.errors), little_room():
                function(*arguments)
            took = min(took, time.process_time() - began)
        self.slowest = max(self.slowest, took)
        if took > SLOWEST:
            raise Broken(f"{brief(arguments)}: took {took:.2f} s")
        return result

    def figures(self) -> dict[str, int | float]:
        return {"inputs": self.inputs, "refused": self.refused, "slowest_ms": round(self.slowest * 1e3, 1)}


def brief(value: object, limit: int = 600) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]} ({len(text)} characters)"


@contextlib.contextmanager
def little_room(room: int = ROOM) -> Iterator[None]:
    """Within it, the process's address space may grow by `room` bytes; more is a MemoryError (or the like)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Fence:
    """The audit hook: once in a process, asleep but inside fenced()."""

    installed = False
    folder: str | None = None
    seen: list[str]

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        folder = cls.folder
        if folder is None:
            return
        if event == "open":
            path, _, flags = arguments
            writing = bool((flags or 0) & WRITING)
            if not isinstance(path, int) and (writing or not str(path).endswith(CODE)):
                cls.check(event, path, folder)
        elif event in PATHS:
            for path in arguments[: PATHS[event]]:
                cls.check(event, path, folder)
        elif event.startswith(FORBIDDEN):
            cls.seen.append(f"{event} {brief(arguments, 200)}")

    @classmethod
    def check(cls, event: str, path: Any, folder: str) -> None:
        if path is None or isinstance(path, int):
            return
        real = os.path.realpath(os.fsdecode(path))
        if real != folder and not real.startswith(folder + os.sep):
            cls.seen.append(f"{event} {real}")


@contextlib.contextmanager
def fenced(folder: Path) -> Iterator[None]:
    """Broken if what runs inside touches a file outside the folder, uses the network, or runs something."""
    if not _Fence.installed:
        sys.addaudithook(_Fence.hook)
        _Fence.installed = True
    _Fence.seen, _Fence.folder = [], os.path.realpath(folder)
    try:
        yield
    finally:
        _Fence.folder = None
    if _Fence.seen:
        raise Broken(f"outside {folder}: {brief(_Fence.seen)}")
