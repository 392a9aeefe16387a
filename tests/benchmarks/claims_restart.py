"""Restart's claims that need runs of their own: contraction of an accumulated error, call counts, a trained network."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

import torch
from scipy.stats import t
from torch import Tensor

from restart_art.samplers import sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.restart_presets import PRESETS
from restart_art.samplers.solvers import resolve_solver
from restart_art.tiny import load_tiny
from restart_art.tiny.digits import digits

from distances import energy_distance, mean_distance
from exact import gaussian, grid_5x5

START, SHIFT = 5.0, 1.0  # the level at which the error is there already, and its size
STEPS, NODES = 24, 9
SEGMENT = (0.14, 0.7)  # our rule of thumb: t_max the spacing of the modes, t_min a fifth of it
REPEATS = (1, 2, 4, 8)
CHURNS = (5.0, 15.0, 30.0, 60.0)
SAMPLES, SEEDS = 1200, (40, 41, 42)
DIGIT_SAMPLES, DIGIT_SEEDS = 100, (50, 51, 52, 53)
DIGIT_SEGMENT = (3, 10, 0.06, 0.30)  # with 18 Karras steps 75 calls, as published for CIFAR-10


def descending(steps: int, high: float, low: float) -> Tensor:
    return torch.tensor([*karras_ramp(steps, high, low), 0.0], dtype=torch.float64)


def contraction() -> dict[str, Any]:
    """Energy distances, {calls: {method: [per seed]}}, from a start off by SHIFT in every coordinate at level START.

    The denoiser is exact, so the start's error is all there is; the ODE carries it to the end. Equal model calls:
    the ODE and the churned SDE (every S_churn between the levels of the segment) take more steps instead.
    """
    model = grid_5x5()
    real = model.sample(5000, torch.Generator().manual_seed(77))
    within = mean_distance(real)
    heun = resolve_solver("heun")
    found: dict[str, dict[str, list[float]]] = {}
    for k in REPEATS:
        segment = (NODES, k, *SEGMENT)
        row: dict[str, list[float]] = {}
        calls = 0
        for seed in SEEDS:
            generator = torch.Generator().manual_seed(seed)
            x = model.sample(SAMPLES, generator) + SHIFT
            x = x + START * torch.randn(x.shape, generator=generator, dtype=torch.float64)
            model.calls = 0
            grid = descending(STEPS, START, 0.002)
            end = sample_restart(model, x, grid, {"seed": seed}, disable=True, segments=[segment], solver="heun")
            calls = model.calls
            row.setdefault("Restart", []).append(energy_distance(end, real, within))
            grid = descending((calls + 1) // 2, START, 0.002)
            row.setdefault("ODE", []).append(energy_distance(heun(model, x, grid, disable=True), real, within))
            for churn in CHURNS:
                torch.manual_seed(seed)  # the host's churn draws from the global generator
                end = heun(model, x, grid, disable=True, s_churn=churn, s_tmin=SEGMENT[0], s_tmax=SEGMENT[1])
                row.setdefault(f"SDE {churn:g}", []).append(energy_distance(end, real, within))
        found[str(k)] = {"calls": [calls], **row}
    return {
        "segment": [NODES, *SEGMENT], "shift": SHIFT, "start": START,
        "repeats": {
            k: {
                "calls": row.pop("calls")[0],
                **{name: mean(values) for name, values in _best_churn(row).items()},
                "errors": {name: stdev(values) / len(SEEDS) ** 0.5 for name, values in _best_churn(row).items()},
            }
            for k, row in found.items()
        },
    }  # fmt: skip


def _best_churn(row: dict[str, list[float]]) -> dict[str, list[float]]:
    """Restart, the ODE, and the SDE with the churn that did best on these very seeds: the rival is not held back."""
    best = min((name for name in row if name.startswith("SDE")), key=lambda name: mean(row[name]))
    return {"Restart": row["Restart"], "ODE": row["ODE"], "SDE": row[best]}


def call_counts() -> dict[str, dict[str, int]]:
    """Model calls that the published settings really make here, beside the number in their name."""
    found = {}
    for name, preset in PRESETS.items():
        words = name.split()
        if words[-1] != "calls" or preset.steps is None:
            continue
        model = gaussian()
        x = torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 80
        grid = descending(preset.steps, 80.0, 0.002)
        sample_restart(model, x, grid, {"seed": 0}, disable=True, segments=name, solver="heun")
        found[name] = {"published": int(words[-2]), "made": model.calls}
    return found


def trained_network() -> dict[str, Any]:
    """The tiny eps checkpoint at 75 calls: energy distance of its digits from real ones, over pixels.

    Their classes are those of real pictures drawn at random.
    """
    network = load_tiny("eps")
    pictures, classes = digits()
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(7))
    real = pictures[order].flatten(1)
    within = mean_distance(real)
    sampling = network.model_sampling

    def model(x: Tensor, sigma: Tensor, seed: int | None = None, **kwargs: Any) -> Tensor:
        return network(x, sigma, **kwargs)

    low, high = float(sampling.sigma_min), float(sampling.sigma_max)

    def grid(steps: int) -> Tensor:
        return descending(steps, high, low).float()

    found: dict[str, list[float]] = {"ODE": [], "SDE": [], "Restart": []}
    for index, seed in enumerate(DIGIT_SEEDS):
        x = torch.randn(DIGIT_SAMPLES, *network.LATENT_SHAPE, generator=torch.Generator().manual_seed(seed)) * high
        part = order[index * DIGIT_SAMPLES : (index + 1) * DIGIT_SAMPLES]
        args: dict[str, Any] = {"classes": classes[part]}
        heun = resolve_solver("heun")
        torch.manual_seed(seed)
        ends = {
            "ODE": heun(model, x, grid(38), args, disable=True),
            "SDE": heun(model, x, grid(38), args, disable=True, s_churn=5.0, s_tmin=0.05, s_tmax=1.0),
            "Restart": sample_restart(
                model, x, grid(18), {**args, "seed": seed}, disable=True, segments=[DIGIT_SEGMENT], solver="heun"
            ),
        }
        for name, end in ends.items():
            found[name].append(energy_distance(network.decode(end).flatten(1), real, within))
    told = {"samples": DIGIT_SAMPLES * len(DIGIT_SEEDS), "calls": 75, **{name: mean(v) for name, v in found.items()}}
    for name in ("SDE", "Restart"):  # paired: the same noises and classes
        differences = [a - b for a, b in zip(found[name], found["ODE"], strict=True)]
        width = float(t.ppf(0.975, len(differences) - 1)) * stdev(differences) / len(differences) ** 0.5
        told[f"{name} less ODE"], told[f"{name} 95 %"] = mean(differences), width
    return told
