"""The tables of the results page, each under its command, machine, date and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asked
from records import HOW, MissingRecord, Record, machine_words, pick
from results_judged import Data

import gpu_report
import part_parallel
import part_randomized
import part_restart
from fault_record import WHOLE
from samplers_report import Section, Target, short, table, target_rows
from schedule_cases import TITLES
from schedule_targets import targets as schedule_targets

SAMPLER_PARTS = {"restart": part_restart, "randomized": part_randomized, "parallel": part_parallel}


def sampler_sections(data: Data) -> list[Section]:
    return [part.section(pick(data["samplers"], name)) for name, part in SAMPLER_PARTS.items()]


def judged_targets(data: Data) -> dict[str, list[Target]]:
    """Every target of both benchmarks, by the command that measured it, as their own pages judge it."""
    return {
        "make bench-samplers": [t for s in sampler_sections(data) for t in s.targets],
        "make bench-schedules": schedule_targets(pick(data["schedules"], "cases")),
    }


def count(found: Iterable[Target]) -> tuple[int, int]:
    """Met, and all that have a limit."""
    limited = [t for t in found if t.limit is not None]
    return sum(bool(t.met) for t in limited), len(limited)


def source(record: Record) -> str:
    """The line under a heading: command, date, machine, seeds. MissingRecord if one of them is not told."""
    head: Mapping[str, Any] = record.get("about", record)
    lost = [key for key in ("command", "date", "machine", "seeds") if key not in head]
    if lost:
        raise MissingRecord(f"a record does not tell its {', '.join(lost)}")
    seeds = head["seeds"]
    told = "; ".join(f"{k}: {_listed(v)}" for k, v in seeds.items()) if isinstance(seeds, dict) else _listed(seeds)
    return f"*`{head['command']}`, {head['date']}. {machine(head['machine'])}. Seeds: {told or 'none'}.*"


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def machine(kind: Any) -> str:
    if not isinstance(kind, dict):
        return str(kind)
    if "cores" not in kind:
        return ", ".join(f"{k} {_listed(v)}" for k, v in kind.items())
    return machine_words(kind)


def _targets(found: Sequence[Target]) -> list[str]:
    met, all_ = count(found)
    return [
        f"<details><summary>Targets: {met} of {all_} met, {all_ - met} missed</summary>", "",
        *table(["ratio or cost", "measured", "at most", "target"], target_rows(found)), "", "</details>", "",
    ]  # fmt: skip


def samplers_part(data: Data, targets: Mapping[str, list[Target]]) -> list[str]:
    lines = ["## Samplers", "", source(data["samplers"]), ""]
    lines += ["How each is measured: [sampler benchmark](samplers-benchmark.md).", ""]
    for part in sampler_sections(data):
        lines += [
            f"<details><summary>{part.title}</summary>",
            "",
            *table(part.columns, part.rows),
            "",
            "</details>",
            "",
        ]
    return lines + _targets(targets["make bench-samplers"])


def schedules_part(data: Data, targets: Mapping[str, list[Target]]) -> list[str]:
    lines = ["## Schedules", "", source(data["schedules"]), ""]
    lines += ["How it is measured, and every schedule's error: [schedule benchmark](schedules-benchmark.md).", ""]
    return lines + _targets(targets["make bench-schedules"]) + _reach(data.get("reach"))


def _reach(record: Record | None) -> list[str]:
    """What a search finds that sees the held-out trajectories, where a refined fit missed its limit."""
    if record is None or not record["rows"]:
        return []
    rows = [
        [
            f"{row['problem']}: {TITLES[row['solver']]}, {row['steps']} steps / {row['stock']}", short(row["refined"]),
            *(short(value) for value in row["found"].values()), f"{row['limit']:g}",
            "no" if min(row["found"].values()) > row["limit"] else "yes",
        ]
        for row in record["rows"]
    ]  # fmt: skip
    out = sum(row[-1] == "no" for row in rows)
    return [
        "### The missed limits on the tiny checkpoints: how far they are out of reach", "", source(record), "",
        "Refined: the better of the fits for one and for three step counts. Beside it a search by evolution (CMA-ES) "
        "that sees the very trajectories it is judged on, which no fit may, with hundreds of real runs on all of "
        f"them: in {out} of {len(rows)} cells it stays above the limit too. It may miss a better grid far from its "
        "starts: evidence, not a proof.",
        "",
        *table(
            ["error over the best stock schedule's", "refined", "search from it", "search from the best stock grid",
             "limit", "reached by a search"], rows,
        ), "",
    ]  # fmt: skip


def faults_part(data: Data) -> list[str]:
    record = data["faults"]
    head, tests = pick(record, "about"), record.get("tests")
    if head["run"] == WHOLE:
        passed, skipped = (sum(pick(record, f"tests/{kind}").values()) for kind in ("passed", "skipped"))
        how = f"One run of the whole command: {head['seconds']:,} s, {passed} tests passed, {skipped} skipped."
    else:
        how = (
            f"**Run {head['run']}**: full counts, but the modules were run one after another, not as the one command, "
            "so there is no duration and no list of passed tests. `make test-faults` replaces these figures when all "
            "of it passes."
        )
    promises = []
    for promise in asked.ASSERTED:
        known = (tests or {}).get("passed", {})
        lost = [name for name in promise.tests if not known.get(name)]
        verdict = (
            "not recorded in such a run" if tests is None else (f"**not run**: {', '.join(lost)}" if lost else "held")
        )
        promises.append([str(promise.item), promise.what, verdict])
    return [
        "## Reliability", "", source(record), "", how, "",
        "Items: 1 hostile input, 2 faults, 3 soak, 4 good neighbour. What was asked was fixed before the runs.", "",
        *table(asked.COLUMNS, asked.rows(pick(record, "figures"))), "",
        "Promises with nothing to count; the run fails where one is broken:", "",
        *table(["item", "promise", "verdict"], promises), "",
    ]  # fmt: skip


def gpu_part(data: Data) -> list[str]:
    record = data.get("gpu")
    if record is None:
        return [
            "## On a GPU",
            "",
            f"No GPU numbers are recorded yet. To make them: {HOW['gpu']} (docs/data/gpu.json); then `make results`.",
            "",
        ]
    lines = ["## On a GPU", "", source(record), "", *gpu_report.warning(record), *gpu_report.sections(record, "###")]
    rows = gpu_report.target_rows(pick(record, "targets"))
    return lines + ([*table(["target", "measured", "at most", "verdict"], rows), ""] if rows else [])
