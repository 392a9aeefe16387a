"""How far a missed target is out of reach: `make bench-reach`. Writes docs/data/reach.json; then `make results`.

For every target on a tiny checkpoint that the refined method missed (docs/data/schedules.json): a search by evolution
(CMA-ES) that, unlike any fit, sees the very trajectories it is judged on, and has hundreds of real runs on all of them.
Where it too stays above the limit, a fit can hardly meet it. A search can miss a better grid elsewhere: this is
evidence, not a proof.
"""

from __future__ import annotations

import argparse
import math
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

import cma  # noqa: E402
import numpy as np  # noqa: E402
import records  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from restart_art.samplers.noise_process import NoiseProcess  # noqa: E402
from restart_art.schedules.art.search import GridSearch  # noqa: E402
from restart_art.schedules.art.tau import TauAxis, discrete_levels  # noqa: E402

from schedule_cases import HELD_OUT_SEED, TINY, Setting, host_grids, make  # noqa: E402
from schedule_fits import ALONE, REFINED  # noqa: E402
from schedule_targets import best_stock, tiny_limits, to_best  # noqa: E402

TRIES = 400  # real runs of the search from each start
SPREAD, PROPOSALS = 0.25, 10  # of CMA-ES: first standard deviation of a log gap, grids a generation
CONVERGED = 1e-3  # in log error: the search from a start ends when its generations gain less
RANGE = 8.0  # a parameter is at most so far from 0


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


class Parameters:
    """Grids as free numbers: the depth of the first node below the top, and log gaps, in tau. Within the model's
    bounds, the first node no deeper than GridSearch lets it: the refined method's own search space."""

    def __init__(self, axis: TauAxis):
        self.axis = axis
        self.deepest = GridSearch(axis).deepest

    def of(self, sigmas: Tensor) -> np.ndarray:
        """(steps,) numbers of a descending grid (steps,)."""
        taus = self.axis.taus(sigmas.double().clamp(self.axis.sigma_min, self.axis.sigma_max))
        share = (self.axis.high - taus[:1]) / self.deepest
        return torch.cat([share, (taus[:-1] - taus[1:]).clamp_min(1e-3).log()]).numpy()

    def grid(self, numbers: np.ndarray) -> tuple[Tensor, float]:
        """(steps,) sigmas, on the model's levels where it knows only certain ones, and how far the numbers stray
        beyond the bounds, to which the grid is brought: a penalty, so that no direction of the search is flat."""
        free = torch.from_numpy(np.clip(numbers, -RANGE, RANGE))
        share = free[:1].clamp(0, 1)
        first = self.axis.high - self.deepest * share
        below = torch.cat([free.new_zeros(1), free[1:].exp().cumsum(0)])
        room = first - self.axis.low
        taus = first - below * (room / below[-1].clamp_min(1e-12)).clamp_max(1.0)
        stray = (free[:1] - share).abs() + (below[-1:] - room).clamp_min(0) + np.abs(numbers - free.numpy()).sum()
        grid = self.axis.snapped(self.axis.sigmas(taus).clamp(self.axis.sigma_min, self.axis.sigma_max))
        return grid, float(stray)


def evolve(error: Callable[[Tensor], float], start: Tensor, axis: TauAxis, tries: int = TRIES) -> tuple[Tensor, float]:
    """The best grid that CMA-ES (Hansen's, without gradients) meets from a start, and its error.

    error: (steps,) descending sigmas -> mean end error. start: (steps,), it counts too.
    """
    space = Parameters(axis)
    best = axis.snapped(start.double())
    least = error(best)
    options = {"seed": 1, "verbose": -9, "popsize": PROPOSALS, "maxfevals": tries, "tolfun": CONVERGED}
    search = cma.CMAEvolutionStrategy(space.of(best), SPREAD, options)
    while not search.stop():
        proposals = search.ask()
        values = []
        for numbers in proposals:
            grid, stray = space.grid(numbers)
            found = error(grid) if bool((grid.diff() < 0).all()) else math.inf
            values.append(stray + (math.log(max(found, 1e-300)) if found < math.inf else 1e3))
            if found < least:
                best, least = grid, found
        search.tell(proposals, values)
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
    found = {label: evolve(error, grid[:-1], axis)[1] / least for label, grid in starts.items()}
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
