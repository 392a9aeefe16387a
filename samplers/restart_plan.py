"""The order of events of a Restart run: which levels the solver runs over, where noise is added, what it costs."""

from __future__ import annotations

import bisect
import heapq
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .grid import karras_ramp
from .noise_process import NoiseProcess
from .segments import Interval, Level, Segment, resample, resolve_segments

log = logging.getLogger(__name__)

# A node this close to t_min (ratio) stands in for it, as in the official code, whose published settings all
# have one within 1.43; a farther one would restart at another level, so t_min is then inserted.
SNAP_RATIO = 1.5
# Restarts that must share the steps with the main run leave it at least this part of them (AUTOMATIC1111's rule
# leaves exactly half at 36 steps), and keep at least this many levels (the paper's smallest N_restart).
MAIN_SHARE, FEWEST_LEVELS = 0.5, 3
LARGEST_CHURN = math.sqrt(2) - 1


@dataclass(frozen=True)
class Piece:
    """One descending run of a solver.

    sigmas: its levels. noise: (from, to) levels between which noise is added first, in this order.
    restart: part of a restart, not of the main run.
    """

    sigmas: tuple[float, ...]
    noise: tuple[tuple[float, float], ...] = ()
    restart: bool = False

    @property
    def renoise(self) -> bool:
        """Starts by adding noise."""
        return bool(self.noise)


@dataclass(frozen=True)
class Churn:
    """Small noise before each step inside a restart (the official code's restart_gamma).

    Where low <= level <= high (noise-to-signal ratios) noise is added from level to (1 + amount) level.
    """

    amount: float = 0.0
    low: float = 0.01
    high: float = 1.0


@dataclass(frozen=True)
class Plan:
    """A whole run.

    grid_steps: steps of the (perhaps shortened) main grid, without levels inserted for restarts. notes: what is good
    to know; warnings: what the user asked for and does not get.
    """

    pieces: tuple[Piece, ...]
    grid_steps: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def main_steps(self) -> int:
        return sum(len(p.sigmas) - 1 for p in self.pieces if not p.restart)

    @property
    def restart_steps(self) -> int:
        return sum(len(p.sigmas) - 1 for p in self.pieces if p.restart)


Cost = Callable[[Iterable[Piece]], int]


def plan_pieces(
    sigmas: Sequence[float], segments: Iterable[Segment | Sequence[Level]], process: NoiseProcess | None = None
) -> list[Piece]:
    """Lay out the whole run: the main grid cut at each restart node, with K restart pieces there.

    Each restart goes from the node up to t_max exactly and back to the same node on N_restart Karras levels
    (rho 7). The node is the main grid's nearest to t_min if within SNAP_RATIO of it, else t_min itself,
    inserted. Restarts outside the run's own range (a partial denoise) are left out with a logged note.

    Args:
        sigmas: main grid, strictly descending.
        segments: Segment or (N_restart, K, t_min, t_max) each; several may share a node, in the given order.
        process: the model's noise process; VE by default.
    """
    process = process or NoiseProcess()
    intervals, warnings = keep_inside(resolve_segments(segments, sigmas, process), sigmas)
    for warning in warnings:
        log.warning("%s", warning)
    return lay_out(sigmas, intervals, process)


def keep_inside(intervals: Iterable[Interval], sigmas: Sequence[float]) -> tuple[list[Interval], list[str]]:
    """The restarts that this run can do, t_max lowered to its first sigma; and a sentence for each change."""
    kept, warnings = [], []
    span = f"this run's sigmas ({sigmas[0]:.4g} to {sigmas[-1]:.4g})"
    for interval in intervals:
        if interval.low >= sigmas[0] or interval.low < sigmas[-1]:
            warnings.append(f"{label(interval)} lies outside {span} and is left out")
        elif interval.high > sigmas[0]:
            warnings.append(f"{label(interval)}: t_max is lowered to this run's first sigma, {sigmas[0]:.4g}")
            kept.append(replace(interval, high=sigmas[0]))
        else:
            kept.append(interval)
    return kept, warnings


def label(interval: Interval) -> str:
    """Names a restart for people, counted from 1."""
    return f"restart {interval.index + 1} (sigma {interval.low:.3g} to {interval.high:.3g})"


def lay_out(
    sigmas: Sequence[float], intervals: Iterable[Interval], process: NoiseProcess, churn: Churn | None = None
) -> list[Piece]:
    """The pieces of a run, in order (see plan_pieces)."""
    grid = list(sigmas)
    at_node: dict[float, list[Interval]] = {}
    for interval in intervals:
        near = min((s for s in sigmas if s > 0), key=lambda s: abs(s - interval.low))
        if not (near < interval.high and 1 / SNAP_RATIO <= near / interval.low <= SNAP_RATIO):
            near = interval.low
            if near not in grid:
                grid = sorted([*grid, near], reverse=True)
        at_node.setdefault(near, []).append(interval)
    pieces, start = [], 0
    for i, node in enumerate(grid):
        if node not in at_node:
            continue
        if i > start:
            pieces.append(Piece(tuple(grid[start : i + 1])))
        for interval in at_node[node]:
            ramp = restart_levels(interval.nodes, interval.high, node, process)
            pieces += _restart_pieces(ramp, node, process, churn or Churn()) * interval.repeats
        start = i
    if start < len(grid) - 1:
        pieces.append(Piece(tuple(grid[start:])))
    return pieces


def restart_levels(nodes: int, top: float, bottom: float, process: NoiseProcess) -> tuple[float, ...]:
    """Karras levels in the noise-to-signal ratio, mapped to the process; both ends exact."""
    levels = karras_ramp(
        nodes, process.to_ve(min(top, 0.9999) if process.kind == "flow" else top), process.to_ve(bottom)
    )
    return (top, *(process.from_ve(level) for level in levels[1:-1]), bottom)


def _restart_pieces(ramp: tuple[float, ...], node: float, process: NoiseProcess, churn: Churn) -> list[Piece]:
    """One restart: a single piece; with churn a new piece starts at every level that gets extra noise."""
    pieces: list[Piece] = []
    levels, noise = [ramp[0]], [(node, ramp[0])]
    for i, level in enumerate(ramp[:-1]):
        ratio = process.to_ve(level)
        if churn.amount > 0 and churn.low <= ratio <= churn.high:
            if i:
                pieces.append(Piece(tuple(levels), tuple(noise), restart=True))
                noise = []
            raised = process.from_ve(ratio * (1 + churn.amount))
            noise.append((level, raised))
            levels = [raised]
        levels.append(ramp[i + 1])
    return [*pieces, Piece(tuple(levels), tuple(noise), restart=True)]


def fit_into(
    budget: int,
    sigmas: Sequence[float],
    intervals: Sequence[Interval],
    process: NoiseProcess,
    cost: Cost,
    churn: Churn | None = None,
) -> Plan:
    """The run that costs at most `budget` model calls: main grid and restarts share them.

    The main grid is resampled to as many steps as fit, but keeps half of those that the budget holds without
    restarts. If that is not enough, restarts are made smaller: first the repeats of the one that has most, then
    the levels N_restart of the one that has most (down to 3), then the highest one is left out.

    Args:
        budget: model calls. sigmas: the user's grid. intervals: restarts inside it (see keep_inside).
        cost: model calls of a list of pieces.

    Raises:
        ValueError: not even one step without restarts fits.
    """
    steps = len(sigmas) - 1
    alone = _longest_main(budget, sigmas, [], process, cost, churn, 1)
    if not alone:
        least = cost(lay_out(resample(sigmas, 1), [], process))
        raise ValueError(f"budget is {budget} model calls; the shortest run with this solver needs {least}")
    fewest = math.ceil(alone * MAIN_SHARE)
    shrinking = _Shrinking(intervals)

    def longest(turns: int) -> int:
        return _longest_main(budget, sigmas, shrinking.after(turns), process, cost, churn, fewest)

    turns = bisect.bisect_left(range(shrinking.turns), True, key=lambda turns: longest(turns) > 0)
    changed, count = shrinking.after(turns), longest(turns)
    notes = []
    if count < steps:
        notes.append(f"the main run is shortened from {steps} to {count} steps to stay within {budget} model calls")
    warnings = _say_changes(intervals, changed, budget)
    pieces = lay_out(resample(sigmas, count), changed, process, churn)
    return Plan(tuple(pieces), count, tuple(notes), tuple(warnings))


def _longest_main(
    budget: int, sigmas: Sequence[float], intervals: Sequence[Interval], process: NoiseProcess, cost: Cost,
    churn: Churn | None, fewest: int,
) -> int:  # fmt: skip
    """Most main steps >= fewest with which everything fits into the budget, or 0."""

    def over(count: int) -> int:
        return cost(lay_out(resample(sigmas, count), intervals, process, churn)) - budget

    if over(fewest) > 0 and over(min(fewest + 1, len(sigmas) - 1)) > 0:  # one more may spare an inserted node
        return 0
    # A level inserted or spared for each restart makes the cost uneven: halving finds the edge but for so many steps.
    top = len(sigmas) - 1
    edge = fewest + bisect.bisect_left(range(fewest, top + 1), 1, key=over)
    for count in range(min(top, edge + len(intervals) + 1), fewest - 1, -1):
        if over(count) <= 0:
            return count
    return 0


class _Shrinking:
    """The turns of the screw of fit_into, all counted out beforehand: there can be many, and each costs a layout."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self.intervals = intervals
        repeats = _lowered([v.repeats for v in intervals], 1)
        nodes = _lowered([v.nodes for v in intervals], FEWEST_LEVELS)
        left_out = sorted(range(len(intervals)), key=lambda i: -intervals[i].low)
        self.parts = [np.array(part, dtype=np.int64) for part in (repeats, nodes, left_out)]
        self.turns = sum(len(part) for part in self.parts)

    def after(self, turns: int) -> list[Interval]:
        """The restarts after so many turns."""
        lowered = []
        for part in self.parts:
            lowered.append(np.bincount(part[: max(turns, 0)], minlength=len(self.intervals)))
            turns -= len(part)
        return [
            replace(v, repeats=v.repeats - int(r), nodes=v.nodes - int(n))
            for v, r, n, out in zip(self.intervals, *lowered, strict=True)
            if not out
        ]


def _lowered(values: Sequence[int], least: int) -> list[int]:
    """Which value is lowered by 1, time after time: always the largest (the first of several), none below `least`."""
    heap = [(-value, i) for i, value in enumerate(values) if value > least]
    heapq.heapify(heap)
    order = []
    while heap:
        value, i = heap[0]
        order.append(i)
        if value + 1 < -least:
            heapq.heapreplace(heap, (value + 1, i))
        else:
            heapq.heappop(heap)
    return order


def _say_changes(before: Iterable[Interval], after: Iterable[Interval], budget: int) -> list[str]:
    kept = {v.index: v for v in after}
    said = []
    for old in before:
        new = kept.get(old.index)
        if new is None:
            said.append(f"{label(old)} does not fit into {budget} model calls and is left out")
        elif new != old:
            said.append(
                f"{label(old)} is cut from {old.repeats} x {old.nodes - 1} steps to {new.repeats} x {new.nodes - 1} "
                f"to fit into {budget} model calls"
            )
    return said
