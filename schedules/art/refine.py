"""Refinement by a secant surrogate: search on the stand-in, run its best grid for real, learn from that run, again.

Ours (methods, section 5). The surrogate (surrogate.py) predicts end errors without model calls; what it proposes is
always run with the real solver, and only measured grids are returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...samplers.solvers import CALLS_PER_STEP
from ..stock import Schedule
from .bench import Bench, Run
from .search import GridSearch
from .trajectories import run_cost

SEEDS = 3  # stock grids run before the search: an even one in tau, then those predicted best. Calls a step divide it:
# a run of Heun costs and teaches twice as much, and the runs saved are worth more to the search.
FIRST, LATER = 130, 60  # Adam steps of a step count's first search and of the following ones
SCREENED, KEPT = 10, 5  # starts that get a third of them, and those that get the rest
NEW = 0.02  # a grid is new if a node lies farther than this in tau from every measured one's
PATIENCE = 5  # proposals in a row without a gain of GAIN, after which a step count is done
GAIN = 0.005


@dataclass
class Refinement:
    """A refinement under way at some step counts.

    rivals: {steps: {name: sigmas ending in 0}} stock grids with that many steps. budget: evaluations the runs may
    spend in all. by_density: the direct method's schedules (direct.py), steps -> sigmas ending in 0: the best
    predicted is run too, and all are starts of the search. on_run: called after every run with its step count.
    """

    bench: Bench
    solver: str
    rivals: Mapping[int, Mapping[str, Tensor]]
    budget: int
    free_start: bool = True
    by_density: Mapping[str, Schedule] = field(default_factory=dict)
    on_run: Callable[[int], None] = lambda _: None
    pools: dict[int, Tensor] = field(default_factory=dict)
    idle: dict[int, int] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.search = GridSearch(self.bench.axis, self.free_start)

    def refine(self) -> dict[int, Run]:
        """Seed and search until the budget or the patience is spent: the best measured run of each step count."""
        for name_count in range(max(1, SEEDS // CALLS_PER_STEP.get(self.solver, 2))):
            for steps in self.rivals:
                self._seed(steps, even=name_count == 0)
        for steps in self.rivals:
            self._seed_density(steps)
        while any([self._advance(steps) for steps in self.rivals]):  # noqa: C419 every step count gets its turn
            pass
        return {steps: self.bench.best(self.solver, steps) for steps in self.rivals if self._measured(steps)}

    def _affordable(self, steps: int) -> bool:
        return run_cost(self.solver, steps, len(self.bench.rows)) <= self.budget

    def _measured(self, steps: int) -> list[Run]:
        return [r for r in self.bench.runs if r.solver == self.solver and r.steps == steps]

    def _run(self, steps: int, sigmas: Tensor, name: str = "", predicted: float | None = None) -> None:
        run = self.bench.run(self.solver, sigmas, name)
        self.budget -= run_cost(self.solver, steps, len(self.bench.rows))
        if predicted is not None:
            self.history.append({"steps": steps, "predicted": predicted, "measured": run.mean})
        self.on_run(steps)

    def _seed(self, steps: int, even: bool) -> None:
        """Run a stock grid: the one most even in tau first, as it meets every level; then the predicted best."""
        known = {r.name for r in self._measured(steps)}
        left = {name: grid for name, grid in self.rivals[steps].items() if name not in known}
        if not self._affordable(steps):
            return
        if even or not self.bench.runs:
            if left:
                name = min(left, key=lambda n: self._unevenness(left[n]))
                self._run(steps, left[name], name)
            else:
                self._run(steps, _closed(self.search.starts(steps, [])[0]))
        elif left:
            predicted = self.predict(steps, left)
            name = min(predicted, key=lambda n: predicted[n])
            self._run(steps, left[name], name, predicted[name])

    def _seed_density(self, steps: int) -> None:
        grids = {name: make(steps).double() for name, make in self.by_density.items()}
        if grids and self._affordable(steps):
            predicted = self.predict(steps, grids)
            name = min(predicted, key=lambda n: predicted[n])
            self._run(steps, grids[name], name, predicted[name])

    def _unevenness(self, grid: Tensor) -> float:
        axis = self.bench.axis
        taus = axis.taus(grid[:-1].double().clamp(axis.sigma_min, axis.sigma_max))
        even = torch.linspace(axis.high, axis.low, len(taus), dtype=torch.float64)
        return float((taus - even).abs().mean())

    def predict(self, steps: int, grids: Mapping[str, Tensor]) -> dict[str, float]:
        """Predicted mean end error of grids that end in 0, without a model call."""
        surrogate = self.bench.surrogate(self.solver, steps)
        with torch.inference_mode(False), torch.no_grad():
            return {
                n: float(surrogate.mean_error(self.solver, g.clone()[None, :-1].double())) for n, g in grids.items()
            }

    def _advance(self, steps: int) -> bool:
        """One search and one real run at a step count; False if it is done."""
        if not self._affordable(steps) or self.idle.get(steps, 0) >= PATIENCE or not self.bench.runs:
            return False
        with torch.inference_mode(False), torch.enable_grad():
            grids, predicted = self._propose(steps)
        self.pools[steps] = grids
        old = [r.sigmas[:-1] for r in self._measured(steps)]
        new = next((i for i, grid in enumerate(grids) if self._is_new(grid, old)), None)
        if new is None:
            self.idle[steps] = PATIENCE
            return False
        before = min((r.mean for r in self._measured(steps)), default=float("inf"))
        self._run(steps, _closed(grids[new]), predicted=float(predicted[new]))
        gained = self.bench.runs[-1].mean < before * (1 - GAIN)
        self.idle[steps] = 0 if gained else self.idle.get(steps, 0) + 1
        return True

    def _propose(self, steps: int) -> tuple[Tensor, Tensor]:
        """Grids that the surrogate predicts to be good, best first."""
        surrogate = self.bench.surrogate(self.solver, steps)
        # Single precision is enough for the search, and rapid; a fit in double precision stays in it, so that what
        # differs in the last digits (the size of a batch, say) does not grow into another schedule.
        precise = self.bench.field.noise.dtype == torch.float64
        dtype = torch.float64 if precise else torch.float32
        rapid = surrogate.to(dtype)
        others = [r.sigmas[:-1] for n in self.pools if n != steps for r in sorted(self._measured(n), key=_mean)[:1]]
        known = [*self.rivals[steps].values(), *(make(steps).double() for make in self.by_density.values())]
        starts = self.search.starts(steps, [*(g[:-1].clone() for g in known), *others])
        with torch.no_grad():
            order = rapid.mean_error(self.solver, starts.to(dtype)).argsort()
        iterations, fresh = FIRST, SCREENED
        if steps in self.pools:
            iterations, fresh = LATER, 2
            best = [r.sigmas[:-1].clone() for r in sorted(self._measured(steps), key=_mean)[:3]]
            lead = torch.cat([torch.stack(best), self.pools[steps][:KEPT]])
            starts = torch.cat([lead, starts[order[:fresh]]])
        else:
            starts = starts[order[:fresh]]
        grids, _ = self.search.improve(rapid, self.solver, starts, iterations // 3)
        grids, _ = self.search.improve(rapid, self.solver, self._distinct(grids)[:KEPT], iterations - iterations // 3)
        grids = torch.stack([self.bench.axis.snapped(grid) for grid in grids])
        with torch.no_grad():
            predicted = surrogate.mean_error(self.solver, grids)
        order = predicted.argsort()
        return grids[order], predicted[order]

    def _distinct(self, grids: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for grid in grids:
            if self._is_new(grid, kept):
                kept.append(grid)
        return torch.stack(kept)

    def _is_new(self, grid: Tensor, old: Sequence[Tensor]) -> bool:
        axis = self.bench.axis
        return all(bool((axis.taus(grid) - axis.taus(o)).abs().max() > NEW) for o in old)


def _mean(run: Run) -> float:
    return run.mean


def _closed(grid: Tensor) -> Tensor:
    """float32 values, as a schedule holds them, and the 0."""
    return torch.cat([grid.detach().float(), torch.zeros(1)]).double()
