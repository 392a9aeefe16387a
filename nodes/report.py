"""The report of a fit as text that an artist can read: sentences first, then one table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any


def report_text(report: Mapping[str, Any], warnings: Iterable[str] = ()) -> str:
    """Sentences and a table of measured end errors.

    report: ArtSchedule.report. warnings: sentences to put first among the rest.
    """
    lines = [str(report["verdict"])] if report.get("verdict") else []
    lines += [f"Warning: {sentence}" for sentence in warnings]
    lines.append(_cost(report))
    table = _table(report)
    if table:
        lines += ["", "Error at the end of the run against the exact answer from the same noise; lower is better."]
        lines += ["* is what you get. ~ was dropped early, measured on fewer noises.", *table]
        lines += [
            f"Not run at {steps} steps, foreseen to be far behind: {', '.join(names)}."
            for steps, names in dict(report.get("left_out") or {}).items()
            if names
        ]
    return "\n".join(lines)


def _cost(report: Mapping[str, Any]) -> str:
    fit, pilot = int(report.get("model_evaluations") or 0), int(report.get("pilot_evaluations") or 0)
    seconds = report.get("seconds")
    took = f" in {float(seconds):.0f} seconds" if seconds is not None else ""
    return (
        f"Solver {report.get('solver')}. It cost {fit} model evaluations to learn and {pilot} to "
        f"measure{took} (one evaluation is one picture through the model once)."
    )


def _table(report: Mapping[str, Any]) -> list[str]:
    """One row a candidate, best first; one column a step count."""
    pilot = {int(steps): dict(row) for steps, row in dict(report.get("pilot") or {}).items()}
    runs = {int(steps): dict(row) for steps, row in dict(report.get("pilot_trajectories") or {}).items()}
    chosen = {int(steps): str(name) for steps, name in dict(report.get("chosen") or {}).items()}
    counts = sorted(pilot)
    names = list(dict.fromkeys(name for count in counts for name in pilot[count]))
    if not names:
        return []
    names.sort(key=lambda name: _rank(name, counts, pilot, chosen))
    wide = max(len(name) for name in [*names, "candidate"])
    rows = [f"{'candidate':<{wide}}" + "".join(f"{f'{count} steps':>12} " for count in counts)]
    for name in names:
        cells = ""
        for count in counts:
            value = pilot[count].get(name)
            full = runs.get(count, {}).get(chosen.get(count, ""), 0)
            mark = "*" if chosen.get(count) == name else "~" if runs.get(count, {}).get(name, full) < full else " "
            cells += f"{'-' if value is None else f'{value:.4g}':>12}{mark}"
        rows.append(f"{name:<{wide}}{cells}".rstrip())
    return rows


def _rank(
    name: str, counts: list[int], pilot: Mapping[int, Mapping[str, float]], chosen: Mapping[int, str]
) -> tuple[int, float]:
    """Chosen ones first, then by the geometric mean of the errors measured."""
    wins = sum(chosen.get(count) == name for count in counts)
    errors = [pilot[count].get(name, math.inf) for count in counts]
    return -wins, sum(math.log(max(error, 1e-30)) for error in errors)
