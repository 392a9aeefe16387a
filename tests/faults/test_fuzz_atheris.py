"""Coverage-guided fuzzing (atheris) of everything that reads text or files."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from figures import FULL, inputs, record

SCRIPT = Path(__file__).with_name("fuzz_atheris.py")
TOKENS = (
    *("{", "}", "[", "]", ",", ":", "null", "true", "NaN", "1e999", "-1", "0.0", "1e-9", "%", "#", "75%", "#9"),
    *('"curves"', '"bounds"', '"solver"', '"process"', '"flow"', '"ve"', '"model"', '"name"', '"cfg"', '"version"'),
    *("__metadata__", "schedule", "report", "F64", "F32", "data_offsets", "shape", "dtype", "curve_4"),
)
TARGETS = {"segments": 60_000, "fields": 40_000, "schedule_text": 60_000, "schedule_file": 15_000}
SHORT = ("segments", "schedule_text")  # each start costs seconds

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed (it has wheels for Linux on x86-64 and Python 3.11 to 3.13)",
)


@pytest.mark.parametrize("target", list(TARGETS) if FULL else SHORT)
def test_no_input_breaks_a_promise(target: str, tmp_path: Path) -> None:
    count, corpus, words = inputs(TARGETS[target], 2000), tmp_path / "corpus", tmp_path / "words.dict"
    corpus.mkdir()
    quoted = (token.replace('"', '\\"') for token in TOKENS)
    words.write_text("".join(f'"{token}"\n' for token in quoted))
    command = [sys.executable, str(SCRIPT), target, str(count), str(corpus), f"-dict={words}"]
    run = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, cwd=tmp_path, timeout=580
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-4000:]
    found = [line for line in run.stdout.splitlines() if line.startswith("FIGURES ")]
    assert found, run.stderr[-2000:]
    figures = json.loads(found[0].removeprefix("FIGURES "))
    assert figures["inputs"] == count
    assert figures["refused"] > 0
    record("coverage_guided", **{f"{target}_{key}": value for key, value in figures.items()})
