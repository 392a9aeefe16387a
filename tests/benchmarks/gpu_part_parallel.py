"""Part (d): seconds to the error of DDIM-100 and of Heun-50: parallel midpoint, sequential solvers, ParaDiGMS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gpu_live import Live
from gpu_peers import by_diffusers, by_ourselves, parallel_scheduler
from gpu_report import Result, Table, Target
from gpu_samplers import Run, timed
from gpu_specs import LIMITS, SPECS, Spec

HEADER = ["model", "method", "setting", "error", "seconds", "calls", "evaluations"]
PARALLEL, DIFFUSERS, OWN = "parallel midpoint", "ParaDiGMS (diffusers)", "ParaDiGMS (our own)"
SEQUENTIAL = ("euler", "heun", "dpmpp_2m")
SLACK = 1.05  # "the error of DDIM": at most this times it; ParaDiGMS iterates towards it and never quite gets there


@dataclass(frozen=True)
class Try:
    """One setting of one method that was run."""

    method: str
    setting: str
    error: float
    run: Run


@dataclass(frozen=True)
class Problem:
    """One model at one size, as the sampler function found it."""

    live: Live
    spec: Spec
    patcher: Any
    model: Any
    x: Tensor
    extra: Any
    reference: Tensor

    def grid(self, name: str, steps: int) -> Tensor:
        return self.live.sigmas(self.patcher, name, steps).to(self.x.device)

    def attempt(
        self, method: str, setting: str, function: Callable[..., Tensor], sigmas: Tensor, **options: Any
    ) -> Try:
        run = timed(self.live, function, self.model, self.x, sigmas, self.extra, **options)
        return Try(method, setting, error(run.end, self.reference), run)


def error(end: Tensor, reference: Tensor) -> float:
    """Root mean square over values."""
    return float((end - reference).double().square().mean().sqrt())


def grids(spec: Spec) -> tuple[str, ...]:
    return ("simple", "beta") if spec.flow else ("simple", "karras")


def sequential(problem: Problem) -> Iterator[Try]:
    for name in SEQUENTIAL:
        for grid in grids(problem.spec):
            for steps in problem.live.size.ladder:
                function, sigmas = problem.live.function(name), problem.grid(grid, steps)
                yield problem.attempt(name, f"{grid}, {steps} steps", function, sigmas, warm=False)


def midpoint(problem: Problem) -> Iterator[Try]:
    function = problem.live.function("parallel_midpoint")
    for count, sweeps in problem.live.size.shapes:
        for grid in grids(problem.spec):
            for steps in problem.live.size.ladder:
                setting = f"R {count}, K {sweeps}, {grid}, {steps} steps"
                yield problem.attempt(
                    PARALLEL, setting, function, problem.grid(grid, steps), midpoints=count, sweeps=sweeps,
                    warm=steps == problem.live.size.ladder[0],
                )  # fmt: skip


def paradigms(problem: Problem, method: str) -> Iterator[Try]:
    """On the steps of the DDIM that it stands for. The batch is new to the device: the first run warms it up."""
    size = problem.live.size
    sigmas = problem.grid("simple", size.sequential)
    for window in size.windows:
        for tolerance in size.tolerances:

            def function(
                model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, disable: bool, w: int = window,
                t: float = tolerance,
            ) -> Tensor:  # fmt: skip
                if method == DIFFUSERS:
                    return by_diffusers(model, x, len(sigmas) - 1, extra_args, window=w, tolerance=t)
                return by_ourselves(model, x, sigmas, extra_args, window=w, tolerance=t, flow=problem.spec.flow)

            yield problem.attempt(
                method, f"window {window}, tolerance {tolerance:g}", function, sigmas,
                warm=tolerance == size.tolerances[0],
            )  # fmt: skip


def fastest(tries: list[Try], method: str | tuple[str, ...], goal: float) -> Try | None:
    """The quickest of a method's settings whose error is at most the goal."""
    methods = (method,) if isinstance(method, str) else method
    fit = [t for t in tries if t.method in methods and t.error <= goal]
    return min(fit, key=lambda t: t.run.seconds, default=None)


def measure(live: Live, spec: Spec, patcher: Any, model: Any, x: Tensor, extra: Any) -> dict[str, Any]:
    """Every try, the goals, and how far two references are apart. ParaDiGMS is diffusers' wherever that can be."""
    size = live.size

    def fine(steps: int) -> Tensor:
        sigmas = live.sigmas(patcher, "simple", steps).to(x.device)
        found: Tensor = live.function("heun")(model, x.clone(), sigmas, extra_args=extra, disable=True)
        return found

    reference = fine(size.reference_steps)
    problem = Problem(live, spec, patcher, model, x, extra, reference)
    ddim, heun = f"DDIM-{size.sequential}", f"Heun-{size.sequential // 2}"
    goals = {
        ddim: problem.attempt(ddim, "simple", live.function("euler"), problem.grid("simple", size.sequential)),
        heun: problem.attempt(heun, "simple", live.function("heun"), problem.grid("simple", size.sequential // 2)),
    }
    tries, notes = [*sequential(problem), *midpoint(problem)], []
    peer = DIFFUSERS
    if spec.flow:
        peer = OWN
        notes.append(f"{spec.name}: diffusers' DDIMParallelScheduler has no flow models; ParaDiGMS is our own.")
    else:
        try:
            parallel_scheduler()
        except ImportError as missing:
            peer = OWN
            notes.append(f"{spec.name}: ParaDiGMS is our own, not diffusers'. {missing}")
    tries += paradigms(problem, peer)
    return {"goals": goals, "tries": tries, "notes": notes, "floor": error(fine(size.reference_steps // 2), reference)}


def cells(where: str, found: Try | None, method: str) -> list[str]:
    if found is None:
        return [where, method, "not reached", "", "", "", ""]
    run = found.run
    return [
        where, method, found.setting, f"{found.error:.3e}", f"{run.seconds:.4g}", str(run.calls), str(run.evaluations)
    ]  # fmt: skip


def judge(
    where: str, goal: str, first: Try, found: dict[str, Any], limit: float
) -> tuple[list[list[str]], list[Target]]:
    """The rows of one goal, and its targets; nan where a side did not reach the goal."""
    tries, bound = found["tries"], SLACK * first.error
    peers = {OWN: OWN, DIFFUSERS: DIFFUSERS, "sequential": SEQUENTIAL}
    rows = [cells(where, first, goal)]
    ours = fastest(tries, PARALLEL, bound)
    rows.append(cells(where, ours, f"{PARALLEL}, to {goal}"))
    targets = [_ratio(f"(d) {where}: seconds, {PARALLEL} / {goal}", ours, first, limit)]
    for label, methods in peers.items():
        if not any(t.method in methods for t in tries):
            continue
        peer = fastest(tries, methods, bound)
        name = label if peer is None or label != "sequential" else f"{label}: {peer.method}"
        rows.append(cells(where, peer, f"{name}, to {goal}"))
        targets.append(_ratio(f"(d) {where}: seconds, {PARALLEL} / {label}, to {goal}", ours, peer, limit))
    return rows, targets


def _ratio(text: str, ours: Try | None, peer: Try | None, limit: float) -> Target:
    if ours is None:  # a miss, unless nobody reached it
        return Target(text, math.nan if peer is None else math.inf, limit)
    return Target(text, 0.0 if peer is None else ours.run.seconds / peer.run.seconds, limit)


def run(live: Live, models: list[str]) -> Result:
    rows, targets, notes, points = [], [], [], {}
    for key, pixels in live.size.races.items():
        if key not in models:
            continue
        spec, model = SPECS[key], live.build(SPECS[key])
        where = f"{spec.name}, {pixels}"
        found = live.inside(
            live.guider(model, spec), live.shape(model, pixels), live.sigmas(model, "simple", 10),
            lambda m, x, s, args, spec=spec, p=model: measure(live, spec, p, m, x, args),
        )  # fmt: skip
        for goal, first in found["goals"].items():
            more, judged = judge(where, goal, first, found, LIMITS["parallel seconds"])
            rows += more
            targets += judged
        notes += [*found["notes"], f"{where}: two references, of full and of half the steps, lie "
                  f"{found['floor']:.1e} apart; errors near that mean nothing."]  # fmt: skip
        for method in (PARALLEL, OWN, DIFFUSERS, *SEQUENTIAL):
            line = [[t.run.seconds, t.error] for t in found["tries"] if t.method == method]
            if line:
                points[f"{where}: {method}"] = line
        del model
        live.release()
    text = [
        f"One picture, from the same noise. Error: root mean square to Heun with {live.size.reference_steps} steps. "
        "DDIM is the ODE on equal time steps; ParaDiGMS solves the same steps. Of each method the fastest setting "
        f"that comes within {100 * (SLACK - 1):.0f} % of the goal's error is told, chosen on the same picture, by the "
        "same rule for all. A ratio of 0: only the parallel midpoint reached the goal; a miss without a ratio: it did "
        "not.",
        *notes,
    ]
    table = Table("(d) Seconds to the error of DDIM and Heun", HEADER, rows, text, {"error": points})
    return Result([table], targets)
