"""The results page: the papers' claims and the negative results in words, then the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import asked
import results_claims
from records import pick
from results_judged import VERDICTS, Data
from results_tables import (
    count,
    faults_part,
    gpu_part,
    judged_targets,
    sampler_sections,
    samplers_part,
    schedules_part,
    source,
)

import part_randomized
from samplers_report import Target, short, table
from schedule_fits import DIRECT, REFINED
from schedule_targets import to_best


def page(data: Data, picture: str) -> str:
    """Markdown. data: {name: record} with papers, samplers, schedules, claims and faults; gpu where there is one."""
    claims = [(paper, claim, results_claims.judge(claim, data)) for paper in pick(data["papers"], "papers")
              for claim in paper["claims"]]  # fmt: skip
    targets = judged_targets(data)
    figures = pick(data["faults"], "figures")
    lines = [
        "# Results",
        "",
        "Written by `make results` from the records in `docs/data`, which the commands named below write; it measures "
        "nothing itself, so a clean clone gives this page again. What was missed is told as what was met. Exact "
        "mixtures and tiny checkpoints show how the methods behave, not how big models' pictures look.",
        "",
        *_summary(claims, targets, asked.rows(figures)),
        f"![Four plots: grids against Karras, growth with the dimension, contraction, targets]({picture})",
        "",
        *_claims(data, claims),
        *_negative(data, claims, targets),
        *samplers_part(data, targets),
        *schedules_part(data, targets),
        *faults_part(data),
        *gpu_part(data),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _summary(
    claims: Sequence[tuple[Any, Any, Any]], targets: Mapping[str, list[Target]], faults: list[list[str]]
) -> list[str]:
    verdicts = Counter(judged.verdict for _, _, judged in claims)
    rows = [["the papers' claims: " + ", ".join(VERDICTS), *(str(verdicts[v]) for v in VERDICTS)]]
    for command, found in targets.items():
        met, all_ = count(found)
        rows.append([f"targets of `{command}`: met, missed", str(met), str(all_ - met), ""])
    told = Counter(row[-1] for row in faults)
    held, lost = (str(told[asked.VERDICTS[met]]) for met in (True, False))
    rows.append(["figures of `make test-faults`: held, missed", held, lost, ""])
    return [*table(["what", "yes", "no", "cannot be said here"], rows), ""]


def _claims(data: Data, claims: Sequence[tuple[Any, Any, Any]]) -> list[str]:
    lines = [
        "## The papers' claims",
        "",
        f'"{VERDICTS[0]}": every cell that was measured agrees. "{VERDICTS[1]}": at least one does not; the reason '
        f'says how many. "{VERDICTS[2]}": it needs what is not here, or no run could show it. The numbers come from '
        "the two benchmarks below and from one small command of their own:",
        "",
        source(data["claims"]),
        "",
    ]
    for paper in pick(data["papers"], "papers"):
        rows = [
            [claim["claim"], claim["claimed"], judged.ours or "no run", f"**{judged.verdict}**", judged.why]
            for owner, claim, judged in claims
            if owner is paper
        ]
        lines += [f"### {paper['title']} ({paper['cite']})", ""]
        lines += [*table(["claim", "claimed", "here", "verdict", "why"], rows), ""]
    return lines


def _negative(data: Data, claims: Sequence[tuple[Any, Any, Any]], targets: Mapping[str, list[Target]]) -> list[str]:
    lines = ["## Negative results", "", *_trained(pick(data["claims"], "trained network"))]
    rivals = [t for t in sampler_sections(data)[1].targets if t.text.endswith(part_randomized.GRID_RIVAL)]
    level = [t for t in rivals if t.value >= 1]
    lines += [
        "- Randomized midpoint on a learned grid against DPM++ 2M on a grid learned for it, at equal calls: DPM++ 2M "
        f"is level or better in {len(level)} of {len(rivals)} cells: part of the gain over stock grids is the grid's.",
        *(_beaten(data, method) for method in (DIRECT, REFINED)),
    ]
    refused = [claim["claim"] for _, claim, judged in claims if judged.verdict == VERDICTS[1]]
    lines += [f"- Claims not reproduced here: {len(refused)}, see above."]
    slow = [row for row in asked.rows(pick(data["faults"], "figures")) if row[-1] == asked.VERDICTS[False]]
    lines += [f"- `make test-faults`: {what}: asked {limit}, counted {value}." for _, what, limit, value, _ in slow]
    for command, found in targets.items():
        missed = [t for t in found if t.met is False]
        lines += [f"- `{command}`: {len(missed)} targets missed:", ""]
        lines += [f"  <details><summary>The {len(missed)} missed targets</summary>", ""]
        rows = [[t.text, short(t.value), f"{t.limit:g}"] for t in missed]
        lines += ["  " + line for line in table(["ratio or cost", "measured", "at most"], rows)] if rows else []
        lines += ["", "  </details>", ""]
    return lines


def _trained(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in ("Restart", "SDE"):
        middle, width = found[f"{name} less ODE"], found[f"{name} 95 %"]
        told = f"{1000 * middle:.2f} ± {1000 * width:.2f}"
        if middle + width < 0:
            words = f"{name} beat the ODE"
        elif middle - width > 0:
            words = f"{name} was worse than the ODE"
        else:
            words = f"{name} did not beat the ODE beyond chance"
        lines.append(
            f"- On a well-trained digits network (the tiny eps checkpoint, {found['calls']} calls each, "
            f"{found['samples']} digits) {words}: energy distance from real digits less the ODE's, {told} thousandths "
            f"(95 % interval over seeds; ODE {1000 * found['ODE']:.2f})."
        )
    return lines


def _beaten(data: Data, method: str) -> str:
    cells = [
        to_best(case, method, n)
        for case in pick(data["schedules"], "cases")
        for n in case["learned"].get(method, {})
        if int(n) not in case["unfitted"]
    ]
    lost, same = sum(v > 1 for v in cells), sum(v == 1 for v in cells)
    return (
        f"- Schedules learned by the {method} method against the best stock schedule of that cell: worse in {lost} of "
        f"{len(cells)} cells (at most {max(cells):.2f} of its error), the same in {same}, better in "
        f"{len(cells) - lost - same}."
    )
