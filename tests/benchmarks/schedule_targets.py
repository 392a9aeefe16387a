"""The promises of the schedule benchmark, fixed before the run, and the worst measured value of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from samplers_report import Target
from schedule_cases import MIXTURES, TINY, TITLES
from schedule_fits import ALONE, DIRECT, RAW, REFINED, RL

Case = Mapping[str, Any]
MIDDLE = ("8", "10", "15", "20")
TINY_LIMITS = {  # of a refined schedule's error over the best stock schedule's, at 8 and at 12 steps
    ("dpmpp_2m", "eps"): (0.60, 0.60),
    ("dpmpp_2m", "flow"): (0.40, 0.40),
    ("euler", "eps"): (0.88, 0.80),
    ("euler", "flow"): (0.88, 0.80),
    ("heun", "eps"): (0.80, 0.80),
    ("heun", "flow"): (0.80, 0.80),
}


def tiny_limits(case: Case) -> dict[str, float]:
    """{steps: limit} of a case on a tiny checkpoint."""
    return dict(zip(("8", "12"), TINY_LIMITS[case["solver"], TINY[case["problem"]][0]], strict=True))


def best_stock(case: Case, steps: str, *, equal: bool = False) -> tuple[str, float]:
    """The best scheduler of the host's list and its error. equal: only those that take exactly so many steps."""
    found = {
        name: errors[steps]
        for name, errors in case["stock"].items()
        if name != "uniform" and steps in errors and not (equal and int(steps) in case["longer"].get(name, []))
    }
    name = min(found, key=lambda key: found[key])
    return name, found[name]


def to_karras(case: Case, method: str, steps: str) -> float:
    """A learned grid's error over Karras'."""
    return float(case["learned"][method][steps]) / float(case["stock"]["karras"][steps])


def to_best(case: Case, method: str, steps: str) -> float:
    """A learned grid's error over the best stock scheduler's; a kept stock grid is 1: schedules hold seven digits."""
    return round(float(case["learned"][method][steps]) / best_stock(case, steps)[1], 4)


def worst(text: str, limit: float | None, values: Iterable[tuple[str, float]]) -> list[Target]:
    """One target on the largest of the values, which it names; none if there are no values."""
    found = list(values)
    if not found:
        return []
    where, value = max(found, key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1])
    return [Target(f"{text}; worst: {where}" if len(found) > 1 else text, value, limit)]


def targets(cases: Sequence[Case]) -> list[Target]:
    """Every target the cases at hand allow to judge."""
    mixtures = [c for c in cases if c["problem"] in MIXTURES]
    tiny = [c for c in cases if c["problem"] in TINY]
    return [*_mixtures(mixtures), *_tiny(tiny), *_never_above(mixtures, tiny), *_costs(cases), *_actor_critic(cases)]


def _cells(
    cases: Iterable[Case], value: Callable[[Case, str, str], float], method: str, steps: Sequence[str] | None = None
) -> Iterable[tuple[str, float]]:
    """(where, value) of each case and step count at which this method has a fitted grid."""
    for case in cases:
        for n in case["learned"].get(method, {}):
            if (steps is None or n in steps) and int(n) not in case["unfitted"]:
                yield f"{case['problem']}, {TITLES[case['solver']]}, {n} steps", value(case, method, n)


def _mixtures(cases: Sequence[Case]) -> list[Target]:
    found = []
    for solver, kind, limit, dims in (
        ("euler", "EDM", 0.56, ("2-D", "16-D")),
        ("euler", "EDM", None, ("256-D",)),
        ("euler", "SD", 0.85, ("2-D", "16-D")),
        ("euler", "SD", 0.85, ("256-D",)),
        ("dpmpp_2m", "EDM", 0.5, ("2-D", "16-D")),
        ("dpmpp_2m", "EDM", 0.5, ("256-D",)),
        ("dpmpp_2m", "SD", None, ("2-D", "16-D", "256-D")),
        ("heun", "EDM", None, ("2-D", "16-D", "256-D")),
        ("heun", "SD", None, ("2-D", "16-D", "256-D")),
    ):
        these = [c for c in cases if c["solver"] == solver and c["problem"] in {f"{d}, {kind} range" for d in dims}]
        for method in (DIRECT, REFINED):
            text = f"mixtures {', '.join(dims)}, {kind} range: {TITLES[solver]}, {method} / Karras, 8 to 20 steps"
            found += worst(text, limit, _cells(these, to_karras, method, MIDDLE))
    return found


def _tiny(cases: Sequence[Case]) -> list[Target]:
    found = []
    for case in cases:
        for method in (REFINED, ALONE):
            for n, limit in tiny_limits(case).items():
                if n in case["learned"].get(method, {}):
                    rival = best_stock(case, n)[0]
                    rival += "+1" if int(n) in case["longer"].get(rival, []) else ""
                    text = f"{case['problem']}: {TITLES[case['solver']]}, {n} steps, {method} / best stock ({rival})"
                    found.append(Target(text, to_best(case, method, n), limit))
    left = (
        (f"{c['problem']}, {TITLES[c['solver']]}, {n} steps", c["learned"][REFINED][n] / floor["error"])
        for c in cases
        for n, floor in c["floor"].items()
        if int(n) not in c["unfitted"]
    )
    return found + worst("tiny checkpoints: refined / autograd from the same point", 1.05, left)


def _never_above(mixtures: Sequence[Case], tiny: Sequence[Case]) -> list[Target]:
    found = []
    for what, cases in (("mixtures", mixtures), ("tiny checkpoints", tiny)):
        for method in (DIRECT, REFINED, ALONE):
            text = f"{what}, every solver and fitted step count: {method} / best stock"
            found += worst(text, 1.0, _cells(cases, to_best, method))
            equal = _cells(
                cases, lambda c, m, n: round(c["learned"][m][n] / best_stock(c, n, equal=True)[1], 4), method
            )
            found += worst(f"{text} of as many steps", None, equal)
    return found


def _costs(cases: Sequence[Case]) -> list[Target]:
    fits = [
        (f"{c['problem']}, {TITLES[c['solver']]}, {'-'.join(map(str, f['steps']))} steps", f)
        for c in cases
        for f in c["fits"]
    ]
    found = []
    for text, method, few, limit in (
        ("direct", DIRECT, 99, 1500),
        ("refined, one step count", ALONE, 1, 2500),
        ("refined, two or three step counts", REFINED, 99, 5000),
    ):
        these = [(where, f) for where, f in fits if f["method"] == method and len(f["steps"]) <= few]
        found += worst(f"model evaluations of a fit: {text}", limit, ((w, float(f["evaluations"])) for w, f in these))
        found += worst(f"and of its pilot: {text}", 2000, ((w, float(f["pilot"])) for w, f in these))
    return found


def _actor_critic(cases: Sequence[Case]) -> list[Target]:
    """What a tenth of ART-RL's evaluations buys."""
    with_rl = [c for c in cases if RL in c["learned"]]
    found = []
    for method in (RAW, DIRECT, ALONE, REFINED):
        shares = []
        for c in with_rl:
            spent = {f["method"]: f["evaluations"] for f in c["fits"]}
            if method in spent:
                shares.append((c["problem"], spent[method] / spent[RL]))
        found += worst(f"model evaluations of a fit, {method} / ART-RL (Euler)", 0.1, shares)
        if method != ALONE:
            result = _cells(with_rl, lambda c, m, n: c["learned"][m][n] / c["learned"][RL][n], method, MIDDLE)
            limit = None if method == RAW else 1.0
            found += worst(f"end error, {method} / ART-RL (Euler, 8 to 20 steps)", limit, result)
    return found
