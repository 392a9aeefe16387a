"""Restart segments: how they are written, checked, and placed on a run's own sigmas."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from .grid import check_count, check_range, shown
from .noise_process import NoiseProcess

Level = float | str
MAX_SEGMENTS = 100
MAX_RESTART_STEPS = 1_000_000  # of all restarts of a run together: what the largest single one makes

LEVEL_FORMS = 'a sigma such as 0.06, a share of sampling such as "75%", or a node such as "#9"'
_PERCENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*%")
_NODE = re.compile(r"#\s*(\d{1,9})")


@dataclass(frozen=True)
class Segment:
    """One restart interval in the paper's order [N_restart, K, t_min, t_max].

    nodes: N_restart >= 2, levels from t_max down to t_min, both included (nodes - 1 solver steps).
    repeats: K >= 1. t_min, t_max: where the restart ends and starts, each one of

    - a number: noise-to-signal ratio, i.e. sigma of a VE model; on a flow model the sigma with the same ratio,
      level / (1 + level), is used;
    - "75%": the level reached when that share of the run's steps is done (see level_at);
    - "#9": node 9 of the run's own sigmas, counted from 0.
    """

    nodes: int
    repeats: int
    t_min: Level
    t_max: Level

    @classmethod
    def of(cls, values: Segment | Sequence[Level], index: int = 0) -> Segment:
        """Check one segment.

        Raises:
            ValueError: not four values, N_restart < 2, K < 1, a level in none of the three forms, or t_min not
                below t_max (two levels of different forms are compared in resolve_segment); names the segment.
        """
        if isinstance(values, Segment):
            values = (values.nodes, values.repeats, values.t_min, values.t_max)
        name = f"segments[{index}]"
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != 4:
            raise ValueError(f"{name} is {shown(values)}; it must be (N_restart, K, t_min, t_max)")
        nodes = check_count(f"{name} N_restart", values[0], 2, 1000)  # type: ignore[arg-type]
        repeats = check_count(f"{name} K", values[1], 1, 1000)  # type: ignore[arg-type]
        t_min = check_level(f"{name} t_min", values[2])
        t_max = check_level(f"{name} t_max", values[3])
        if not _may_be_below(t_min, t_max):
            raise ValueError(f"{name} has t_min {_show(t_min)} and t_max {_show(t_max)}; it must be 0 < t_min < t_max")
        return cls(nodes, repeats, t_min, t_max)


def check_segments(segments: Iterable[Segment | Sequence[Level]]) -> None:
    """Segment.of for each; ValueError also where they are more, or make more steps, than any run is planned for."""
    checked = [Segment.of(values, index) for index, values in enumerate(segments)]
    if len(checked) > MAX_SEGMENTS:
        raise ValueError(f"segments holds {len(checked)} restarts; at most {MAX_SEGMENTS}")
    steps = sum(segment.repeats * (segment.nodes - 1) for segment in checked)
    if steps > MAX_RESTART_STEPS:
        raise ValueError(f"segments make {steps} restart steps, sum of K (N - 1); at most {MAX_RESTART_STEPS}")


@dataclass(frozen=True)
class Interval:
    """A segment placed on a run: levels are the model's own sigmas, 0 < low < high. index: which segment it was."""

    index: int
    nodes: int
    repeats: int
    low: float
    high: float


def check_level(name: str, value: Level) -> Level:
    """A level of a segment in its normal form: a float >= 0, "<number>%" or "#<whole number>".

    Raises:
        ValueError: naming the input, the value and the three forms.
    """
    if not isinstance(value, str):
        return check_range(name, value, 0.0, 1e6)
    text = value.strip()
    if found := _PERCENT.fullmatch(text):
        share = float(found[1])
        if not 0 <= share <= 100:
            raise ValueError(f"{name} is {shown(value)}; a share of sampling is 0% to 100%")
        return f"{share:g}%"
    if found := _NODE.fullmatch(text):
        return f"#{int(found[1])}"
    try:
        return check_range(name, float(text), 0.0, 1e6)
    except ValueError:
        raise ValueError(f"{name} is {shown(value)}; it must be {LEVEL_FORMS}") from None


def level_at(sigmas: Sequence[float], share: float) -> float:
    """The noise level when `share` (0..1) of the run's steps is done: between nodes, even in log sigma.

    Within the last step down to sigma 0, where log sigma has no end, even in sigma.
    """
    position = share * (len(sigmas) - 1)
    i = min(int(position), len(sigmas) - 2)
    part, high, low = position - i, sigmas[i], sigmas[i + 1]
    if part == 0:
        return high
    if part == 1:
        return low
    return high * (low / high) ** part if low > 0 else high * (1 - part)


def resolve_segment(
    values: Segment | Sequence[Level], index: int, sigmas: Sequence[float], process: NoiseProcess
) -> Interval:
    """Place a segment on a run.

    Raises:
        ValueError: as Segment.of; also a node that the run does not have, or levels that turn out to be
            t_min >= t_max or t_min = 0 on these sigmas.
    """
    segment = Segment.of(values, index)
    low = _sigma(f"segments[{index}] t_min", segment.t_min, sigmas, process)
    high = _sigma(f"segments[{index}] t_max", segment.t_max, sigmas, process)
    if not 0 < low < high:
        raise ValueError(
            f"segments[{index}] has t_min {_show(segment.t_min)} (sigma {low:g}) and t_max {_show(segment.t_max)} "
            f"(sigma {high:g}); it must be 0 < t_min < t_max"
        )
    return Interval(index, segment.nodes, segment.repeats, low, high)


def resolve_segments(
    segments: Iterable[Segment | Sequence[Level]], sigmas: Sequence[float], process: NoiseProcess
) -> list[Interval]:
    """resolve_segment for each, in order."""
    return [resolve_segment(values, index, sigmas, process) for index, values in enumerate(segments)]


def resample(sigmas: Sequence[float], steps: int) -> list[float]:
    """The same schedule with another number of steps: the shape, both ends and a final 0 stay.

    The positive levels are a monotone cubic curve (PCHIP) of log sigma over the node number, read off at evenly
    spaced places; steps = len(sigmas) - 1 returns the levels unchanged.
    """
    steps = check_count("steps", steps, 1)
    if steps == len(sigmas) - 1:
        return list(sigmas)
    tail = [0.0] if sigmas[-1] == 0 else []
    levels = list(sigmas[: len(sigmas) - len(tail)])
    count = steps + 1 - len(tail)
    if count == 1 or len(levels) == 1:  # one step from the start to 0
        return [levels[0], *tail]
    curve = PchipInterpolator(np.arange(len(levels)), np.log(levels))
    inner = np.exp(curve(np.linspace(0, len(levels) - 1, count)[1:-1]))
    return [levels[0], *(float(v) for v in inner), levels[-1], *tail]


def _may_be_below(t_min: Level, t_max: Level) -> bool:
    """False if it is certain, without knowing the run, that t_min is not below t_max."""
    if isinstance(t_min, str) and isinstance(t_max, str) and t_min[-1:] == "%" and t_max[-1:] == "%":
        return float(t_min[:-1]) > float(t_max[:-1])
    if isinstance(t_min, str) and isinstance(t_max, str) and t_min[0] == t_max[0] == "#":
        return int(t_min[1:]) > int(t_max[1:])
    if isinstance(t_min, str) or isinstance(t_max, str):
        return t_min != 0 and t_max != 0
    return 0 < t_min < t_max


def _sigma(name: str, level: Level, sigmas: Sequence[float], process: NoiseProcess) -> float:
    if not isinstance(level, str):
        return process.from_ve(level)
    if level.endswith("%"):
        return level_at(sigmas, float(level[:-1]) / 100)
    node = int(level[1:])
    if node >= len(sigmas):
        raise ValueError(f"{name} is {shown(level)}, but this run has nodes #0 to #{len(sigmas) - 1}")
    return sigmas[node]


def _show(level: Level) -> str:
    return level if isinstance(level, str) else (f"{level:g}" if math.isfinite(level) else str(level))
