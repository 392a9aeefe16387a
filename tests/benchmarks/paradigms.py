"""ParaDiGMS (Shih, Belkhale, Ermon, Sadigh, Anari 2023, arXiv 2305.16317, Algorithm 1) for the DDIM / Euler ODE.

The peer of the parallel midpoint: Picard iteration over a sliding window of the steps of a sequential grid. All
levels of a window are evaluated in one round; every state is moved to the window's first state plus the sum of the
increments in between; the window then slides over the states that have stopped moving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class ParallelRun:
    """end: (B, ...) at sigmas[-1]. rounds, evaluations: (B,) of each trajectory, as if it were sampled alone."""

    end: Tensor
    rounds: Tensor
    evaluations: Tensor


def step_variances(sigmas: Sequence[float], flow: bool) -> list[float]:
    """Variance of the noise that ancestral sampling adds in each step, the paper's scale of the tolerance.

    VE: q^2 (s^2 - q^2) / s^2 for a step s -> q. A flow model's sigmas are mapped to VE and back. 0 for a step to 0.
    """
    found = []
    for s, q in pairwise(sigmas):
        shrink = 1 - q if flow else 1.0
        ratio = (q * (1 - s)) / (s * (1 - q)) if flow else q / s
        level = q / (1 - q) if flow else q
        found.append((shrink * level) ** 2 * (1 - ratio**2))
    return found


@torch.no_grad()
def paradigms(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Sequence[float],
    *,
    window: int,
    tolerance: float,
    flow: bool = False,
    extra_args: dict[str, Any] | None = None,
) -> ParallelRun:
    """Sample each row of x (B, ...) from sigmas[0] to sigmas[-1].

    A state has stopped when its mean squared change is at most tolerance^2 times the variance of the step to it; the
    window then starts at the first state that has not (it is final: its predecessor had stopped). Every
    trajectory has a window of its own, which is to the method's advantage: none waits for another. Increments are
    those of the ODE dx/dsigma = (x - D) / sigma, so that tolerance 0 is DDIM's own result.

    extra_args: tensors of B rows belong to the trajectories.
    """
    steps, rows = len(sigmas) - 1, len(x)
    wide = [1] * (x.ndim - 1)
    level = torch.tensor(list(sigmas), dtype=x.dtype)
    limit = tolerance**2 * torch.tensor(step_variances(sigmas, flow), dtype=x.dtype)
    state = x[:, None].repeat(1, steps + 1, *wide)
    begin, rounds, evaluations = (torch.zeros(rows, dtype=torch.int64) for _ in range(3))
    while bool((begin < steps).any()):
        # The steps of all live windows, row by row.
        row, offset = torch.nonzero(
            (begin[:, None] + torch.arange(window)[None] < steps) & (begin < steps)[:, None], as_tuple=True
        )
        step = begin[row] + offset
        args = {k: v[row] if isinstance(v, Tensor) and len(v) == rows else v for k, v in (extra_args or {}).items()}
        at = state[row, step]
        increment = at - model(at, level[step], **args)
        increment *= ((level[step + 1] - level[step]) / level[step]).reshape(-1, *wide)
        for r in torch.unique(row).tolist():
            mine = step[row == r]
            first, count = int(mine[0]), len(mine)
            moved = state[r, first] + increment[row == r].cumsum(0)
            change = (moved - state[r, first + 1 : first + count + 1]).flatten(1).square().mean(1)
            still = (change <= limit[mine]).tolist()
            stride = min(count, 1 + (still.index(False) if False in still else count))
            state[r, first + 1 : first + count + 1] = moved
            state[r, first + count + 1 :] = moved[-1]  # states that enter the window start from its last one
            begin[r] += stride
            rounds[r] += 1
            evaluations[r] += count
    return ParallelRun(state[:, -1], rounds, evaluations)
