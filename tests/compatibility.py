"""docs/compatibility.md: which ComfyUI versions the tests really ran in, and what passed there.

Written by a test run that is told to (`make compatibility`); tests/test_compatibility.py keeps its areas complete.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "compatibility.md"
FOLDERS = ("tests/comfyui", "tests/browser")
VERSION = re.compile(r"ComfyUI-(\d+\.\d+\.\d+)")


def areas() -> dict[str, str]:
    """Test module -> what it is about, in its own words."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("test_*.py")):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
            found[path.relative_to(ROOT).as_posix()] = " ".join(text.split("\n\n")[0].split())
    return found


def count(reports: Iterable[tuple[str, str]]) -> dict[str, dict[str, Counter[str]]]:
    """(outcome, test id) -> module -> version -> outcomes."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for outcome, test in reports:
        version = VERSION.search(test)
        if version:
            found.setdefault(test.partition("::")[0], {}).setdefault(version[1], Counter())[outcome] += 1
    return found


def kept(text: str, counts: dict[str, dict[str, Counter[str]]]) -> dict[str, list[str]]:
    """Module -> cells of the page as it is, for modules that a run left out: what ran before did run."""
    rows = re.findall(r"\(`(tests/[\w/]+\.py)`\) \| (.*) \|$", text, re.MULTILINE)
    return {module: cells.split(" | ") for module, cells in rows if module not in counts and module in areas()}


def page(counts: dict[str, dict[str, Counter[str]]], date: str, python: str, torch: str, before: str = "") -> str:
    """The page as markdown. before: the page as it is; its rows stay for modules that this run left out, if it ran
    the same versions."""
    versions = sorted({v for row in counts.values() for v in row}, key=lambda v: [int(p) for p in v.split(".")])
    lines = [
        "# Compatibility",
        "",
        "Written by `make compatibility`, which runs the tests below in real ComfyUI servers and in ComfyUI's own "
        f"Python. Last run {date}: Python {python}, torch {torch}, CPU. A number is tests passed; skipped ones (a "
        "feature that a version lacks) and failed ones are named beside it. What is not in this table was not run. A "
        "run of some modules only leaves the rows of the others as they were.",
        "",
        "| What | " + " | ".join(f"ComfyUI {v}" for v in versions) + " |",
        "|---|" + "--:|" * len(versions),
    ]
    words = areas()
    head = next((line for line in before.splitlines() if line.startswith("| What |")), "")
    old = kept(before, counts) if head == lines[4] else {}
    for module in sorted({*counts, *old}):
        cells = old.get(module) or [_cell(counts[module].get(version, Counter())) for version in versions]
        lines.append(f"| {words.get(module, module)} (`{module}`) | " + " | ".join(cells) + " |")
    lines += ["", "No GPU was used: CUDA, MPS and several real devices are untested.", ""]
    return "\n".join(lines)


def _cell(outcomes: Counter[str]) -> str:
    named = [f"{outcomes['passed']}"]
    named += [f"{outcomes[key]} {word}" for key, word in (("skipped", "skipped"), ("failed", "**failed**"),
                                                         ("error", "**errors**")) if outcomes[key]]  # fmt: skip
    return ", ".join(named) if outcomes else "not run"


def reports_of(stats: dict[str, list[Any]]) -> list[tuple[str, str]]:
    """pytest's terminal statistics as (outcome, test id)."""
    kinds = ("passed", "skipped", "failed", "error")
    return [(kind, report.nodeid) for kind in kinds for report in stats.get(kind, []) if hasattr(report, "nodeid")]
