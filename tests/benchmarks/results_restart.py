"""Restart's claims against the recorded numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

from records import MissingRecord, pick
from results_judged import Data, Judged, decide


def means(data: Data) -> dict[str, dict[str, float]]:
    """Energy distance by case (an imperfect denoiser) and method."""
    cases = {case["case"]: case["distances"] for case in pick(data["samplers"], "restart")}
    return {
        name: {method: mean(mean(row) for row in rows) for method, rows in methods.items()}
        for name, methods in cases.items()
        if name.startswith("error")
    }


def over(data: Data, top: str, *below: str) -> dict[str, float]:
    """Per case: the distance of one method over the best of the others."""
    found = means(data)
    try:
        return {name: row[top] / min(row[method] for method in below) for name, row in found.items()}
    except KeyError as missing:
        raise MissingRecord(f"the record of make bench-samplers has no method {missing}") from None


def cases(ratios: Mapping[str, float]) -> str:
    return "; ".join(f"{name}: {value:.3f}" for name, value in ratios.items())


def few_calls(data: Data) -> Judged:
    ratios = over(data, "ODE 19", "SDE 19")
    why = (
        "Energy distance on the 2-D mixture, Heun with and without churn at 19 calls. The churn was tuned for 75 calls."
    )
    return Judged(decide(v < 1 for v in ratios.values()), f"ODE / SDE: {cases(ratios)}", why)


def many_calls(data: Data) -> Judged:
    ratios = over(data, "SDE 75", "ODE 75")
    held = sum(v < 1 for v in ratios.values())
    why = f"Holds in {held} of {len(ratios)} ways in which the denoiser errs, the same mixture at 75 calls."
    return Judged(decide(v < 1 for v in ratios.values()), f"SDE / ODE: {cases(ratios)}", why)


def restart_best(data: Data) -> Judged:
    ratios = over(data, "Restart 75, tuned", "ODE 75", "SDE 75")
    held = [name for name, value in ratios.items() if value < 1]
    why = (
        f"Holds in {len(held)} of {len(ratios)} cases ({'; '.join(held) or 'none'}): Restart removes errors made above "
        "its segment and repeats those made inside it. On a trained network see the negative results."
    )
    return Judged(
        decide(v < 1 for v in ratios.values()), f"tuned Restart / best of ODE and SDE, 75 calls: {cases(ratios)}", why
    )


def repeats_of(data: Data) -> dict[str, Any]:
    found: dict[str, Any] = pick(data["claims"], "contraction/repeats")
    return found


def distances(data: Data, other: str) -> str:
    rows = repeats_of(data).items()
    return "; ".join(f"K {k}: {1000 * row['Restart']:.2f} / {1000 * row[other]:.2f}" for k, row in rows)


def contraction(data: Data) -> Judged:
    cells = [row["Restart"] < row["ODE"] for row in repeats_of(data).values()]
    nodes, low, high = pick(data["claims"], "contraction/segment")
    why = (
        "Energy distance in thousandths, Restart / ODE, exact denoiser, a start shifted by "
        f"{pick(data['claims'], 'contraction/shift'):g} at sigma {pick(data['claims'], 'contraction/start'):g}, equal "
        f"calls, segment [{nodes}, K, {low:g}, {high:g}]. A first trial with a higher segment left too little of the "
        "error for K to show."
    )
    return Judged(decide(cells), distances(data, "ODE"), why)


def contraction_sde(data: Data) -> Judged:
    rows = list(repeats_of(data).values())
    cells = [row["Restart"] < row["SDE"] for row in rows]
    noise = max(1000 * row["errors"][name] for row in rows for name in ("Restart", "SDE"))
    why = (
        f"The same runs, against the best of the churn strengths tried, chosen on the same seeds: Restart is lower at "
        f"{sum(cells)} of {len(cells)} K. Standard errors over the seeds are at most {noise:.2f}."
    )
    return Judged(decide(cells), distances(data, "SDE"), why)


def repeats(data: Data) -> Judged:
    found = repeats_of(data)
    values, noise = ([row["Restart"] for row in found.values()], [row["errors"]["Restart"] for row in found.values()])
    least = 2 * math.hypot(noise[0], noise[-1])
    why = (
        f"The same runs, K {', '.join(found)}. Asked: no larger K above one restart, and the last below it by twice "
        f"the standard error of the difference ({1000 * least:.2f}); it is by {1000 * (values[0] - values[-1]):.2f}."
    )
    cells = [*(v <= values[0] for v in values[1:]), values[0] - values[-1] > least]
    return Judged(decide(cells), f"{', '.join(f'{1000 * v:.2f}' for v in values)} thousandths", why)


def calls(data: Data) -> Judged:
    counts = pick(data["claims"], "call counts")
    made = sorted(row["made"] for row in counts.values())
    cells = [row["made"] == row["published"] for row in counts.values()]
    why = f"All model calls of a run counted, {sum(cells)} of {len(cells)} published settings agree."
    return Judged(decide(cells), f"from {made[0]} to {made[-1]} calls", why)
