"""One place that evaluates the model at many (x, sigma) pairs: in one batch, in chunks, or one by one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .finite import FiniteWatch
from .memory import is_out_of_memory, release_memory, samples_that_fit, spread_args
from .obstacles import batching_obstacle

__all__ = ["PairEvaluator", "batching_obstacle", "is_out_of_memory"]

log = logging.getLogger(__name__)


class PairEvaluator:
    """Evaluates a denoiser at several levels at once and keeps count.

    calls: model calls that returned. evaluations: samples sent through the model (one sample once = one).
    rounds: evaluate() calls, i.e. sequential depth. obstacle: why levels must not share a batch, in plain words,
    or None; known for good once the first call has shown the batch size. max_batch: the most samples in one
    call, as given, as the host's free memory allows, or as out-of-memory errors have taught. spread: whether the
    host spreads a round over several devices.
    """

    def __init__(
        self,
        model: Any,
        extra_args: Mapping[str, Any] | None = None,
        *,
        max_batch: int | None = None,
        split_rows: bool = False,
        watch: FiniteWatch | None = None,
    ):
        """max_batch: most samples in one model call; None for no limit but memory.
        split_rows: a level's samples may be split over calls too. Off where the host holds per-sample
        conditioning of its own, which must meet the whole batch. watch: told of every call."""
        self.model = model
        self.extra_args = dict(extra_args or {})
        self.obstacle = batching_obstacle(model, self.extra_args)
        self.max_batch = max_batch
        self.split_rows = split_rows
        self.watch = watch
        self.calls = self.evaluations = self.rounds = 0
        self.spread = False
        self._batch: int | None = None
        self._args = self.extra_args
        self._asked = False

    def evaluate(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised at R levels of a batch of B.

        Args:
            x: (R, B, ...). sigma: (R, B), the level of each.

        Returns:
            (R, B, ...). The same to rounding however the work is split. After an out-of-memory error the chunk
            is halved (down to one level, or one sample) and the work done again.

        Raises:
            Whatever the model raises; an out-of-memory error only when the smallest chunk does not fit.
        """
        self.rounds += 1
        levels, batch = x.shape[:2]
        self._prepare(x)
        # sigma-major: all samples of the first level, then of the second; per-sample conditioning tiles so.
        flat, flat_sigma = x.flatten(0, 1), sigma.flatten().to(x)
        unit = 1 if self.split_rows else batch
        chunk = batch if self.obstacle else levels * batch
        if self.max_batch is not None:
            chunk = max(unit, min(chunk, self.max_batch // unit * unit))
        outputs: list[Tensor] = []
        start = 0
        while start < levels * batch:
            # With an obstacle, a call must not reach into the next level.
            stop = min(start + chunk, levels * batch, (start // batch + 1) * batch if self.obstacle else levels * batch)
            try:
                outputs.append(self._call(flat, flat_sigma, start, stop, batch))
            except Exception as error:
                if not is_out_of_memory(error) or stop - start <= unit:
                    raise
                chunk = max(unit, (stop - start) // 2 // unit * unit)
                self.max_batch = chunk
                log.info("out of memory: going on with %d samples in one model call", chunk)
            else:
                start = stop
                continue
            release_memory()  # out of the except block, which would keep the failed call's tensors alive
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).reshape(x.shape)

    def _prepare(self, x: Tensor) -> None:
        """What depends on the batch size, once; and how much fits, once there is a choice."""
        levels, batch = x.shape[:2]
        if batch != self._batch:
            self._batch = batch
            self.obstacle = batching_obstacle(self.model, self.extra_args, batch)
            self._args = self.extra_args
            if self.obstacle is None and not self.split_rows:
                self._args = spread_args(self.model, self.extra_args, batch) or self.extra_args
            self.spread = self._args is not self.extra_args
        if levels > 1 and not self._asked:
            self._asked = True
            if self.obstacle is None and not self.spread:
                fitting = samples_that_fit(self.model, x[0])
                if fitting is not None:
                    self.max_batch = fitting if self.max_batch is None else min(self.max_batch, fitting)

    def _call(self, x: Tensor, sigma: Tensor, start: int, stop: int, batch: int) -> Tensor:
        args = self._args
        if (start, stop) != (0, batch):
            rows = torch.arange(start, stop, device=x.device) % batch
            args = {k: _take(v, rows, batch) for k, v in args.items()}
        out: Tensor = self.model(x[start:stop], sigma[start:stop], **args)
        self.calls += 1
        self.evaluations += stop - start
        if self.watch is not None:
            self.watch.note(sigma[start:stop], out)
        return out


def _take(value: Any, rows: Tensor, batch: int) -> Any:
    """Rows of a per-sample tensor argument; everything else as it is."""
    if isinstance(value, Tensor) and value.ndim >= 1 and value.shape[0] == batch:
        return value[rows.to(value.device)]
    return value
