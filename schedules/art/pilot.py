"""The pilot: really run every candidate grid on a few trajectories and keep the best, so never worse than stock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import torch
from torch import Tensor

from ...samplers.grid import check_sigmas
from .trajectories import Field, end_errors, run_cost

Likely = Callable[[int, Mapping[str, Tensor]], Mapping[str, float]]  # (steps, {name: sigmas}) -> {name: predicted}

# Rounds of the elimination: trajectories used so far, and how many times the best score a candidate may have to
# stay in. Errors vary by trajectory, but candidates are compared on the same ones.
ROUNDS = ((1, 2.0), (3, 1.6), (6, 1.25), (10, 1.1))
CHANCE = 2.0  # standard errors of the paired log difference within which a candidate stays in, however far behind
REFERENCE_NODES = 64
FIRST_SHARE = 0.3  # of an allowance that the first round, of all candidates that are likely enough, may take
FEWEST = 2  # baselines, and others, of a step count that the first round has, whatever they cost
BLEND_FROM = 5  # trajectories after which the leaders are blended


@dataclass(eq=False)
class Trial:
    """One candidate at one step count. errors: end error of each trajectory run so far."""

    name: str
    steps: int
    sigmas: Tensor
    errors: list[float] = dataclass_field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean end error, inf before any run."""
        return sum(self.errors) / len(self.errors) if self.errors else float("inf")

    @property
    def score(self) -> float:
        """What candidates are compared by: the geometric mean of the mean and the geometric mean of the errors.

        Where a few trajectories end in another mode, they are most of the mean, and a dozen trajectories say little
        of it; the geometric mean hardly sees them. On exact mixtures the two together chose better than either.
        """
        if not self.errors:
            return float("inf")
        logs = [math.log(max(e, 1e-30)) for e in self.errors]
        return math.sqrt(self.mean * math.exp(sum(logs) / len(logs)))


def log_gap(a: Trial, b: Trial) -> tuple[float, float]:
    """How much worse a is than b on the same trajectories, in log error: the mean, and its standard error.

    With a single trajectory the standard error is infinite.
    """
    gaps = [math.log(max(u, 1e-30) / max(v, 1e-30)) for u, v in zip(a.errors, b.errors, strict=True)]
    mean = sum(gaps) / len(gaps)
    if len(gaps) < 2:
        return mean, math.inf
    return mean, math.sqrt(sum((g - mean) ** 2 for g in gaps) / (len(gaps) - 1) / len(gaps))


def run_pilot(
    field: Field,
    rows: Sequence[int],
    ends: Tensor,
    candidates: Mapping[str, Callable[[int], Tensor | None]],
    baselines: Set[str],
    steps: Sequence[int],
    solver: str,
    on_round: Callable[[dict[int, list[Trial]]], None],
    *,
    blend: bool = True,
    allowance: float = float("inf"),
    likely: Likely | None = None,
) -> dict[int, list[Trial]]:
    """End errors |x_end - reference| (root mean square over a sample's values) of each candidate.

    After BLEND_FROM trajectories the best candidates are also blended (mean log sigma of two): errors of different
    signs cancel, which no density can foresee. After each round the hopeless are dropped, but for the best
    baseline: the gain over it is to be known on all trajectories. Every trial left has run on the same ones.

    Args:
        rows: trajectories of the field. ends: (len(rows), ...) their reference end points.
        candidates: name -> function of the step count giving its grid, or None where it has none.
        baselines: names of those candidates that are stock schedules.
        blend: whether to try blends.
        allowance: model evaluations it may spend; where a round would cost more, the worst are dropped before it,
            and it ends where not even the best and the best baseline can go on. The first round is always made.
        likely: (steps, {name: sigmas}) -> {name: predicted error}. With it the first round leaves out those
            predicted worst that would take it above FIRST_SHARE of the allowance.

    Returns:
        {steps: trials that were run, best first; dropped ones after those left}.
    """
    trials = {n: [t for name, make in candidates.items() if (t := _trial(name, make, n))] for n in steps}
    if likely is not None:
        trials = _likeliest(trials, likely, FIRST_SHARE * allowance / min(ROUNDS[0][0], len(rows)), solver, baselines)
    alive = {n: list(ts) for n, ts in trials.items()}
    done, blended, spent = 0, not blend, 0
    for wanted, tolerance in (*ROUNDS, (len(rows), float("inf"))):
        until = min(wanted, len(rows))
        if until <= done:
            continue
        batch = list(range(done, until))
        if done:
            share = (allowance - spent) / len(batch)
            if share < sum(_cost(solver, t) for n in steps for t in _leaders(alive[n], baselines)):
                break
            _drop_to(
                alive, share, solver, lambda n, t: t.score / min(u.score for u in alive[n]),
                lambda ts: _not_leading(ts, baselines),
            )  # fmt: skip
        spent += len(batch) * sum(_cost(solver, t) for n in steps for t in alive[n])
        for n in steps:
            for trial in alive[n]:
                end = field.solve(solver, [rows[i] for i in batch], trial.sigmas)
                trial.errors += end_errors(end, ends[batch])
            best = min(alive[n], key=_score)
            rival = min((t for t in alive[n] if t.name in baselines), key=_score, default=None)
            alive[n] = [t for t in alive[n] if t is rival or not _hopeless(t, best, tolerance)]
        done = until
        if done >= BLEND_FROM and not blended:
            blended = True
            for n in steps:
                needed = (len(rows) - done) * sum(
                    _cost(solver, t) for ts in alive.values() for t in _leaders(ts, baselines)
                )
                blends = _affordable(_blends(alive[n], baselines), solver, (allowance - spent - needed) / done)
                spent += done * sum(_cost(solver, t) for t in blends)
                for trial in blends:
                    trial.errors += end_errors(field.solve(solver, list(rows[:done]), trial.sigmas), ends[:done])
                trials[n] += blends
                alive[n] += blends
        on_round(trials)
    return {n: sorted(trials[n], key=lambda t: (-len(t.errors), t.score)) for n in steps}


def _score(trial: Trial) -> float:
    return trial.score


def _likeliest(
    trials: Mapping[int, list[Trial]],
    likely: Likely,
    share: float,
    solver: str,
    baselines: Set[str],
) -> dict[int, list[Trial]]:
    """Leave out the relatively worst predicted until a trajectory of all the others costs at most share.

    Every step count keeps its FEWEST best baselines, and as many others.
    """
    predicted = {n: likely(n, {t.name: t.sigmas for t in ts}) for n, ts in trials.items()}
    kept = {n: sorted(ts, key=lambda t: predicted[n][t.name]) for n, ts in trials.items()}

    def behind(n: int, trial: Trial) -> float:
        least = min(predicted[n].values())
        return predicted[n][trial.name] / least if least > 0 else 1.0

    _drop_to(kept, share, solver, behind, lambda ts: _spare(ts, baselines))
    return {n: [t for t in ts if t in kept[n]] for n, ts in trials.items()}


def _spare(ranked: Sequence[Trial], baselines: Set[str]) -> list[Trial]:
    """Trials that may be left out of some ranked by prediction: all but the FEWEST first baselines and others."""
    kinds = ([t for t in ranked if t.name in baselines], [t for t in ranked if t.name not in baselines])
    return [t for kind in kinds for t in kind[FEWEST:]]


def _hopeless(trial: Trial, best: Trial, tolerance: float) -> bool:
    """Behind the best by more than the tolerance, and by more than a few trajectories' chance could explain."""
    if trial.score <= tolerance * best.score:
        return False
    if len(trial.errors) < 3 or trial.score > 2 * best.score:
        return True
    mean, chance = log_gap(trial, best)
    return mean > CHANCE * chance


def _cost(solver: str, trial: Trial) -> int:
    return run_cost(solver, len(trial.sigmas) - 1, 1)


def _leaders(alive: Sequence[Trial], baselines: Set[str]) -> list[Trial]:
    """The best and the best baseline: what a round cannot do without."""
    best = min(alive, key=_score)
    rival = min((t for t in alive if t.name in baselines), key=_score, default=best)
    return [best] if rival is best else [best, rival]


def _drop_to(
    alive: dict[int, list[Trial]],
    share: float,
    solver: str,
    behind: Callable[[int, Trial], float],
    spare: Callable[[Sequence[Trial]], Sequence[Trial]],
) -> None:
    """Drop the one farthest behind of all step counts until a trajectory of each of the others costs at most share.

    behind: how many times as bad as the best of its step count. spare: those of a step count that may go.
    """
    while sum(_cost(solver, t) for ts in alive.values() for t in ts) > share:
        found = [(behind(n, t), n, t) for n, ts in alive.items() for t in spare(ts)]
        if not found:
            return
        _, n, worst = max(found, key=lambda item: item[0])
        alive[n] = [t for t in alive[n] if t is not worst]


def _not_leading(alive: Sequence[Trial], baselines: Set[str]) -> list[Trial]:
    leaders = _leaders(alive, baselines)
    return [t for t in alive if t not in leaders]


def _affordable(trials: Sequence[Trial], solver: str, share: float) -> list[Trial]:
    """The first of the trials whose cost for a trajectory is at most share in all."""
    kept: list[Trial] = []
    for trial in trials:
        share -= _cost(solver, trial)
        if share >= 0:
            kept.append(trial)
    return kept


def _blends(alive: Sequence[Trial], baselines: Set[str]) -> list[Trial]:
    """Mean log sigmas of the best baseline with the two best learned and the second baseline, at its step count."""
    ranked = sorted((t for t in alive if len(t.sigmas) == t.steps + 1), key=_score)
    stock = [t for t in ranked if t.name in baselines]
    learned = [t for t in ranked if t.name not in baselines]
    pairs = [(stock[0], other) for other in [*learned[:2], *stock[1:2]]] if stock else []
    return [
        Trial(f"{a.name}+{b.name}", a.steps, torch.cat([(a.sigmas[:-1] * b.sigmas[:-1]).sqrt(), torch.zeros(1)]))
        for a, b in pairs
    ]


def _trial(name: str, make: Callable[[int], Tensor | None], steps: int) -> Trial | None:
    """A candidate's grid at a step count, or None where it is not a usable one ending in 0."""
    try:
        grid = make(steps)
        if grid is None or check_sigmas(grid)[-1] != 0:
            return None
    except (ValueError, ArithmeticError, LookupError):
        return None
    return Trial(name, steps, torch.as_tensor(grid).float().cpu())
