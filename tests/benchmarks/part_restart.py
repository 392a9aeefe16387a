"""Part (a): Restart against Heun's ODE and churned SDE where the denoiser, not the step size, limits quality."""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import Any

import torch

from restart_art.samplers import sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.solvers import resolve_solver

from distances import energy_distance, mean_distance
from exact import grid_5x5, start
from perturbed import PerturbedDenoiser
from samplers_report import Section, Target

AMPLITUDE, LENGTH = 0.3, 0.4
CASES = {  # lower end of the levels at which the denoiser errs; 0: every level below 1
    "error at .3 .. 1": 0.3,
    "error at .2 .. 1": 0.2,
    "error at 0 .. 1": 0.0,
}
SEEDS = (0, 1, 2, 3)  # of the perturbation
TUNING_SEED = 99
NOISE_SEEDS = (10, 11, 12)
SAMPLES, REFERENCE = 2500, 8000
CHURNS = (5.0, 15.0, 30.0)  # S_churn of EDM's stochastic sampler, at S_tmin .01, S_tmax 1, S_noise 1
PUBLISHED = (3, 10, 0.06, 0.30)  # with 18 Karras steps 75 calls: CIFAR-10 of Xu et al. 2023
SEGMENTS = (PUBLISHED, (3, 10, 0.06, 0.20), (3, 10, 0.1, 0.4), (3, 10, 0.2, 1.0), (5, 5, 0.3, 1.5))
EXACT = "exact denoiser"
CASES[EXACT] = 0.0
LIMIT = 0.35
METHODS = ("ODE 19", "SDE 19", "ODE 75", "SDE 75", "Restart 75, published", "Restart 75, tuned")

TEXT = [
    f"Energy distance from a 5 x 5 grid of Gaussians (2-D, mode spacing .71, mode width .05), in thousandths, "
    f"{SAMPLES} samples; ± its standard error over {len(NOISE_SEEDS)} noise seeds, ± over {len(SEEDS)} perturbation "
    "seeds. It is unbiased, so a perfect sampler scatters around 0. Karras grid from 80 to .002; all calls counted.",
    f"The denoiser is exact but for a smooth bounded error below sigma 1: {AMPLITUDE:g} sigma times the gradient of a "
    f"random smooth function (length {LENGTH:g}, root mean square 1), fixed by its seed. The cases differ in the "
    "levels that have the error: bumps over log sigma between .3 and 1 or .2 and 1, and every level below 1.",
    "**How the cases were found.** Nine perturbations with an error at every level were tried first (fields of a fixed "
    "length or one that follows sigma, gradients or not; strength by sigma, its square or the posterior's spread): "
    "Restart was better in none. The bumps were added to see where its claim holds, so a target met there is a "
    "condition found, not a promise kept blindly. Read the cases together: Restart removes errors made *above* its "
    "segment (its new noise forgets them) and repeats, K times, those made inside it.",
    "SDE is Heun with EDM's churn between sigma .01 and 1. Its S_churn and the tuned Restart segment are the best of "
    f"{len(CHURNS)} and {len(SEGMENTS)} at 75 calls on a perturbation seed that is not reported. Published Restart: 18 "
    "steps and [3, 10, .06, .30] (Xu et al. 2023).",
]


def edm(steps: int) -> torch.Tensor:
    return torch.tensor([*karras_ramp(steps, 80.0, 0.002), 0.0], dtype=torch.float64)


class Bench:
    """Runs a sampler on one perturbed denoiser: energy distance from the exact mixture."""

    def __init__(self, low: float, seed: int, amplitude: float = AMPLITUDE):
        self.exact = grid_5x5()
        self.model = PerturbedDenoiser(self.exact, 2, seed, amplitude=amplitude, length=LENGTH, low=low)
        self.real = self.exact.sample(REFERENCE, torch.Generator().manual_seed(77))
        self.within = mean_distance(self.real)

    def heun(self, steps: int, seed: int, churn: float = 0.0) -> float:
        torch.manual_seed(seed)  # the host's churn draws from the global generator
        sampler, x = resolve_solver("heun"), start(self.exact, SAMPLES, 80.0, seed)
        x = sampler(self.model, x, edm(steps), disable=True, s_churn=churn, s_tmin=0.01, s_tmax=1.0)
        return energy_distance(x, self.real, self.within)

    def restart(self, segment: tuple[float, ...], seed: int) -> float:
        x = start(self.exact, SAMPLES, 80.0, seed)
        x = sample_restart(self.model, x, edm(18), {"seed": seed}, disable=True, segments=[segment], solver="heun")
        return energy_distance(x, self.real, self.within)


def tune(case: str) -> dict[str, Any]:
    """The best churn (at 75 calls) and Restart segment on a perturbation that is not reported."""
    bench = Bench(CASES[case], TUNING_SEED)
    churns = {c: mean(bench.heun(38, s, c) for s in NOISE_SEEDS[:2]) for c in CHURNS}
    segments = {g: mean(bench.restart(g, s) for s in NOISE_SEEDS[:2]) for g in SEGMENTS}
    return {"churn": min(churns, key=churns.__getitem__), "segment": min(segments, key=segments.__getitem__)}


def measure(case: str) -> dict[str, Any]:
    """Energy distances of every method: name -> a list over perturbations of lists over noise seeds."""
    exact = case == EXACT
    chosen = {"churn": CHURNS[1], "segment": PUBLISHED} if exact else tune(case)
    found: dict[str, list[list[float]]] = {name: [] for name in METHODS}
    for seed in SEEDS[:1] if exact else SEEDS:
        bench = Bench(CASES[case], seed, 0.0 if exact else AMPLITUDE)
        runs = {
            "ODE 19": lambda noise, b=bench: b.heun(10, noise),
            "SDE 19": lambda noise, b=bench: b.heun(10, noise, chosen["churn"]),
            "ODE 75": lambda noise, b=bench: b.heun(38, noise),
            "SDE 75": lambda noise, b=bench: b.heun(38, noise, chosen["churn"]),
            "Restart 75, published": lambda noise, b=bench: b.restart(PUBLISHED, noise),
            "Restart 75, tuned": lambda noise, b=bench: b.restart(chosen["segment"], noise),
        }
        for name, run in runs.items():
            bench.model.calls = 0
            found[name].append([run(noise) for noise in NOISE_SEEDS])
            if bench.model.calls != int(name.split()[1].rstrip(",")) * len(NOISE_SEEDS):
                raise RuntimeError(f"{name} made {bench.model.calls} model calls in {len(NOISE_SEEDS)} runs")
    return {"case": case, "distances": found, **chosen}


def centre(values: list[list[float]]) -> tuple[float, float, float]:
    """Mean, its standard error over noise seeds, and over perturbation seeds (nan for one)."""
    means = [mean(row) for row in values]
    within = mean(stdev(row) ** 2 for row in values) / (len(values) * len(values[0]))
    return mean(means), math.sqrt(within), stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan


def section(results: list[dict[str, Any]]) -> Section:
    """The table, the targets and the numbers of the plot."""
    rows, targets, bars = [], [], {}
    for result in results:
        middle = {name: centre(values) for name, values in result["distances"].items()}
        case = result["case"]
        bars[case] = {name: list(values) for name, values in middle.items()}
        rows.append([case, *(_cell(*middle[name]) for name in METHODS)])
        if case == EXACT:
            continue
        value = {name: max(middle[name][0], 1e-6) for name in METHODS}
        best = min(value["ODE 75"], value["SDE 75"])
        targets += [
            Target(f"{case}: 19 calls, ODE / SDE", value["ODE 19"] / value["SDE 19"], 1.0),
            Target(f"{case}: 75 calls, SDE / ODE", value["SDE 75"] / value["ODE 75"], 1.0),
            Target(f"{case}: 75 calls, tuned Restart / best of ODE and SDE", value[METHODS[5]] / best, LIMIT),
            Target(f"{case}: 75 calls, published Restart / best of ODE and SDE", value[METHODS[4]] / best),
        ]
    chosen = "; ".join(
        f"{r['case']}: S_churn {r['churn']:g}, [{', '.join(f'{v:g}' for v in r['segment'])}]"
        for r in results
        if r["case"] != EXACT
    )
    return Section(
        "(a) Restart where the denoiser is not perfect",
        [*TEXT, f"Chosen on perturbation seed {TUNING_SEED}: {chosen}."],
        ["case", *METHODS], rows, targets, {"bars": bars},
    )  # fmt: skip


def _cell(value: float, noise: float, perturbation: float) -> str:
    spread = "" if math.isnan(perturbation) else f" ± {1000 * perturbation:.2f}"
    return f"{1000 * value:.2f} ± {1000 * noise:.2f}{spread}"
