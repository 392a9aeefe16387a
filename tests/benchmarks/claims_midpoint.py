"""The randomized midpoint's claims that need runs of their own: growth with the dimension, rounds, against DDIM."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restart_art.samplers import sample_parallel_midpoint, sample_randomized_midpoint
from restart_art.samplers.solvers import resolve_solver
from restart_art.schedules import stock_schedules

from distances import sliced_wasserstein2
from exact import Mixture, grid_5x5, mixture_16d, start

DIMS = (1, 4, 16, 64, 256)
TOLERANCE = 0.1  # root mean square length of a sample's error vector
STEPS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
TOP, BOTTOM = 10.0, 0.1
ROWS = 24
SHAPES = ((4, 1), (4, 2), (16, 1), (16, 2))  # midpoints R, sweeps K
PAPER = {"measure": "ou", "spread": 1.0, "antithetic": False}  # the paper's draws
CALLS = (11, 21, 41)
SAMPLES, SEEDS = 1000, (60, 61)


class Product:
    """d independent copies of a 1-D mixture of two modes: its law's quantiles are those of one coordinate."""

    def __init__(self) -> None:
        weights = torch.tensor([0.0, 0.3])
        self.one = Mixture(torch.tensor([[-0.8], [0.7]]), 0.5, weights=weights)
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        self.calls += 1
        self.one.sigmas_seen.clear()
        return self.one(x.reshape(-1, 1), sigma.repeat_interleave(x.shape[1])).reshape(x.shape)

    def at(self, u: Tensor, sigma: float) -> Tensor:
        """Points of the law at a level with the cumulative probabilities u, by bisection: the exact flow."""
        std = math.hypot(self.one.scale, sigma)
        low, high = torch.full_like(u, -80.0), torch.full_like(u, 80.0)
        for _ in range(60):
            middle = (low + high) / 2
            z = (middle[..., None] - self.one.means[:, 0]) / std
            below = (self.one.log_weights.exp() * torch.special.ndtr(z)).sum(-1) < u
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return low


def levels(steps: int) -> Tensor:
    return torch.exp(torch.linspace(math.log(TOP), math.log(BOTTOM), steps + 1, dtype=torch.float64))


def slope(dims: tuple[int, ...], counts: list[float]) -> float:
    """The exponent a of count ~ d^a, least squares over all dimensions."""
    return float(np.polyfit(np.log(dims), np.log(counts), 1)[0])


def crossing(steps: list[int], errors: list[float]) -> float:
    """The step count at which the error falls to the tolerance, between two measured ones (log-log)."""
    for i in range(1, len(steps)):
        if errors[i] <= TOLERANCE < errors[i - 1]:
            share = math.log(errors[i - 1] / TOLERANCE) / math.log(errors[i - 1] / errors[i])
            return math.exp(math.log(steps[i - 1]) + share * math.log(steps[i] / steps[i - 1]))
    raise RuntimeError(f"no crossing of {TOLERANCE} in {errors}")


def dimensions() -> dict[str, Any]:
    """Steps to a fixed strong error of the whole vector, by dimension; and the fewest rounds of the parallel method."""
    model, euler = Product(), resolve_solver("euler")
    found: dict[str, list[float]] = {"Euler": [], "randomized midpoint": [], "parallel rounds": []}
    settings = []
    for d in DIMS:
        u = torch.rand(ROWS * (256 // d if d < 16 else 1), d, generator=torch.Generator().manual_seed(d)).double()
        u = u.clamp(1e-6, 1 - 1e-6)
        begin, exact = model.at(u, TOP), model.at(u, BOTTOM)

        def error(end: Tensor, exact: Tensor = exact) -> float:
            return float((end - exact).square().sum(1).mean().sqrt())

        solvers: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "Euler": lambda x, grid: euler(model, x, grid, disable=True),
            "randomized midpoint": lambda x, grid: sample_randomized_midpoint(
                model, x, grid, {"seed": 0}, disable=True, **PAPER
            ),
        }
        for name, run in solvers.items():
            tried, errors = [], []
            for n in STEPS:
                tried.append(n)
                errors.append(error(run(begin, levels(n))))
                if errors[-1] <= TOLERANCE and len(errors) > 1:
                    break
            found[name].append(crossing(tried, errors))
        best, setting = math.inf, ""
        for r, k in SHAPES:
            for n in range(2, 64):
                if (n * k) >= best:
                    break
                model.calls = 0
                end = sample_parallel_midpoint(
                    model, begin, levels(n), {"seed": 0}, disable=True, midpoints=r, sweeps=k, measure="inverse_sigma"
                )
                if error(end) <= TOLERANCE:
                    if model.calls < best:
                        best, setting = model.calls, f"R {r}, K {k}, {n} steps"
                    break
        found["parallel rounds"].append(best)
        settings.append(setting)
    return {
        "dims": list(DIMS), "tolerance": TOLERANCE, "steps": found, "settings": settings,
        "exponents": {name: slope(DIMS, counts) for name, counts in found.items()},
    }  # fmt: skip


def against_ddim() -> dict[str, Any]:
    """Sliced Wasserstein-2 distance from the fine flow's ends, {problem: {calls: {sampler: distance}}}; Karras grid."""
    euler, heun = resolve_solver("euler"), resolve_solver("heun")
    karras = stock_schedules(None, 0.002, 80.0)["karras"]
    found: dict[str, Any] = {}
    for name, model in (("2-D, 25 modes of width .05", grid_5x5()), ("16-D, 10 modes of width .3", mixture_16d())):
        rows: dict[str, dict[str, list[float]]] = {}
        for seed in SEEDS:
            x = start(model, SAMPLES, 80.0, seed)
            exact = heun(model, x, karras(150).double(), disable=True)
            for calls in CALLS:
                ends = {
                    "DDIM": euler(model, x, karras(calls).double(), disable=True),
                    "paper's draws": sample_randomized_midpoint(
                        model, x, karras((calls + 1) // 2).double(), {"seed": seed}, disable=True, **PAPER
                    ),
                    "our defaults": sample_randomized_midpoint(
                        model, x, karras((calls + 1) // 2).double(), {"seed": seed}, disable=True
                    ),
                }
                for method, end in ends.items():
                    row = rows.setdefault(str(calls), {})
                    row.setdefault(method, []).append(sliced_wasserstein2(end, exact))
        found[name] = {c: {method: mean(values) for method, values in row.items()} for c, row in rows.items()}
    return found
