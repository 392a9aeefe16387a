"""How far a missed target is out of reach: `make bench-reach`. Writes docs/data/reach.json; then `make results`.

For every target on a tiny checkpoint that the refined method missed (docs/data/schedules.json): a local search that,
unlike any fit, sees the very trajectories it is judged on, and no budget. Where it too stays above the limit, no fit
that works from the same starts will meet it. A local search can miss a better grid elsewhere: this is evidence, not a
proof.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests", Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import records  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from restart_art.samplers.noise_process import NoiseProcess  # noqa: E402
from restart_art.schedules.art.search import LOWEST_START  # noqa: E402
from restart_art.schedules.art.tau import TauAxis, discrete_levels  # noqa: E402

from schedule_cases import HELD_OUT_SEED, TINY, Setting, host_grids, make  # noqa: E402
from schedule_fits import ALONE, REFINED  # noqa: E402
from schedule_floor import descend, through_network  # noqa: E402
from schedule_targets import best_stock, tiny_limits, to_best  # noqa: E402

ITERATIONS, RATE = 60, 0.05  # of the descent, where the model does not round sigma
STEP, SMALLEST, GAIN = 0.3, 0.02, 0.002  # in tau: first move of a node, last; a sweep that gains less halves the move


def missed(cases: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str, float]]:
    """(case, steps, limit) of each limit on a tiny checkpoint that no refined schedule met, of three steps or one."""
    return [
        (case, steps, limit)
        for case in cases
        if case["problem"] in TINY
        for steps, limit in tiny_limits(case).items()
        if measured(case, steps) > limit
    ]


def measured(case: Mapping[str, Any], steps: str) -> float:
    """The least ratio to the best stock schedule that a refined fit came to."""
    return min(to_best(case, method, steps) for method in (REFINED, ALONE) if steps in case["learned"].get(method, {}))


def coordinate_search(
    error: Callable[[Tensor], float], start: Tensor, axis: TauAxis, step: float = STEP
) -> tuple[Tensor, float]:
    """Move one node at a time in tau, by less and less, while the error falls.

    error: (steps,) descending sigmas -> mean end error. start: (steps,). Where the model knows only certain levels
    (axis.levels), nodes are on them. Returns the best grid and its error.
    """
    best = axis.snapped(start.double())
    least = error(best)
    while step >= SMALLEST:
        before = least
        for i in range(len(best)):
            for move in (step, -step):
                taus = axis.taus(best).clone()
                top = axis.tau(LOWEST_START * axis.sigma_max)
                taus[i] = (taus[i] + move).clamp(axis.low if i else top, axis.high)
                if not bool((taus.diff() < -1e-3).all()):
                    continue
                grid = axis.snapped(axis.sigmas(taus).clamp(axis.sigma_min, axis.sigma_max))
                found = error(grid)
                if found < least:
                    best, least = grid, found
                    break
        if least >= before * (1 - GAIN):
            step /= 2
    return best, least


def reach(name: str, solver: str, steps: int, refined: Sequence[float], host: Mapping[str, Any]) -> dict[str, Any]:
    """The least error over the best stock schedule's that was found, from the refined and the best stock grid."""
    torch.set_num_threads(1)
    began = time.process_time()
    setting = make(name, host)
    stock = {k: setting.error(solver, q[steps]) for k, q in setting.stock.items() if k != "uniform" and steps in q}
    least = min(stock.values())
    equal = {k: v for k, v in stock.items() if len(setting.stock[k][steps]) == steps + 1}
    best = min(equal, key=lambda k: equal[k])
    starts = {REFINED: torch.tensor(refined), best: setting.stock[best][steps]}
    tries = 0

    def error(sigmas: Tensor) -> float:
        nonlocal tries
        tries += 1
        return setting.error(solver, closed(sigmas))

    axis = axis_of(setting)
    found = {}
    for label, grid in starts.items():
        sigmas = grid[:-1].double()
        if axis.levels is None:
            through = through_network(setting.model, solver, setting.held_noise, setting.ends, setting.held_args)
            sigmas = descend(through, sigmas[None], setting.low, setting.high, ITERATIONS, RATE).sigmas[:-1].double()
        found[label] = coordinate_search(error, sigmas, axis)[1] / least
    return {
        "problem": name, "solver": solver, "steps": steps, "found": {k: round(v, 4) for k, v in found.items()},
        "runs": tries, "cpu_seconds": round(time.process_time() - began),
    }  # fmt: skip


def axis_of(setting: Setting) -> TauAxis:
    """The axis of a setting's model, with the levels it rounds to, if it does."""
    model = setting.model
    return TauAxis.of(NoiseProcess.of(model), setting.low, setting.high, discrete_levels(model))


def closed(sigmas: Tensor) -> Tensor:
    """A grid as a schedule holds it: single precision, and the 0."""
    return torch.cat([sigmas.float(), torch.zeros(1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="worker processes, one torch thread each")
    options = parser.parse_args()
    began = time.monotonic()
    version, host = host_grids()
    wanted = missed(records.load("schedules")["cases"])
    rows = []
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(reach, case["problem"], case["solver"], int(steps), case["grids"][steps], host)
            for case, steps, _ in wanted
        ]
        for (case, steps, limit), job in zip(wanted, jobs, strict=True):
            row = {**job.result(), "limit": limit, "refined": measured(case, steps)}
            rows.append({**row, "stock": best_stock(case, steps)[0]})
            print(f"{time.monotonic() - began:6.0f} s  {rows[-1]}", flush=True)
    head = records.about("make bench-reach", {"held out": [HELD_OUT_SEED]}, [version] if version else [])
    records.keep("reach", {"about": {**head, "seconds": round(time.monotonic() - began)}, "rows": rows})


if __name__ == "__main__":
    main()
