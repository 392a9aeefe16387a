"""The compatibility page names every test that drives a ComfyUI, and what it counts is what pytest said."""

from __future__ import annotations

from collections import Counter

import pytest

import compatibility


def test_counts_and_cells():
    reports = [
        ("passed", "tests/comfyui/test_a.py::test_x[ComfyUI-0.33.0-flow]"),
        ("passed", "tests/comfyui/test_a.py::test_y[ComfyUI-0.33.0]"),
        ("skipped", "tests/comfyui/test_a.py::test_x[ComfyUI-0.8.0-flow]"),
        ("failed", "tests/comfyui/test_a.py::test_y[ComfyUI-0.8.0]"),
        ("passed", "tests/test_fit.py::test_z"),
    ]
    counts = compatibility.count(reports)
    assert counts == {"tests/comfyui/test_a.py": {"0.33.0": Counter(passed=2), "0.8.0": Counter(skipped=1, failed=1)}}
    text = compatibility.page(counts, "2026-01-01", "3.11.0", "2.13.0")
    assert "| What | ComfyUI 0.8.0 | ComfyUI 0.33.0 |" in text
    assert "| 0, 1 skipped, 1 **failed** | 2 |" in text


def test_modules_that_a_run_leaves_out_keep_their_row():
    first, second = list(compatibility.areas())[:2]
    rows = {"0.8.0": Counter(passed=3), "0.33.0": Counter(passed=4, skipped=1)}
    before = compatibility.page({first: rows}, "2026-01-01", "3.11.0", "2.13.0")
    after = compatibility.page({second: rows}, "2026-01-02", "3.11.0", "2.13.0", before)
    assert [line for line in before.splitlines() if first in line] == [
        line for line in after.splitlines() if first in line
    ]
    assert sum("| 3 | 4, 1 skipped |" in line for line in after.splitlines()) == 2
    other = compatibility.page({second: {"0.34.0": Counter(passed=1)}}, "2026-01-02", "3.11.0", "2.13.0", before)
    assert first not in other  # other versions ran: no row is left of those


@pytest.mark.parametrize("module", compatibility.areas())
def test_every_module_says_what_it_is_about(module):
    assert len(compatibility.areas()[module].split()) >= 5


def test_the_page_names_every_module_and_no_failure():
    """After adding a module: `make compatibility`."""
    text = compatibility.PAGE.read_text(encoding="utf-8")
    missing = [module for module in compatibility.areas() if module not in text]
    assert not missing, f"run make compatibility: {missing}"
    assert "**failed**" not in text
    assert "**errors**" not in text
    for version in ("0.8.0", "0.33.0"):
        assert f"ComfyUI {version}" in text
