"""The GPU benchmark's results: joined over runs, written as JSON, as a page and as a chart."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samplers_report import table

VERDICT = {True: "met", False: "**missed**", None: "not measured"}


@dataclass(frozen=True)
class Table:
    """points: numbers of the chart, by the chart's name."""

    title: str
    header: list[str]
    rows: list[list[str]]
    text: list[str]
    points: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A promise "measured <= limit", fixed before the run. nan: it could not be measured; inf: never reached."""

    text: str
    measured: float
    limit: float

    @property
    def met(self) -> bool | None:
        return None if math.isnan(self.measured) else self.measured <= self.limit


@dataclass(frozen=True)
class Result:
    """What one part returns."""

    tables: list[Table]
    targets: list[Target]


def as_record(part: str, result: Result) -> dict[str, Any]:
    """The part's tables and targets, as they stand in the JSON."""
    return {
        "tables": [{"part": part, **vars(table), "points": finite(table.points)} for table in result.tables],
        "targets": [
            {
                "part": part, "text": t.text, "measured": t.measured if math.isfinite(t.measured) else None,
                "limit": t.limit, "met": t.met,
            }
            for t in result.targets
        ],
    }  # fmt: skip


def finite(points: dict[str, Any]) -> dict[str, Any]:
    """Without the points that are not finite: JSON has no name for them."""
    return {
        name: {label: [p for p in line if all(map(math.isfinite, p))] for label, line in lines.items()}
        for name, lines in points.items()
    }


def join(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """new's parts in place of old's; old's other parts stay, if it is of the same machine and size."""
    same = all(old.get(name) == new.get(name) for name in ("machine", "size"))
    done = {entry["part"] for entry in new["tables"]}
    joined = dict(new)
    for kind in ("tables", "targets"):
        kept = [entry for entry in old.get(kind, []) if entry["part"] not in done] if same else []
        joined[kind] = sorted([*kept, *new[kind]], key=lambda entry: entry["part"])
    return joined


def warning(record: dict[str, Any]) -> list[str]:
    """Lines for a run at toy size."""
    if record.get("size") != "toy":
        return []
    return ["**Toy size: this shows that the benchmark runs. Its numbers mean nothing.**", ""]


def sections(record: dict[str, Any], level: str) -> list[str]:
    """Every table under a heading of that level ("##")."""
    lines = []
    for part in record["tables"]:
        lines += [f"{level} {part['title']}", ""]
        for paragraph in part["text"]:
            lines += [paragraph, ""]
        lines += [*(table(part["header"], part["rows"]) if part["rows"] else ["Nothing was measured."]), ""]
    return lines


def target_rows(targets: Iterable[dict[str, Any]]) -> list[list[str]]:
    """Cells of each: text, measured, at most, verdict."""
    return [
        [t["text"], "" if t["measured"] is None else f"{t['measured']:.4g}", f"{t['limit']:g}", VERDICT[t["met"]]]
        for t in targets
    ]


def page(record: dict[str, Any], picture: str | None) -> str:
    """The markdown page."""
    targets = record["targets"]
    met = sum(t["met"] is True for t in targets)
    missed = sum(t["met"] is False for t in targets)
    lines = [
        "# GPU benchmark",
        "",
        f"Written by `{record['command']}` on {record['machine']}, {record['date']}, seeds {record['seeds']}. "
        f"**{met} of {len(targets)} targets met, {missed} missed, {len(targets) - met - missed} not measured.** "
        "The big models have random weights: times and memory are real, pictures are not.",
        "",
    ]
    lines += warning(record)
    if picture:
        lines += [f"![Charts]({picture})", ""]
    lines += sections(record, "##")
    if targets:
        lines += ["## Targets", "", *table(["target", "measured", "at most", "verdict"], target_rows(targets)), ""]
    return "\n".join(lines).rstrip() + "\n"


CHARTS = {
    "ratio": ("levels R in one batch", "seconds, one batch / R calls"),
    "error": ("seconds", "error to the reference"),
    "distance": ("model calls", "Fréchet distance"),
}


def chart(record: dict[str, Any], file: Path) -> bool:
    """Draws what the tables hold for charts; False where they hold nothing, or matplotlib is not there."""
    found = [(name, lines) for t in record["tables"] for name, lines in t["points"].items() if name in CHARTS]
    if not found:
        return False
    try:
        import matplotlib
    except ImportError:
        print("no chart: matplotlib is not there")
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(6.5 * len(found), 4.8), squeeze=False)
    for axis, (name, lines) in zip(axes[0], found, strict=True):
        for label, points in lines.items():
            if not points:
                continue
            axis.plot(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=label)
        axis.set_xlabel(CHARTS[name][0])
        axis.set_ylabel(CHARTS[name][1])
        axis.set_xscale("log")
        if name != "ratio":
            axis.set_yscale("log")
        axis.legend(fontsize=6)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
    return True


def write(record: dict[str, Any], json_file: Path, pages: Path) -> None:
    """gpu.json, gpu-benchmark.md and gpu-benchmark.png."""
    for folder in (json_file.parent, pages):
        folder.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    drawn = chart(record, pages / "gpu-benchmark.png")
    (pages / "gpu-benchmark.md").write_text(page(record, "gpu-benchmark.png" if drawn else None), encoding="utf-8")
