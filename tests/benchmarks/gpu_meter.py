"""Seconds, peak memory and host synchronisations, on a GPU or, by stand-ins, on the CPU."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from contract_tools import LiveMemory
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.is_nonzero.default}
SYNC_WORDS = "called a synchronizing"  # of torch's own warning


class Clock:
    """Marks on the device's time line: CUDA events, or the wall clock on the CPU."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def mark(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, begin: Any, end: Any) -> float:
        """Seconds."""
        if not self.cuda:
            return float(end - begin)
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000.0

    def seconds(self, work: Callable[[], Any]) -> float:
        begin = self.mark()
        work()
        return self.between(begin, self.mark())

    def median(self, work: Callable[[], Any], repeats: int) -> float:
        """Median seconds of `repeats` runs, after one that warms up (on a GPU)."""
        if self.cuda:
            work()
        return statistics.median(self.seconds(work) for _ in range(repeats))

    def peak(self, work: Callable[[], Any]) -> float:
        """GiB allocated at most while it runs: on a GPU with all that is loaded; on the CPU only new tensors."""
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            work()
            return torch.cuda.max_memory_allocated() / 2**30
        with LiveMemory(torch.empty(1, dtype=torch.uint8)) as live:
            work()
        return live.peak / 2**30


@dataclass
class CountedModel:
    """A k-diffusion denoiser that keeps its calls, samples and, on the clock, its own time; all else as it was."""

    model: Any
    clock: Clock
    syncs: SyncCount | None = None
    calls: int = 0
    evaluations: int = 0
    marks: list[tuple[Any, Any]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        if self.syncs is not None:
            self.syncs.enter_model()
        begin = self.clock.mark()
        out: torch.Tensor = self.model(x, sigma, **kwargs)
        self.marks.append((begin, self.clock.mark()))
        if self.syncs is not None:
            self.syncs.leave_model()
        self.calls += 1
        self.evaluations += len(x)
        return out

    @property
    def model_seconds(self) -> float:
        return sum(self.clock.between(begin, end) for begin, end in self.marks)


class SyncCount:
    """Counts what makes the host wait between the first and the last model call of a run, by the sampler (`steps`)
    and inside the model's calls (`model`). What comes before the first call and after the last is not counted.

    CUDA: torch's own warnings. CPU: a stand-in that counts the reads of tensors' values (item, bool, nonzero).
    """

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"
        self.steps = self.model = self._pending = 0
        self._begun = self._inside = False
        self._mode: Any = None
        self._caught: Any = None
        self._seen: list[Any] = []

    def __enter__(self) -> SyncCount:
        if self.cuda:
            self._caught = warnings.catch_warnings(record=True)
            self._seen = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        else:
            self._mode = _Reads(self)
            self._mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._collect()
        if self.cuda:
            torch.cuda.set_sync_debug_mode("default")
            self._caught.__exit__(*error)
        else:
            self._mode.__exit__(*error)

    def enter_model(self) -> None:
        self._collect()
        if self._begun:
            self.steps += self._pending
        self._pending, self._begun, self._inside = 0, True, True

    def leave_model(self) -> None:
        self._collect()
        self._inside = False

    def note(self, count: int = 1) -> None:
        if self._inside:
            self.model += count
        else:
            self._pending += count

    def _collect(self) -> None:
        """On CUDA the warnings since the last look."""
        self.note(sum(SYNC_WORDS in str(entry.message) for entry in self._seen))
        self._seen.clear()


class _Reads(TorchDispatchMode):
    def __init__(self, count: SyncCount) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READS:
            self.count.note()
        return func(*args, **(kwargs or {}))
