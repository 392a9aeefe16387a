"""What a fit really asks of the model: every round recorded where schedules/art makes it, with its seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from restart_art.schedules.art.monitor import FitProgress
from restart_art.schedules.art.trajectories import FieldRows

from scaling_plan import Chain


@dataclass
class Trace:
    """The rounds of a fit. spans: (chain, samples, seconds, processor seconds) of each.

    progress: give it to the fit as its callback."""

    spans: list[tuple[int, int, float, float]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    keys: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    stage: str = ""
    done: int = -1
    shown: int = 0  # times the fit showed a result: after it, what follows may need it

    def progress(self, told: FitProgress) -> None:
        """The fit's callback: which stage it is in, and where a round of the pilot's elimination ends."""
        if told.stage != self.stage or told.done == self.done:
            self.shown += 1
        self.stage, self.done = told.stage, told.done

    def begin(self, rows: FieldRows) -> int:
        """A new chain; its number."""
        self.stages.append(self.stage)
        self.keys.append((self.shown, tuple(rows.rows)))
        if type(rows).__name__ == "_Recorder":
            self.kinds.append("run")
        elif self.stage == "pilot":
            self.kinds.append("trial")
        else:
            new = len(self.stages) < 2 or self.stages[-2] != self.stage
            self.kinds.append("reference" if new else "propagate")
        return len(self.stages) - 1

    @property
    def chains(self) -> list[Chain]:
        """In order. Trials of an elimination round on the same trajectories do not need each other; what comes after
        the last such round (a search for equivalent steps) is taken as one after another."""
        samples: dict[int, list[int]] = {}
        for chain, count, *_ in self.spans:
            samples.setdefault(chain, []).append(count)
        groups: dict[Any, int] = {}
        found = []
        for i, kind in enumerate(self.kinds):
            key: Any = kind if kind == "propagate" else self.keys[i] if kind == "trial" else i
            if kind == "trial" and self.keys[i][0] == self.shown:
                key = i
            found.append(Chain(self.stages[i], kind, groups.setdefault(key, len(groups)), tuple(samples.get(i, ()))))
        return found

    @property
    def seconds(self) -> float:
        """Seconds in rounds, by the clock: model calls, and over ranks the messages."""
        return sum(span[2] for span in self.spans)

    @property
    def cpu(self) -> float:
        """The same, of this thread's processor time."""
        return sum(span[3] for span in self.spans)


@contextmanager
def traced() -> Iterator[Trace]:
    """Record every round of fits made inside."""
    trace, original = Trace(), FieldRows.evaluate
    numbers: dict[int, tuple[FieldRows, int]] = {}  # keeps the rows alive, so that no id comes twice

    def evaluate(self: FieldRows, x: Tensor, sigma: Tensor) -> Tensor:
        if id(self) not in numbers:
            numbers[id(self)] = (self, trace.begin(self))
        began = time.perf_counter(), time.thread_time()
        out = original(self, x, sigma)
        spent = time.perf_counter() - began[0], time.thread_time() - began[1]
        trace.spans.append((numbers[id(self)][1], sigma.numel(), *spent))
        return out

    with mock.patch.object(FieldRows, "evaluate", evaluate):
        yield trace


@contextmanager
def counted_messages() -> Iterator[dict[str, dict[str, float]]]:
    """Count this rank's collectives: {"broadcast" | "all_gather": {"calls", "bytes", "seconds"}}.

    bytes: the payload a rank holds when it is done, so all parts of an all-gather. seconds: inside the calls, waiting
    for the other ranks included.
    """
    found: dict[str, dict[str, float]] = {
        k: {"calls": 0, "bytes": 0, "seconds": 0.0} for k in ("broadcast", "all_gather")
    }
    broadcast, all_gather = torch.distributed.broadcast, torch.distributed.all_gather

    def note(kind: str, size: int, began: float) -> None:
        found[kind]["calls"] += 1
        found[kind]["bytes"] += size
        found[kind]["seconds"] += time.perf_counter() - began

    def count_broadcast(tensor: Tensor, *args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = broadcast(tensor, *args, **options)
        note("broadcast", tensor.numel() * tensor.element_size(), began)
        return result

    def count_all_gather(parts: list[Tensor], *args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = all_gather(parts, *args, **options)
        note("all_gather", sum(p.numel() * p.element_size() for p in parts), began)
        return result

    with (
        mock.patch.object(torch.distributed, "broadcast", count_broadcast),
        mock.patch.object(torch.distributed, "all_gather", count_all_gather),
    ):
        yield found


def by_stage(chains: list[Chain]) -> dict[str, dict[str, int]]:
    """{stage: {"rounds", "evaluations", "chains"}} in the order of the fit."""
    found: dict[str, dict[str, int]] = {}
    for chain in chains:
        row = found.setdefault(chain.stage, {"chains": 0, "rounds": 0, "evaluations": 0})
        row["chains"] += 1
        row["rounds"] += len(chain.samples)
        row["evaluations"] += chain.evaluations
    return found


def checked(report: Mapping[str, Any], chains: list[Chain]) -> None:
    """RuntimeError unless the rounds recorded add up to the evaluations that the fit itself reports."""
    seen = sum(c.evaluations for c in chains)
    told = report["model_evaluations"] + report["pilot_evaluations"]
    if seen != told:
        raise RuntimeError(f"{seen} evaluations were recorded, the fit reports {told}")
