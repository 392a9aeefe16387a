"""A comparison in words and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .compare import Comparison, Measurement, by_pair

ROUGH = 0.25  # share of the least error above which the reference's own error is worth a warning


def verdict(comparison: Comparison) -> str:
    """One plain sentence a step count: which run landed closest, how far ahead, and at what cost."""
    return " ".join(_sentence(comparison, steps) for steps in comparison.steps)


def _sentence(comparison: Comparison, steps: int) -> str:
    ranked = comparison.ranked(steps)
    best = ranked[0]
    if not math.isfinite(best.mean):
        return f"At {steps} steps nothing arrives at a picture: all end in NaN or inf."
    text = f"At {steps} steps {_name(comparison, best)} lands closest to the exact answer"
    text += f" (error {best.mean:.3g}, {best.calls} model calls)"
    if len(ranked) > 1:
        text += _next(comparison, best, ranked[1])
    cheap = [run for run in ranked if run.calls < best.calls and math.isfinite(run.mean)]
    if cheap and cheap[0] is not ranked[1]:
        text += f"; with fewer model calls ({cheap[0].calls}), {_name(comparison, cheap[0])} ({cheap[0].mean:.3g})"
    elif cheap:
        text += f"; that one makes only {cheap[0].calls} calls"
    return text + "."


def _next(comparison: Comparison, best: Measurement, second: Measurement) -> str:
    if comparison.tied(second):
        return f", but {_name(comparison, second)} cannot be told apart from it on these noises"
    if not math.isfinite(second.mean) or second.mean <= 0:
        return ""
    gain = 100 * (1 - best.mean / second.mean)
    return f", {gain:.0f} % closer than {_name(comparison, second)}"


def _name(comparison: Comparison, run: Measurement) -> str:
    return f"{run.solver} with {run.name}" if len(comparison.solvers) > 1 else run.name


def table(comparison: Comparison) -> list[str]:
    """One row a solver and schedule, best first; for each step count the mean end error and the model calls."""
    rows = by_pair(comparison)
    wide = max(len("sampler"), *(len(solver) for solver, _ in rows))
    wider = max(len("schedule"), *(len(name) for _, name in rows))
    lines = [
        f"{'sampler':<{wide}}  {'schedule':<{wider}}"
        + "".join(f"{f'{steps} steps':>12} {'calls':>6}" for steps in comparison.steps)
    ]
    for (solver, name), runs in rows.items():
        found = {run.steps: run for run in runs}
        cells = "".join(_cell(comparison, found.get(steps)) for steps in comparison.steps)
        lines.append(f"{solver:<{wide}}  {name:<{wider}}{cells}".rstrip())
    return lines


def _cell(comparison: Comparison, run: Measurement | None) -> str:
    if run is None:
        return f"{'-':>11}  {'':>6}"
    mark = "*" if run is comparison.best(run.steps) else "=" if comparison.tied(run) else " "
    return f"{f'{run.mean:.4g}':>11}{mark} {run.calls:>6}"


def comparison_text(comparison: Comparison, evaluations: int, seconds: float, notes: Sequence[str] = ()) -> str:
    """The whole report: verdict, notes (sentences of the caller's), cost, how sure the reference is, table."""
    noises = len(comparison.runs[0].errors)
    least = min(run.mean for run in comparison.runs)
    lines = [verdict(comparison), *notes]
    if noises == 1:
        lines.append("Warning: one noise says nothing about chance; take at least 4 trajectories.")
    if comparison.reference_error > ROUGH * least:
        lines.append(
            f"Warning: the exact answer is only known to about {comparison.reference_error:.2g}, which is not small "
            "against the least error; raise reference_steps."
        )
    lines += [
        f"It cost {evaluations} model evaluations in {seconds:.0f} seconds, on {noises} noise(s) "
        "(one evaluation is one picture through the model once).",
        "",
        "Error at the end of the run against the exact answer from the same noise; lower is better.",
        "* is the least. = cannot be told apart from it on these noises.",
        f"The exact answer itself is known to about {comparison.reference_error:.2g}.",
        *table(comparison),
    ]
    return "\n".join(lines)
