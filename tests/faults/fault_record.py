"""The end of a full fault run: its figures as a table on the terminal and, if all of it passed, docs/data/faults.json.

`python tests/faults/fault_record.py` records the figures of separate runs of modules, labelled as such.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

for folder in (Path(__file__).parents[1] / "comfyui", Path(__file__).parents[1], Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import asked  # noqa: E402
import records  # noqa: E402

import figures  # noqa: E402

WHOLE, PARTS = "whole", "module by module"
DATA = figures.FILE.parents[1] / "docs" / "data"


def outcomes(stats: Mapping[str, Iterable[Any]]) -> dict[str, dict[str, int]]:
    """pytest's statistics as {"passed" | "skipped" | "failed" | "error": {"module::function": how many}}."""
    found = {}
    for kind in ("passed", "skipped", "failed", "error"):
        names = (report.nodeid for report in stats.get(kind, ()) if "::" in getattr(report, "nodeid", ""))
        counts = Counter(f"{Path(n.partition('::')[0]).stem}::{n.rpartition('::')[2].partition('[')[0]}" for n in names)
        found[kind] = dict(sorted(counts.items()))
    return found


def make(
    counted: Mapping[str, Any], run: str, hosts: Sequence[str], seconds: float | None, tests: Mapping[str, Any] | None
) -> records.Record:
    """The record. run: WHOLE or PARTS. seconds, tests: of a whole run; None where modules ran one by one."""
    head = records.about("make test-faults", {"all": "fixed, in the tests"}, hosts, run=run)
    head["seconds"] = None if seconds is None else round(seconds)
    return {"about": head, "tests": tests, "figures": dict(counted)}


def finish(
    stats: Mapping[str, Iterable[Any]], status: int, whole: bool, seconds: float, hosts: Sequence[str],
    say: Callable[[str], None], file: Path = figures.FILE, folder: Path = DATA,
) -> bool:  # fmt: skip
    """Print every figure next to what was asked; write the record if the whole command succeeded. Says whether."""
    counted = figures.read(file)
    say("")
    for line in asked.text_table(counted):
        say(line)
    gaps = asked.gaps(counted)
    if not whole:
        why = "this run was of some modules only"
    elif status != 0:
        why = f"the run failed (pytest's exit status {status})"
    elif gaps:
        why = "not counted: " + "; ".join(gaps)
    else:
        records.keep("faults", make(counted, WHOLE, hosts, seconds, outcomes(stats)), folder)
        say(f"recorded in docs/data/faults.json after {seconds:.0f} s; `make results` writes the page")
        return True
    say(f"not recorded in docs/data/faults.json: {why}")
    return False


def main() -> None:
    from locate import find_checkouts, version_of

    counted = figures.read()
    gaps = asked.gaps(counted)
    if gaps:
        raise SystemExit(f"not recorded; not counted in {figures.FILE.name}: " + "; ".join(gaps))
    versions = {version_of(folder) for folder in find_checkouts()}
    versions |= {key.partition("_")[0] for key in counted["server"]}
    print(records.keep("faults", make(counted, PARTS, sorted(versions), None, None), DATA))


if __name__ == "__main__":
    main()
