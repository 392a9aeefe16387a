"""The record of a full fault run: written when the whole command passed and counted everything, and only then."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import asked
import pytest
import records

import fault_record
import figures

HERE = Path(__file__).resolve().parent
SAMPLE = records.load("faults")["figures"]
DRY = """
import json, figures, pytest
FIGURES = json.loads({text!r})

@pytest.mark.parametrize("section", sorted(FIGURES))
def test_count(section):
    assert section != {broken!r}
    figures.record(section, **FIGURES[section])
"""


def finished(tmp_path: Path, counted: dict[str, Any], status: int = 0, whole: bool = True) -> tuple[bool, str]:
    file, lines = tmp_path / "faults.json", []
    file.write_text(json.dumps(counted))
    done = fault_record.finish({}, status, whole, 12.3, ["0.33.0"], lines.append, file, tmp_path / "data")
    assert done == (tmp_path / "data" / "faults.json").is_file()
    return done, "\n".join(lines)


def test_a_whole_run_that_passed_is_recorded(tmp_path: Path) -> None:
    done, told = finished(tmp_path, SAMPLE)
    assert done
    record = records.load("faults", tmp_path / "data")
    assert record["figures"] == SAMPLE
    assert (record["about"]["run"], record["about"]["seconds"]) == (fault_record.WHOLE, 12)
    assert record["about"]["machine"]["comfyui"] == ["0.33.0"]
    assert all(ask.what in told for ask in asked.ASKED)


@pytest.mark.parametrize(("status", "whole", "why"), [(1, True, "failed"), (0, False, "some modules")])
def test_failed_and_partial_runs_are_not(tmp_path: Path, status: int, whole: bool, why: str) -> None:
    done, told = finished(tmp_path, SAMPLE, status, whole)
    assert not done
    assert why in told


@pytest.mark.parametrize("gap", [("soak", None), ("kill", "save_kills"), ("import", None)])
def test_a_run_that_left_something_out_is_not_and_names_it(tmp_path: Path, gap: tuple[str, str | None]) -> None:
    counted = copy.deepcopy(SAMPLE)
    section, name = gap
    if name is None:
        del counted[section]
    else:
        del counted[section][name]
    done, told = finished(tmp_path, counted)
    assert not done
    assert "not run" in told
    assert section in told.splitlines()[-1]


def test_every_promise_without_a_count_names_tests_that_are_there() -> None:
    for promise in asked.ASSERTED:
        for name in promise.tests:
            module, _, function = name.partition("::")
            assert f"def {function}(" in (HERE / f"{module}.py").read_text(encoding="utf-8"), name


@pytest.mark.parametrize(("broken", "workers"), [("", "2"), ("soak", "0")])
def test_the_whole_command_in_small(tmp_path: Path, broken: str, workers: str) -> None:
    """The real hooks in a checkout of their own, two workers: table, record, and a failure that leaves none."""
    room = tmp_path / "tests" / "faults"
    room.mkdir(parents=True)
    for module in ("conftest", "figures", "asked", "fault_record"):
        shutil.copy(HERE / f"{module}.py", room)
    shutil.copy(HERE.parent / "records.py", room.parent)
    (room.parent / "comfyui").symlink_to(HERE.parent / "comfyui")
    (room / "test_dry.py").write_text(DRY.format(text=json.dumps(SAMPLE), broken=broken))
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "faults.json").write_text('{"stale": {"figure": 1}}')
    paths = os.pathsep.join(map(str, (HERE.parents[1], room.parent)))
    env = {**os.environ, "RESTART_ART_FAULTS": "full", "PYTHONPATH": paths}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", workers, "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
         "--import-mode=importlib", str(room)],
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path, env=env,
    )  # fmt: skip
    assert run.returncode == (1 if broken else 0), run.stdout + run.stderr
    assert "hostile inputs in all" in run.stdout
    kept = tmp_path / "docs" / "data" / "faults.json"
    assert kept.is_file() == (not broken), run.stdout
    if not broken:
        record = json.loads(kept.read_text())
        assert record["figures"] == SAMPLE
        assert record["tests"]["passed"] == {"test_dry::test_count": len(SAMPLE)}
    else:
        assert "not recorded" in run.stdout
        assert set(figures.read(tmp_path / "bench" / "faults.json")) == set(SAMPLE) - {broken}
