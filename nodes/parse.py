"""What users type into text fields, read strictly: an error names the input, the place and what is allowed."""

from __future__ import annotations

import json
import math
from typing import Any

from ..samplers.grid import shown
from ..samplers.segments import MAX_SEGMENTS, Level, Segment, check_level

SEGMENT_FORM = 'one "N, K, t_min, t_max" per line, such as "3, 2, 0.06, 0.30", or a JSON list of such lists'
LEVEL_FORM = 'a level is a sigma such as 0.06, a share of sampling such as "75%", or a node such as "#9"'
MAX_STEPS = 1000
MAX_STEP_COUNTS = 8


def parse_segments(text: str) -> tuple[tuple[int, int, Level, Level], ...]:
    """Restart segments from "N, K, t_min, t_max" lines or a JSON list of lists; levels as Segment has them.

    Raises:
        ValueError: naming the line or list entry, what stands there and what is allowed.
    """
    if text.strip().startswith("["):
        rows = _json_rows(text)
    else:
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
        rows = [(f"segments, line {number}", line.split(",")) for number, line in lines if line]
    if not rows:
        raise ValueError(f"segments is empty; allowed: {SEGMENT_FORM}")
    if len(rows) > MAX_SEGMENTS:
        raise ValueError(f"segments holds {len(rows)} restarts; at most {MAX_SEGMENTS}")
    return tuple(_segment(place, row) for place, row in rows)


def _json_rows(text: str) -> list[tuple[str, Any]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"segments is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}); "
            f"allowed: {SEGMENT_FORM}"
        ) from None
    except (ValueError, RecursionError):  # a whole number of thousands of digits; thousands of brackets
        raise ValueError(f"segments is JSON too long or too deep to read; allowed: {SEGMENT_FORM}") from None
    if rows and not any(isinstance(row, list) for row in rows):
        rows = [rows]  # one segment without the outer list
    return [(f"segments, entry {number}", row) for number, row in enumerate(rows, start=1)]


def _segment(place: str, row: Any) -> tuple[int, int, Level, Level]:
    if not isinstance(row, list) or len(row) != 4:
        found = ",".join(row) if isinstance(row, list) and all(isinstance(v, str) for v in row) else row
        raise ValueError(f"{place}: {shown(found)} is not four numbers; allowed: {SEGMENT_FORM}")
    nodes, repeats = _number(place, row[0]), _number(place, row[1])
    if not (nodes.is_integer() and repeats.is_integer()):
        raise ValueError(f"{place}: N and K must be whole numbers, not {nodes:g} and {repeats:g}")
    segment = (int(nodes), int(repeats), _level(place, row[2]), _level(place, row[3]))
    try:
        Segment.of(segment)
    except ValueError as error:
        raise ValueError(f"{place}: {str(error).removeprefix('segments[0] ')}") from None
    return segment


def _level(place: str, value: Any) -> Level:
    if isinstance(value, str) and ("%" in value or "#" in value):
        try:
            return check_level(place, value)
        except ValueError:
            raise ValueError(f"{place}: {shown(value.strip())} is not a level; {LEVEL_FORM}") from None
    return _number(place, value)


def _number(place: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # the last for a whole number too large for a float
        found = value.strip() if isinstance(value, str) else value
        raise ValueError(f"{place}: {shown(found)} is not a number; allowed: {SEGMENT_FORM}") from None
    if not math.isfinite(number):
        raise ValueError(f"{place}: {number} is not a finite number; allowed: {SEGMENT_FORM}")
    return number


def parse_steps(text: str | int) -> tuple[int, ...]:
    """Step counts from "12" or "8, 12, 20", in the order given, without repeats.

    Raises:
        ValueError: no number, not whole, outside 1..1000, or more than eight of them.
    """
    allowed = f'allowed: whole numbers from 1 to {MAX_STEPS}, for example "12" or "8, 12, 20"'
    words = [word for word in str(text).replace(",", " ").split() if word]
    if not words:
        raise ValueError(f"steps is empty; {allowed}")
    counts: list[int] = []
    for word in words:
        if not word.isascii() or not word.isdigit() or len(word) > 9 or not 1 <= int(word) <= MAX_STEPS:
            raise ValueError(f"steps holds {shown(word)}; {allowed}")
        if int(word) not in counts:
            counts.append(int(word))
    if len(counts) > MAX_STEP_COUNTS:
        raise ValueError(f"steps holds {len(counts)} numbers, at most {MAX_STEP_COUNTS} are fitted at once; {allowed}")
    return tuple(counts)


def check_steps(steps: int) -> int:
    """A single step count; ValueError below 1."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; allowed: whole numbers from 1 up")
    return steps


def check_share(name: str, value: float) -> float:
    """A share such as denoise; ValueError outside 0..1."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}; allowed: 0 to 1")
    return value


def parse_lines(name: str, text: str, allowed: str) -> list[tuple[str, str]]:
    """(place, text) of each line that is not empty, without repeats; place is such as "schedules, line 2".

    Raises:
        ValueError: every line is empty.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(str(text).splitlines(), start=1):
        if line.strip():
            found.setdefault(line.strip(), f"{name}, line {number}")
    if not found:
        raise ValueError(f"{name} is empty; allowed: {allowed}")
    return [(place, line) for line, place in found.items()]
