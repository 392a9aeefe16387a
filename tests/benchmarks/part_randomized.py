"""Part (b): randomized midpoint on a learned grid against DPM++ 2M on the exponential and Heun on the Karras grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import mean, stdev
from typing import Any

from torch import Tensor

from restart_art.samplers import sample_randomized_midpoint
from restart_art.samplers.solvers import resolve_solver
from restart_art.schedules import fit_schedule, stock_schedules

from distances import sliced_wasserstein2
from exact import Mixture, grid_5x5, mixture_16d, start
from samplers_report import Section, Target

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0  # EDM's range
CALLS = (9, 11, 15)
SAMPLES = 2000
NOISE_SEEDS = (20, 21, 22)
FIT_SEED, FIT_ROWS = 0, 24
FIT_SOLVERS = {"grid for Heun": "heun", "grid for DPM++ 2M": "dpmpp_2m"}
REFERENCE_STEPS = 200
PROBLEMS: dict[str, Callable[[], Mixture]] = {
    "2-D, 25 modes of width .05": grid_5x5,
    "16-D, 10 modes of width .3": lambda: mixture_16d(0.3),
    "16-D, 10 modes of width .1": lambda: mixture_16d(0.1),
}
OURS = "randomized midpoint, grid for Heun"
RIVAL, HEUN = "DPM++ 2M, exponential", "Heun, Karras"
GRID_RIVAL = "DPM++ 2M, grid for DPM++ 2M"
LIMIT, HEUN_LIMIT = 0.65, 0.15
PROMISED_CALLS = (9, 11)  # in 16 dimensions


def grids(model: Mixture) -> tuple[dict[str, Callable[[int], Tensor]], dict[str, int]]:
    """Grids by name, steps -> sigmas, and what each learned one cost in model evaluations.

    The learned grids are fitted for every step count that a sampler here uses. No stock grid takes part in the fit's
    pilot but karras and exponential, its defaults.
    """
    found = dict(stock_schedules(None, SIGMA_MIN, SIGMA_MAX))
    cost = {}
    noise = start(model, FIT_ROWS, 1.0, FIT_SEED)
    half, whole = [(c + 1) // 2 for c in CALLS], list(CALLS)
    for name, solver in FIT_SOLVERS.items():
        counts = half if solver == "heun" else whole
        fitted = fit_schedule(
            model, noise, sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, solver=solver, steps=counts, seed=FIT_SEED
        )
        found[name] = fitted.sigmas
        cost[name] = fitted.report["model_evaluations"] + fitted.report["pilot_evaluations"]
    return found, cost


def runs(found: dict[str, Callable[[int], Tensor]]) -> dict[str, Callable[..., Tensor]]:
    """Every sampler and grid as (model, x, calls, seed) -> end."""
    heun, multistep = resolve_solver("heun"), resolve_solver("dpmpp_2m")

    def host(solver: Callable[..., Tensor], grid: str) -> Callable[..., Tensor]:
        per_step = 2 if solver is heun else 1

        def run(model: Mixture, x: Tensor, calls: int, seed: int) -> Tensor:
            sigmas = found[grid]((calls + per_step - 1) // per_step).double()
            return solver(model, x * sigmas[0], sigmas, disable=True)

        return run

    def ours(grid: str) -> Callable[..., Tensor]:
        def run(model: Mixture, x: Tensor, calls: int, seed: int) -> Tensor:
            sigmas = found[grid]((calls + 1) // 2).double()
            return sample_randomized_midpoint(model, x * sigmas[0], sigmas, {"seed": seed}, disable=True)

        return run

    return {
        OURS: ours("grid for Heun"),
        "randomized midpoint, Karras": ours("karras"),
        RIVAL: host(multistep, "exponential"),
        "DPM++ 2M, Karras": host(multistep, "karras"),
        GRID_RIVAL: host(multistep, "grid for DPM++ 2M"),
        HEUN: host(heun, "karras"),
        "Heun, grid for Heun": host(heun, "grid for Heun"),
    }


def measure(problem: str) -> dict[str, Any]:
    """Distances: sampler -> calls -> a list over noise seeds."""
    model = PROBLEMS[problem]()
    found, cost = grids(model)
    fine = stock_schedules(None, SIGMA_MIN, SIGMA_MAX)["karras"](REFERENCE_STEPS).double()
    methods = runs(found)
    distances: dict[str, dict[int, list[float]]] = {name: {c: [] for c in CALLS} for name in methods}
    for seed in NOISE_SEEDS:
        x = start(model, SAMPLES, 1.0, seed)
        exact = resolve_solver("heun")(model, x * SIGMA_MAX, fine, disable=True)
        for name, run in methods.items():
            for calls in CALLS:
                model.calls = 0
                end = run(model, x, calls, seed)
                if model.calls != calls:
                    raise RuntimeError(f"{name} made {model.calls} calls, not {calls}")
                distances[name][calls].append(sliced_wasserstein2(end, exact))
    return {"problem": problem, "distances": distances, "cost": cost}


def section(results: list[dict[str, Any]]) -> Section:
    """The table, the targets and the numbers of the plot."""
    rows, targets, lines = [], [], {}
    for result in results:
        problem, middle = result["problem"], {}
        for name, row in result["distances"].items():
            middle[name] = {int(c): mean(values) for c, values in row.items()}
            cells = [
                f"{1000 * mean(values):.2f} ± {1000 * stdev(values) / math.sqrt(len(values)):.2f}"
                for values in row.values()
            ]
            rows.append([problem, name, *cells])
        lines[problem] = middle
        for calls in CALLS:
            for peer, limit in ((RIVAL, LIMIT), (HEUN, HEUN_LIMIT), (GRID_RIVAL, None)):
                promised = problem.startswith("16-D") and calls in PROMISED_CALLS
                ratio = middle[OURS][calls] / middle[peer][calls]
                targets.append(Target(f"{problem}: {calls} calls, against {peer}", ratio, limit if promised else None))
    costs = "; ".join(f"{r['problem']}: " + ", ".join(f"{v:,} ({k})" for k, v in r["cost"].items()) for r in results)
    text = [*TEXT, f"Model evaluations spent on the fits, pilot included, once for all three budgets: {costs}."]
    columns = ["problem", "sampler and grid", *(f"{c} calls" for c in CALLS)]
    return Section("(b) Randomized midpoint at few calls", text, columns, rows, targets, {"lines": lines})


TEXT = [
    f"Sliced Wasserstein-2 distance (128 directions) in thousandths, {SAMPLES} samples, ± standard error over "
    f"{len(NOISE_SEEDS)} noise seeds; EDM's range, sigma 80 to .002. The yardstick is the model's own flow of the same "
    f"starting noise, solved with {REFERENCE_STEPS} Heun steps, so that the distance between two finite samples does "
    "not hide the samplers' own errors.",
    f'Learned grids come from `fit_schedule` ({FIT_ROWS} other starting points): "grid for Heun" with '
    '`solver="heun"`, used for the randomized midpoint, which also makes two calls a step; "grid for DPM++ 2M" with '
    '`solver="dpmpp_2m"`. The randomized midpoint has its default settings.',
    "The targets are for the 16-D mixtures at 9 and 11 calls; other ratios are told beside them. Where DPM++ 2M on the "
    "grid learned for it is level or better, the gain is the grid's more than the random midpoint's.",
]
