"""What a judge of a claim says, and the rule: every measured cell must agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

VERDICTS = ("reproduced here", "not reproduced here", "not testable here")

Data = Mapping[str, Any]  # {record's name: record}


@dataclass(frozen=True)
class Judged:
    """verdict: one of VERDICTS. ours: our number. why: in a sentence or two."""

    verdict: str
    ours: str
    why: str


def decide(cells: Iterable[bool]) -> str:
    """Every cell must agree. ValueError without one: nothing was measured."""
    found = list(cells)
    if not found:
        raise ValueError("no cell was measured for this claim")
    return VERDICTS[0] if all(found) else VERDICTS[1]


def span(values: Iterable[float]) -> str:
    found = sorted(values)
    return f"{found[0]:.3f} to {found[-1]:.3f}" if len(found) > 1 else f"{found[0]:.3f}"
