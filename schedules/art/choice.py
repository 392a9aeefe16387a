"""Which measured candidate is kept at a step count, and the sentence that says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise

from .pilot import Trial, log_gap

PILOT_NOISE = 0.05  # learned candidates closer than this cannot be told apart by some twelve trajectories
MARGIN = 1.5  # standard errors of the paired log difference by which a learned grid must be ahead of the best stock


def choose(trials: Sequence[Trial], learned: Sequence[str], baselines: Set[str]) -> Trial:
    """The candidate to keep, never one measured worse than the best stock schedule.

    Only trials run on every trajectory count. Among learned ones the likelier (earlier in `learned`) is taken unless
    another's score (pilot.py) is better by PILOT_NOISE, or simply the best where `learned` names no order. It replaces
    the best stock schedule only if clearly ahead of it.
    """
    full = max(len(t.errors) for t in trials)
    tested = [t for t in trials if len(t.errors) == full]
    stock = min((t for t in tested if t.name in baselines), key=lambda t: t.score, default=None)
    own = [t for t in tested if t.name not in baselines]
    if stock is not None:
        own = [t for t in own if clearly_ahead(t, stock)]
    if not own:
        return stock or min(tested, key=lambda t: t.score)
    limit = min(t.score for t in own) * (1 + PILOT_NOISE if learned else 1)
    rank = {name: i for i, name in enumerate(learned)}
    return min((t for t in own if t.score <= limit), key=lambda t: (rank.get(t.name, len(rank)), t.score))


def clearly_ahead(trial: Trial, stock: Trial) -> bool:
    """Whether its mean error is not larger, and its errors' logs are smaller by MARGIN standard errors.

    On the same trajectories, in pairs; with one trajectory, whether it is smaller. In logs, so that one trajectory
    that ends in another mode does not hide, or make, a difference that all the others agree on.
    """
    mean, chance = log_gap(stock, trial)
    if len(trial.errors) < 2:
        return mean > 0
    return trial.mean <= stock.mean and mean > 0 and mean >= MARGIN * chance


def equivalent_steps(error: float, known: Mapping[int, float]) -> float | None:
    """Steps at which a stock schedule's error falls to `error`, from its errors at known step counts.

    Straight in log error over log steps between neighbouring counts; None where it lies outside them.
    """
    counts = sorted(known)
    for a, b in pairwise(counts):
        high, low = known[a], known[b]
        if high >= error >= low > 0 and high > low:
            share = math.log(high / error) / math.log(high / low)
            return math.exp(math.log(a) + share * math.log(b / a))
    return None


def verdict(
    trials: Mapping[int, list[Trial]],
    chosen: Mapping[int, str],
    baselines: Set[str],
    equals: Mapping[int, tuple[str, float]],
) -> str:
    """One plain sentence: at each step count what was chosen and how it compares with the best stock schedule.

    equals: {steps: (stock schedule, steps at which it is as accurate as the choice)}, where that is known.
    """
    parts = []
    for n, name in chosen.items():
        stock = [t for t in trials[n] if t.name in baselines]
        if name in baselines or not stock:
            parts.append(f"at {n} steps the stock schedule {name} is best and is used")
            continue
        own, rival = next(t for t in trials[n] if t.name == name), stock[0]
        if own.mean > rival.mean:  # only a stock grid with more steps than asked can be ahead of the choice
            extra = len(rival.sigmas) - 1 - n
            parts.append(f"at {n} steps {name} is best; the stock {rival.name} is ahead, but takes {extra:+d} step(s)")
            continue
        gain = 100 * (1 - own.mean / rival.mean) if rival.mean else 0.0
        part = (
            f"at {n} steps the learned schedule's error is {gain:.0f} % below that of the best stock one, {rival.name}"
        )
        same = equals.get(n)
        if same is not None and int(same[1]) > n:
            part += f": {n} steps with this schedule are as accurate as {int(same[1])} with {same[0]}"
        parts.append(part)
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."
