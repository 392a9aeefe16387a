"""The table of a full fault run: sections from several workers end up in one file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import figures


def test_sections_of_several_writers_are_merged(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "faults.json"
    assert figures.read(file) == {}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: figures.record(f"section {i % 3}", file, **{f"figure_{i}": i}), range(12)))
    found = figures.read(file)
    assert found["section 1"] == {f"figure_{i}": i for i in (1, 4, 7, 10)}
    assert sum(map(len, found.values())) == 12


def test_the_short_run_takes_fewer_inputs() -> None:
    assert figures.inputs(7, 3) == (7 if figures.FULL else 3)
