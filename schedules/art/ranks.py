"""A fit over several processes: every rank evaluates its share of each batch; rank 0 does the learning.

Started by torchrun (or anything that calls torch.distributed.init_process_group), one process a device. All ranks
hold the model and call `fit_schedule(..., ranks=Ranks())` with the same arguments. Rank 0 runs the fit; the others
wait for work, evaluate, and hand back, so that only one process ever decides and no two can drift apart. In double
precision the schedule is the one process's to 1e-6; in single precision the size of a batch moves the last digits of
a network's answers, which a refined fit's search can carry into another, equally good grid. Per batch,
its states and the answers cross the wire once: 2 x samples x latent size x 4 bytes, beside a model call on each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ...samplers.evaluation import PairEvaluator
from .curve import ArtSchedule

STOP, WORK = 0, 1
GOOD, FAILED = 0, 1


class RankError(RuntimeError):
    """Another rank was lost or failed; the fit cannot go on."""


@dataclass(frozen=True)
class Job:
    """One batch: x (n, ...) states, sigma (n,), rows (n,) the trajectory each belongs to."""

    x: Tensor
    sigma: Tensor
    rows: Tensor


class Ranks:
    """The processes of one torch.distributed group. device: where its messages live (nccl: the rank's GPU)."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Raises RuntimeError if no process group has been initialised."""
        if not dist.is_initialized():
            raise RuntimeError("torch.distributed is not initialised; start with torchrun, then init_process_group")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device = torch.device(device)
        self.max_batch: int | None = None
        self.busy = False  # inside a batch: the others expect its rest, nothing else

    def evaluate(self, model: Any, extra_args: Mapping[str, Any], job: Job, count: int) -> Tensor:
        """Rank 0: the denoised answers (n, ...), each rank having evaluated its share. count: trajectories in all.

        Raises:
            RankError: a rank is gone, or its model raised.
        """
        self.busy = True
        try:
            self._header(WORK, job.x)
            found = self._share(model, extra_args, job, count)
            self.busy = False
            return found
        except RankError:
            raise
        except RuntimeError as error:
            if _is_lost(error):
                raise RankError(f"a rank of {self.size} was lost; nothing was written ({_first_line(error)})") from None
            raise

    def serve(self, model: Any, extra_args: Mapping[str, Any], like: Tensor, count: int) -> ArtSchedule:
        """Other ranks: evaluate until rank 0 has finished; then the schedule it found.

        like: a trajectory's starting noise (any batch), whose dtype and device the model gets.

        Raises:
            RankError: rank 0 is gone or gave up. Whatever the model raises, after rank 0 was told.
        """
        try:
            while True:
                header = torch.zeros(10, dtype=torch.int64, device=self.device)
                dist.broadcast(header, 0)
                kind, samples, dims = (int(v) for v in header[:3])
                if kind == STOP:
                    return self._last_word(samples)
                shape = [samples, *(int(v) for v in header[3 : 3 + dims])]
                blank = like.new_zeros(shape)
                job = Job(blank, like.new_zeros(samples), torch.zeros(samples, dtype=torch.int64))
                self._share(model, extra_args, job, count)
        except RankError:
            raise
        except RuntimeError as error:
            if _is_lost(error):
                raise RankError(f"rank 0 was lost; nothing was written ({_first_line(error)})") from None
            raise

    def finish(self, schedule: ArtSchedule) -> None:
        """Rank 0, at the end: hand the schedule to the others."""
        self._end(schedule.to_text().encode())

    def give_up(self) -> None:
        """Rank 0, when the fit failed or was cancelled: the others stop waiting, if they still listen."""
        if not self.busy:
            self._end(b"")

    def _end(self, data: bytes) -> None:
        header = torch.zeros(10, dtype=torch.int64, device=self.device)
        header[1] = len(data)
        dist.broadcast(header, 0)
        if data:
            dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device), 0)

    def _last_word(self, length: int) -> ArtSchedule:
        if not length:
            raise RankError("rank 0 gave up; its own message says why")
        data = torch.zeros(length, dtype=torch.uint8, device=self.device)
        dist.broadcast(data, 0)
        return ArtSchedule.from_text(bytes(data.cpu().numpy()).decode())

    def _header(self, kind: int, x: Tensor) -> None:
        shape = [*x.shape]
        header = torch.zeros(10, dtype=torch.int64)
        header[: 3 + len(shape) - 1] = torch.tensor([kind, shape[0], len(shape) - 1, *shape[1:]])
        dist.broadcast(header.to(self.device), 0)

    def _share(self, model: Any, extra_args: Mapping[str, Any], job: Job, count: int) -> Tensor:
        """What every rank does with a batch: get it, evaluate its contiguous part, gather all parts."""
        x, sigma, rows = (self._from_first(t) for t in (job.x, job.sigma, job.rows))
        samples = x.shape[0]
        part = -(-samples // self.size)
        mine = slice(min(self.rank * part, samples), min((self.rank + 1) * part, samples))
        own = torch.zeros(part, *x.shape[1:], dtype=x.dtype, device=self.device)
        problem: Exception | None = None
        if mine.start < mine.stop:
            try:
                found = self._evaluate(model, extra_args, x[mine].to(job.x), sigma[mine].to(job.x), rows[mine], count)
                own[: found.shape[0]] = found.to(own)
            except Exception as error:  # told to all before it is raised here, else they would wait for ever
                problem = error
        states = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.size)]
        dist.all_gather(states, torch.tensor([FAILED if problem else GOOD], device=self.device))
        if problem is not None:
            raise problem
        failed = [rank for rank, state in enumerate(states) if int(state) == FAILED]
        if failed:
            raise RankError(f"rank {failed[0]} of {self.size} failed; its own message says why. Nothing was written")
        parts = [torch.zeros_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts)[:samples].to(job.x)

    def _from_first(self, tensor: Tensor) -> Tensor:
        sent = tensor.to(self.device).contiguous()
        dist.broadcast(sent, 0)
        return sent

    def _evaluate(
        self, model: Any, extra_args: Mapping[str, Any], x: Tensor, sigma: Tensor, rows: Tensor, count: int
    ) -> Tensor:
        order = rows.cpu()
        args = {
            k: v[order.to(v.device)] if isinstance(v, Tensor) and v.ndim and v.shape[0] == count else v
            for k, v in extra_args.items()
        }
        evaluator = PairEvaluator(model, args, max_batch=self.max_batch, split_rows=True)
        out = evaluator.evaluate(x[None], sigma[None])[0]
        self.max_batch = evaluator.max_batch
        return out


def _is_lost(error: RuntimeError) -> bool:
    """Whether a torch.distributed call failed because a process at its other end is gone or silent."""
    text = str(error).lower()
    words = ("connection", "peer", "gloo", "nccl", "timed out", "timeout", "socket")
    return isinstance(error, dist.DistBackendError | dist.DistNetworkError) or any(word in text for word in words)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
