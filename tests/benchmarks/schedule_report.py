"""The page of the schedule benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samplers_report import Target, table, target_rows
from schedule_cases import END_NODES, FIT_ROWS, HELD_OUT, HELD_OUT_TINY, MIXTURES, TINY, TITLES
from schedule_fits import DIRECT, PROPAGATED, RAW, REFINED, RL
from schedule_targets import best_stock

Case = Mapping[str, Any]
METHODS = {
    RAW: "ART's own objective, Euler's |Q| for every solver (Huang, Tang, Zhou 2026), by its closed form, from the "
    "curvature measured on 12 trajectories; from sigma_max, no pilot",
    PROPAGATED: "each local error weighted by the gain with which the flow carries it to the end, with the solver's "
    "own order; from sigma_max, no pilot",
    DIRECT: 'what `fit_schedule(method="direct")` returns: variants of these two, chosen by the pilot',
    REFINED: 'what `fit_schedule(method="refined")` returns: searched on a surrogate, measured, chosen by the pilot',
    RL: "the paper's actor-critic, ours in the parts that could not be read (Euler only; no pilot)",
}


def page(cases: Sequence[Case], judged: Sequence[Target], picture: str, whole: Mapping[str, Any]) -> str:
    """Markdown: targets first, then the picture, the tables and what the fits cost."""
    limited = [t for t in judged if t.limit is not None]
    missed = sum(not t.met for t in limited)
    host = f"ComfyUI {whole['host']}'s whole list" if whole["host"] else "the pack's own list (no ComfyUI was found)"
    lines = [
        "# Schedule benchmark",
        "",
        f"Written by `make bench-schedules` (CPU, fixed seeds; this run: {whole['seconds']} s with {whole['jobs']} "
        f"worker process(es) of one thread, {sum(c['cpu_seconds'] for c in cases):.0f} CPU seconds in all). "
        f"**{len(limited) - missed} of {len(limited)} targets met, {missed} missed.** The limits were set before the "
        "runs and are not changed to fit; every miss is marked. Exact mixtures and tiny checkpoints show how the "
        "methods behave, not how big models' pictures look.",
        "",
        *_missing(whole.get("missing", [])),
        f"![End error over Karras' against steps]({picture})",
        "",
        "## How it is measured",
        "",
        "End error: root mean square difference, over a sample's values, between the solver's end and the end of the "
        f"same starting noise solved finely (third order, {END_NODES} nodes); its mean over held-out "
        f"trajectories, {HELD_OUT:,} on mixtures and {HELD_OUT_TINY} on tiny checkpoints, which no fit has seen. All "
        "schedules run the host's own solver. A few trajectories that end in another mode make most of the mean error "
        "on mixtures, so ratios of single cells scatter, on 256-D most of all.",
        "",
        "2-D: 25 modes of width .05 on a grid. 16-D, 256-D: ten modes of width .3 at means from N(0, I). EDM range: "
        "sigma 80 to .002. SD range: 14.6 to .029. Tiny: the two checkpoints of this repository, all ten digits; with "
        "CFG 2 the fits saw the digits 0 to 4 and the errors are of the digits 5 to 9, other noise.",
        "",
        f"Stock schedules: {host}, on ComfyUI's own model of each range. `ddim_uniform` takes a step more than asked "
        "where the count does not divide 1,000; it is kept among the rivals all the same (marked +1). Uniform: even "
        "in sigma, the start of the ART paper.",
        "",
        f"Fits: {FIT_ROWS} starting points, fixed seeds, each fit for two or three step counts at once. "
        "On tiny checkpoints the learned grids at 15 and 30 steps are read off the curves of the fit for 8, 12 and 20 "
        "steps and were seen by no pilot.",
        "",
        *(f"- **{name}**: {text}." for name, text in METHODS.items()),
        "- **floor**: Adam on gradients through the true denoiser and the solver, 120 iterations from the refined and "
        f"from the best stock grid on 192 trajectories of its own; {_convergence(cases)} On tiny checkpoints "
        "*autograd*: 20 iterations from the refined grid on the 16 trajectories it was refined on.",
        "",
        "## Targets",
        "",
        *table(
            ["ratio or cost", "measured", "at most", "target"],
            target_rows(judged),
        ),
        "",
    ]
    lines += _summary(cases)
    for case in cases:
        lines += _details(case)
    lines += _costs(cases)
    return "\n".join(lines).rstrip() + "\n"


def _missing(names: Sequence[str]) -> list[str]:
    """What a run that was cut short did not get to."""
    return (
        [f"**Not measured yet (the run was cut short; `--resume` goes on): {'; '.join(names)}.**", ""] if names else []
    )


def _convergence(cases: Sequence[Case]) -> str:
    """How much the floor still gained in its last fifth."""
    late = sorted(f["late"] for c in cases if c["problem"] in MIXTURES for f in c["floor"].values())
    if not late:
        return ""
    return (
        f"its last fifth gained {100 * late[len(late) // 2]:.1f} % (median over the cells) and at most "
        f"{100 * late[-1]:.0f} %."
    )


def _summary(cases: Sequence[Case]) -> list[str]:
    """Refined over the best stock scheduler, everywhere."""
    counts = sorted({n for c in cases for n in c["learned"][REFINED]}, key=int)
    rows = []
    for case in cases:
        cells = []
        for n in counts:
            mine = case["learned"][REFINED].get(n)
            if mine is None:
                cells.append("")
                continue
            name, error = best_stock(case, n)
            cells.append(f"{mine / error:.2f} ({name}{'+1' if int(n) in case['longer'].get(name, []) else ''})")
        rows.append([case["problem"], TITLES[case["solver"]], *cells])
    return [
        "## Refined over the best stock schedule",
        "",
        "End error of the refined schedule over that of the best of all stock schedulers, which is named.",
        "",
        *table(["problem", "solver", *(f"{n} steps" for n in counts)], rows),
        "",
    ]


def _details(case: Case) -> list[str]:
    karras = case["stock"]["karras"]
    counts = sorted(case["learned"][REFINED], key=int)
    rows = []
    for name, errors in case["stock"].items():
        longer = case["longer"].get(name, [])
        cells = [_ratio(errors.get(n), karras[n], "+1" if int(n) in longer else "") for n in counts]
        rows.append([name, *cells])
    for name, errors in case["learned"].items():
        rows.append([f"**{name}**", *(_ratio(errors.get(n), karras[n]) for n in counts)])
    label = "floor" if case["problem"] in MIXTURES else "autograd"
    floors = case["floor"]
    rows.append([f"*{label}*", *(_ratio(floors[n]["error"] if n in floors else None, karras[n]) for n in counts)])
    rows.append(["Karras' end error", *(f"{karras[n]:.3g}" for n in counts)])
    return [
        f"<details><summary>{case['problem']}, {TITLES[case['solver']]}: every schedule over Karras</summary>",
        "",
        *table(["schedule", *(f"{n} steps" for n in counts)], rows),
        "",
        "</details>",
        "",
    ]


def _ratio(error: float | None, karras: float, mark: str = "") -> str:
    return "" if error is None else f"{error / karras:.3f}{mark}"


def _costs(cases: Sequence[Case]) -> list[str]:
    rows = []
    for case in cases:
        for fit in case["fits"]:
            chosen = ", ".join(f"{n}: {name}" for n, name in fit["chosen"].items())
            rows.append(
                [
                    case["problem"], TITLES[case["solver"]], fit["method"], ", ".join(map(str, fit["steps"])),
                    f"{fit['evaluations']:,}", f"{fit['pilot']:,}", f"{fit['seconds']:.1f}", chosen,
                ]
            )  # fmt: skip
    unit = "A fit on a model with CFG counts the guided model as one." if any("CFG" in n for n in TINY) else ""
    return [
        "## What the fits cost",
        "",
        "Model evaluations: samples sent through the model once, the fit's and its pilot's; CPU seconds of one thread, "
        f"pilot included. {unit}",
        "",
        "<details><summary>Every fit</summary>",
        "",
        *table(["problem", "solver", "method", "steps", "fit", "pilot", "seconds", "kept by the pilot"], rows),
        "",
        "</details>",
        "",
    ]
