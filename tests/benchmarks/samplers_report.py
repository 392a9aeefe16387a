"""The page and the picture of the sampler benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

VERDICT = {True: "met", False: "**missed**", None: "none set"}


@dataclass(frozen=True)
class Target:
    """A promise "value <= limit", fixed before the run; limit None: a ratio told beside the targets."""

    text: str
    value: float
    limit: float | None = None

    @property
    def met(self) -> bool | None:
        """False for nan too; None without a limit."""
        return None if self.limit is None else self.value <= self.limit


@dataclass(frozen=True)
class Section:
    """One part of the page: paragraphs, a table, targets, and the numbers of its chart."""

    title: str
    text: list[str]
    columns: list[str]
    rows: list[list[str]]
    targets: list[Target]
    numbers: dict[str, Any] = field(default_factory=dict)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a markdown table; columns whose first cell is a number, but for the first one, are right-aligned."""
    numbers = [i > 0 and (cell[:1].isdigit() or cell[:1] == "-") for i, cell in enumerate(rows[0])]
    head = ["| " + " | ".join(columns) + " |", "|" + "|".join("--:" if n else "---" for n in numbers) + "|"]
    return head + ["| " + " | ".join(row) + " |" for row in rows]


def short(value: float) -> str:
    """A ratio, or a count of at least 100."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


def target_rows(targets: Sequence[Target]) -> list[list[str]]:
    """Cells of each: text, measured, at most, verdict."""
    return [[t.text, short(t.value), "" if t.limit is None else f"{t.limit:g}", VERDICT[t.met]] for t in targets]


def page(sections: Sequence[Section], picture: str, command: str) -> str:
    """The markdown page: how many targets were met, the picture, every section with its targets."""
    targets = [t for s in sections for t in s.targets if t.limit is not None]
    missed = sum(not t.met for t in targets)
    lines = [
        "# Sampler benchmark",
        "",
        f"Written by `{command}` (CPU, fixed seeds). **{len(targets) - missed} of {len(targets)} targets met, "
        f"{missed} missed.** The limits were set before the runs and are not changed to fit; every miss is marked. "
        "Exact mixtures and tiny checkpoints show how the methods behave, not how big models' pictures look.",
        "",
        f"![The three parts as charts]({picture})",
        "",
    ]
    for part in sections:
        lines += [f"## {part.title}", ""]
        for paragraph in part.text:
            lines += [paragraph, ""]
        lines += [*table(part.columns, part.rows), ""]
        judged = [
            [t.text, f"{t.value:.3f}", "" if t.limit is None else f"{t.limit:g}", VERDICT[t.met]] for t in part.targets
        ]
        lines += [*table(["ratio", "measured", "at most", "target"], judged), ""]
    return "\n".join(lines).rstrip() + "\n"
