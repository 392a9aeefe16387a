"""What the command line accepts: parsers of option values, checks of paths, and files written whole.

Every complaint names the value that was given and what is allowed; argparse or the caller adds the option.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

SOLVERS = ("euler", "heun", "dpmpp_2m")
SAMPLERS = ("euler", "heun", "dpmpp_2m", "restart", "randomized_midpoint", "parallel_midpoint")
BASELINES = ("karras", "edm", "exponential")
STOPPED = {
    "demo": "the report was not written.",
    "fit": "no schedule was written.",
    "sample": "no picture was written.",
    "plot": "no picture was written.",
}
MAX_STEPS = 1000
MAX_STEP_COUNTS = 8


class UserError(Exception):
    """Bad input: one line naming the option, the value and what is allowed. Exit code 2."""


def choice(*allowed: str) -> Callable[[str], str]:
    """Parser of one word out of ``allowed``."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise argparse.ArgumentTypeError(f"{text!r} is not known; allowed: {', '.join(allowed)}")
        return text

    return parse


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """Parser of a whole number from ``lowest`` to ``highest``."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number from {lowest} to {highest}")
        return number

    return parse


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """Parser of a number from ``lowest`` to ``highest``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:  # NaN too
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a number from {lowest:g} to {highest:g}")
        return value

    return parse


def lora(text: str) -> tuple[str, float]:
    """``"name.safetensors:0.8"`` -> its name and strength, 1 if none is given. Raises ArgumentTypeError."""
    name, colon, strength = text.rpartition(":")
    if not colon:
        return text, 1.0
    try:
        return name, number(-20, 20)(strength)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME or NAME:STRENGTH, such as a.safetensors:0.8") from None


def step_list(text: str) -> tuple[int, ...]:
    """``"8,12,20"`` -> ``(8, 12, 20)``, sorted, each once. Raises ArgumentTypeError."""
    parse = whole_number(1, MAX_STEPS)
    allowed = f"give 1 to {MAX_STEP_COUNTS} whole numbers from 1 to {MAX_STEPS}, such as 8,12,20"
    try:
        counts = tuple(sorted({parse(part.strip()) for part in text.split(",")}))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of steps; {allowed}") from None
    if len(counts) > MAX_STEP_COUNTS:
        raise argparse.ArgumentTypeError(f"{text!r} holds {len(counts)} step counts; {allowed}")
    return counts


def digit_list(text: str) -> tuple[int, ...]:
    """``"0-3,7"`` -> ``(0, 1, 2, 3, 7)``, in the order given. Raises ArgumentTypeError."""
    digits: list[int] = []
    for part in text.split(","):
        ends = part.strip().split("-")
        if len(ends) > 2 or not all(len(end) == 1 and end in "0123456789" for end in ends):
            break
        first, last = int(ends[0]), int(ends[-1])
        if first > last:
            break
        digits.extend(range(first, last + 1))
    else:
        return tuple(digits)
    raise argparse.ArgumentTypeError(f"{text!r} is not a list of digits; give digits such as 0-9 or 1,3,7")


def output_file(option: str, text: str, suffix: str) -> Path:
    """Checks, before any work is done, that a file can be written at ``text``. Raises UserError."""
    path = Path(text).expanduser()
    if path.suffix.lower() != suffix:
        raise UserError(f"{option}: {text!r} does not end in {suffix}; allowed: a name such as a{suffix}")
    if path.is_dir():
        raise UserError(f"{option}: {text!r} is a folder; allowed: a file name ending in {suffix}")
    folder = path.parent
    if folder.name == "art_schedules" and folder.parent.is_dir():
        folder.mkdir(exist_ok=True)  # ComfyUI's folder for them, which only its first saved schedule makes
    if not folder.is_dir():
        raise UserError(f"{option}: {text!r} lies in a missing folder; allowed: a folder that exists")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{option}: {text!r} lies in a folder that cannot be written to")
    return path


def output_folder(option: str, text: str) -> Path:
    """Checks that ``text`` is a folder that can be written to, or can be made one. Raises UserError."""
    path = Path(text).expanduser()
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UserError(f"{option}: {text!r} is not a folder; allowed: a folder, which is made if need be")
    if not os.access(nearest, os.W_OK):
        raise UserError(f"{option}: {text!r} cannot be written to; give a folder of your own")
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Writes ``data`` beside ``path`` and renames it into place, so that ``path`` is never half-written."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
