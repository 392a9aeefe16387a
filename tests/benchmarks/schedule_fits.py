"""What is learned in one case of the schedule benchmark: grids by method and step count, and what each fit spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from restart_art.schedules import ArtSchedule, fit_schedule
from restart_art.schedules.art.actor_critic import ActorCriticSettings, fit_actor_critic
from restart_art.schedules.art.direct import NODES, Density, measure_curvature, order_of
from restart_art.schedules.art.fit import FIT_ROWS
from restart_art.schedules.art.trajectories import Field

from schedule_cases import Setting

RAW, PROPAGATED, DIRECT, REFINED, RL = "raw ART", "propagated ART", "direct", "refined", "ART-RL"
ALONE = "refined, one step count"


@dataclass
class Learned:
    """grids: {method: {steps: sigmas}}; fits: one entry a fit, as the page tells it."""

    grids: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    fits: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, method: str, grids: dict[int, Tensor], evaluations: int, pilot: int, seconds: float,
        chosen: Mapping[int, str] | None = None,
    ) -> None:  # fmt: skip
        """One fit: its grids, model evaluations, its pilot's, CPU seconds, and what the pilot chose."""
        self.grids.setdefault(method, {}).update(grids)
        self.fits.append(
            {
                "method": method, "steps": sorted(grids), "evaluations": evaluations, "pilot": pilot,
                "seconds": round(seconds, 2), "chosen": {str(n): name for n, name in (chosen or {}).items()},
            }
        )  # fmt: skip


def fit(setting: Setting, solver: str, method: str, steps: Sequence[int]) -> ArtSchedule:
    """fit_schedule as a user has it."""
    with torch.no_grad():
        return fit_schedule(
            setting.model, setting.fit_noise, sigma_min=setting.low, sigma_max=setting.high, solver=solver,
            steps=steps, method=method, baselines=setting.baselines, extra_args=setting.fit_args,
        )  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What a case learns. groups: the step counts of each direct and each refined fit. alone: step counts that get a
    refined fit of their own too. art: raw and propagated ART. rl: ART-RL. also: step counts read off the first group's
    curves, which were not measured by any pilot."""

    groups: tuple[tuple[int, ...], ...]
    alone: tuple[int, ...] = ()
    also: tuple[int, ...] = ()
    art: bool = True
    rl: bool = False


def learn(setting: Setting, solver: str, work: Work) -> Learned:
    """Everything that one case learns."""
    learned = Learned()
    jobs = [(m, m, group, work.also * (i == 0)) for m in (DIRECT, REFINED) for i, group in enumerate(work.groups)]
    jobs += [(ALONE, REFINED, (n,), ()) for n in work.alone]
    for name, method, group, also in jobs:
        began = time.process_time()
        schedule = fit(setting, solver, method, group)
        spent, report = time.process_time() - began, schedule.report
        grids = {n: schedule.sigmas(n) for n in group}
        learned.add(name, grids, report["model_evaluations"], report["pilot_evaluations"], spent, report["chosen"])
        learned.grids[name] |= {n: schedule.sigmas(n) for n in also}
    steps = sorted(learned.grids[REFINED])
    if work.art:
        _densities(setting, solver, steps, learned)
    if work.rl:
        _actor_critic(setting, steps, learned)
    return learned


def _densities(setting: Setting, solver: str, steps: Sequence[int], learned: Learned) -> None:
    """Raw ART: the paper's objective, Euler's |Q| whatever the solver. Propagated: the solver's own local error,
    weighted by the gain with which the flow carries it to the end. Both without a pilot and from sigma_max."""
    counter = _Counter()
    began = time.process_time()
    rows = list(range(min(FIT_ROWS, len(setting.fit_noise))))
    with torch.no_grad():
        curvature = measure_curvature(counter.field(setting), rows, setting.low, setting.high)
    spent = time.process_time() - began
    for method, density, evaluations in (
        (RAW, curvature.density(1, 0.0, 0.5), NODES * len(rows)),  # raw needs the reference only
        (PROPAGATED, curvature.leading(order_of(solver)), counter.spent),
    ):
        learned.add(method, _grids(density, steps), evaluations, 0, spent)


def _actor_critic(setting: Setting, steps: Sequence[int], learned: Learned) -> None:
    began = time.process_time()
    counter = _Counter()
    rows = list(range(len(setting.fit_noise)))
    with torch.no_grad():
        result = fit_actor_critic(counter.field(setting), rows, setting.low, setting.high, ActorCriticSettings())
    learned.add(RL, _grids(result.density, steps), counter.spent, 0, time.process_time() - began)


def _grids(density: Density, steps: Sequence[int]) -> dict[int, Tensor]:
    return {n: torch.tensor([*density.grid(n), 0.0], dtype=torch.float32) for n in steps}


class _Counter:
    def __init__(self) -> None:
        self.spent = 0

    def add(self, evaluations: int) -> None:
        self.spent += evaluations

    def field(self, setting: Setting) -> Field:
        callback: Callable[[int], None] = self.add
        return Field(setting.model, setting.fit_noise, setting.fit_args, callback)
