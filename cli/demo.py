"""The demo's experiment: fit, sample, measure. It returns plain data; ``report.py`` makes the page of it.

Everything is measured on starting noises that the fits never saw. "End error" is the root mean square
difference, in latent units, between a run's last latent and the fine reference's from the same noise,
averaged over the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from threading import Event
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ..schedules import ArtSchedule
from . import measure
from .budget import fine_grid, sampler_options, steps_within
from .data import FAMILY, FITTED, REFERENCE, CheckpointResult, DemoResult, Run, Settings
from .fitting import best_stock, fit_checkpoint
from .running import (
    TITLES,
    Checkpoint,
    Outcome,
    Schedule,
    load_checkpoint,
    sample_digits,
    sampler_function,
    schedules_of,
    starting_noise,
    threads,
)

Stage = Callable[[str, str, float, float], None]
Tell = Callable[[str, float, float], None]


def run_demo(names: Sequence[str], settings: Settings, seed: int, stage: Stage | None = None) -> DemoResult:
    """Runs the experiment on the tiny checkpoints ``names`` ("flow", "eps"), each on a thread of its own.

    stage(checkpoint, what, done, total) is told how far each is, from that thread; what it raises ends the
    run. Takes one to three minutes on two cores.
    """
    start = perf_counter()
    stop = Event()
    checkpoints = [load_checkpoint(name) for name in names]
    for sampler in FAMILY:
        sampler_function(sampler)  # imported here, before there are threads
    measure.prepare()

    def work(checkpoint: Checkpoint) -> CheckpointResult:
        def tell(what: str, done: float, total: float) -> None:
            if stop.is_set():
                raise InterruptedError
            if stage is not None:
                stage(checkpoint.name, what, done, total)

        fitted = {solver: _fit(checkpoint, solver, settings, seed, tell) for solver in FITTED}
        return run_checkpoint(checkpoint, fitted, settings, seed, tell)

    # One processor thread each: the batches are small, and more would fight over a busy machine.
    with threads(1), ThreadPoolExecutor(min(len(checkpoints), os.cpu_count() or 1)) as pool:
        futures = [pool.submit(work, checkpoint) for checkpoint in checkpoints]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            found = [future.result() for future in futures]
        finally:
            stop.set()
    return DemoResult(settings, seed, perf_counter() - start, found)


def _fit(checkpoint: Checkpoint, solver: str, settings: Settings, seed: int, tell: Tell) -> ArtSchedule:
    what = f"fit {TITLES[solver]}"
    return fit_checkpoint(
        checkpoint,
        solver=solver,
        steps=settings.steps_of_fit(solver),
        trajectories=settings.trajectories,
        seed=seed,
        callback=lambda progress: tell(what, progress.done, progress.total),
    )


def run_checkpoint(
    checkpoint: Checkpoint, fitted: dict[str, ArtSchedule], settings: Settings, seed: int, tell: Tell
) -> CheckpointResult:
    """Measures every sampler on every schedule at every budget. fitted: solver -> its fitted schedule."""
    named = schedules_of(checkpoint)
    columns = _columns(named, settings.shown)
    tell("reference", 0, 1)
    bench = Bench(checkpoint, settings, seed)
    result = CheckpointResult(
        checkpoint.name,
        checkpoint.process,
        columns,
        {solver: dict(schedule.report) for solver, schedule in fitted.items()},
        fitted,
        {solver: _curves(named, fitted[solver], columns, settings) for solver in FITTED},
        bench.reference,
        bench.reference_pictures,
    )
    plan = [(s, column, budget) for s in FAMILY for column in columns for budget in settings.budgets_of(s)]
    total, done = float(sum(budget * settings.batch(budget) for _, _, budget in plan)), 0.0
    for sampler, column, budget in plan:
        tell("sample", done, total)
        run, images = _measure(bench, sampler, column, budget=budget, named=named, art=fitted[FAMILY[sampler]])
        result.runs.append(run)
        if budget == settings.shown:
            result.pictures[sampler, column] = images[:10]
        done += budget * settings.batch(budget)
    tell("sample", total, total)
    return result


def _measure(
    bench: Bench, sampler: str, column: str, *, budget: int, named: dict[str, Schedule], art: ArtSchedule
) -> tuple[Run, Tensor]:
    """The run of a column; for "stock" the better one where the pilot leaves a choice of two."""
    if column == "art":
        name = _art_name(art, named, bench.steps(sampler, art.sigmas, budget))
        return bench.run(sampler, column, name, schedule=art.sigmas, budget=budget)
    names = [column]
    if column == "stock":
        names = best_stock(art.report, named, bench.steps(sampler, named["karras"], budget))
    runs = [bench.run(sampler, column, name, schedule=named[name], budget=budget) for name in names]
    return min(runs, key=lambda found: found[0].error)


def _art_name(art: ArtSchedule, named: dict[str, Schedule], steps: int) -> str:
    """ "ART for Heun", or "ART for Heun: simple" where the fit kept a stock schedule."""
    kept = next((name for name, schedule in named.items() if _same(schedule(steps), art.sigmas(steps))), "")
    return f"ART for {TITLES[art.solver]}{': ' if kept else ''}{kept}"


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3)


class Bench:
    """One checkpoint, a batch of starting noises no fit has seen, their fine reference, and the measures."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings, seed: int) -> None:
        self.model = checkpoint.model
        self.settings = settings
        self.seed = seed
        self.noise = starting_noise(settings.judged, seed + 10**6)
        self.classes = torch.arange(settings.judged) % 10
        self.distance = measure.digit_distance()
        fine = fine_grid(settings.reference_steps, *checkpoint.bounds, flow=checkpoint.process == "flow")
        half = self._sample(REFERENCE, torch.cat([fine[:-1:2], fine[-1:]]), settings.pictures)
        whole = self._sample(REFERENCE, fine, settings.judged)
        self.latent = whole.latent
        self.reference, self.reference_pictures = self._judge(
            Run(REFERENCE, "reference", "reference", settings.shown, len(fine) - 1), whole, against=half.latent
        )

    def run(self, sampler: str, column: str, name: str, *, schedule: Schedule, budget: int) -> tuple[Run, Tensor]:
        """Samples with as many steps as the budget allows. Returns the run and its pictures (B, 8, 8)."""
        steps = self.steps(sampler, schedule, budget)
        options = sampler_options(sampler, budget)
        outcome = self._sample(sampler, schedule(steps), self.settings.batch(budget), options)
        return self._judge(Run(sampler, column, name, budget, steps), outcome, against=self.latent)

    def steps(self, sampler: str, schedule: Schedule, budget: int) -> int:
        """The most steps within a budget."""
        options = sampler_options(sampler, budget)
        return steps_within(budget, self.model.model_sampling, sampler, schedule, options)

    def _sample(self, sampler: str, sigmas: Tensor, count: int, options: dict[str, Any] | None = None) -> Outcome:
        noise, classes = self.noise[:count], self.classes[:count]
        return sample_digits(self.model, sampler, sigmas, noise=noise, classes=classes, seed=self.seed, options=options)

    def _judge(self, run: Run, outcome: Outcome, against: Tensor) -> tuple[Run, Tensor]:
        count, compared = len(outcome.latent), self.settings.pictures
        images = self.model.decode(outcome.latent)
        measured = replace(
            run,
            calls=outcome.calls,
            rounds=outcome.rounds,
            seconds=outcome.seconds / count,
            error=measure.end_error(outcome.latent[:compared], against[:compared]),
        )
        if run.budget == self.settings.shown:
            energy, energy_error = self.distance(images, self.classes[:count])
            share = measure.accuracy(images, self.classes[:count])
            measured = replace(measured, accuracy=share, energy=energy, energy_error=energy_error)
        return measured, images


def _columns(named: dict[str, Schedule], steps: int) -> list[str]:
    """karras, edm unless it is the same numbers, the best stock schedule, art."""
    same = _same(named["karras"](steps), named["edm"](steps))
    return ["karras", "stock", "art"] if same else ["karras", "edm", "stock", "art"]


def _curves(
    named: dict[str, Schedule], fitted: ArtSchedule, columns: list[str], settings: Settings
) -> dict[str, list[float]]:
    """Name -> sigmas, at the step count of the shown budget."""
    steps = settings.shown // 2 if fitted.solver == "heun" else settings.shown
    names = dict.fromkeys([name for name in columns if name in named])
    names.update(dict.fromkeys(best_stock(fitted.report, named, steps)))
    curves = {TITLES.get(name, name): named[name](steps).tolist() for name in names}
    return {**curves, "ART": fitted.sigmas(steps).tolist()}
