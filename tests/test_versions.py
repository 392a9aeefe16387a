"""docs/versions.md shows the matrix of `make versions`, the matrix starts where pyproject does, the stand-ins hold."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "versions"))
import version_matrix
import version_run
import version_standins
from version_matrix import LEFT_OUT, MATRIX, MODULES, PAGE, ROOT, SLOW

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
RESULT = re.compile(
    r"\d+ passed, \d+ skipped|not run|no interpreter here|no wheel: \S+|no environment: .+"
    r"|does not (install|import here): .+"
)


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_the_matrix_begins_where_the_project_does() -> None:
    oldest = min((row.python for row in MATRIX), key=number)
    assert f'requires-python = ">={oldest}"' in PROJECT
    assert f'python_version = "{oldest}"' in PROJECT  # mypy's
    assert f'target-version = "py{oldest.replace(".", "")}"' in PROJECT  # ruff's
    for page in ("README.md", "CONTRIBUTING.md"):
        assert f"Python {oldest} or newer" in (ROOT / page).read_text(encoding="utf-8").replace("(", "")


def test_the_matrix_is_as_wide_as_promised() -> None:
    assert {row.python for row in MATRIX} >= {"3.10", "3.11", "3.12", "3.13"}
    assert min(number(row.torch) for row in MATRIX)[:2] == (2, 4)
    assert {number(row.numpy)[0] for row in MATRIX} == {1, 2}
    assert any(number(row.numpy)[:2] == (1, 26) for row in MATRIX)
    tested_here = re.search(r"install torch==(\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert tested_here
    assert tested_here[1] in {row.torch for row in MATRIX}
    assert len({row.name for row in MATRIX}) == len(MATRIX)


def test_the_page_has_every_row_in_order_and_no_other() -> None:
    """After a change of the matrix: `make versions` (the changed rows: ONLY=part of their name)."""
    lines = version_run.lines_of(PAGE.read_text(encoding="utf-8"))
    assert list(lines) == [row.name for row in MATRIX]
    passed = []
    for row, line in zip(MATRIX, lines.values(), strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == version_run.HEADER.count("|") - 1, line
        assert RESULT.fullmatch(cells[5]), line
        if "passed" in cells[5]:
            passed.append(row)
            assert cells[1].startswith(row.python + ".")
            assert (cells[2].partition("+")[0].partition(" ")[0], cells[3]) == (row.torch, row.numpy)
            assert int(cells[5].split()[0]) >= 500, f"{row.name}: that is not the suite"
    by_torch = sorted(MATRIX, key=lambda row: number(row.torch))
    assert {by_torch[0], by_torch[-1]} <= set(passed), "the oldest and the newest torch"
    assert {row.python for row in passed} == {row.python for row in MATRIX}
    assert {number(row.numpy)[0] for row in passed} == {1, 2}


def test_rows_that_did_not_run_stay_and_rows_of_no_matrix_go() -> None:
    first, second = (f"| `{row.name}` | a | b | c | d | 7 passed, 0 skipped | 2026-01-01 |" for row in MATRIX[:2])
    stranger = replace(MATRIX[0], torch="1.0.0").name
    before = version_run.page_of({MATRIX[0].name: first, MATRIX[1].name: second.replace("7 passed", "6 passed")})
    after = version_run.page_of(version_run.lines_of(before) | {MATRIX[1].name: second, stranger: "| gone |"})
    assert first in after.splitlines()
    assert second in after.splitlines()
    assert "gone" not in after
    assert after.count("| not run |") == len(MATRIX) - 2


def test_what_a_row_installs_is_pinned_and_its_tests_exist() -> None:
    for row in MATRIX:
        wanted = version_run.requirements(row)
        assert wanted["numpy"] == row.numpy
        assert not LEFT_OUT & set(wanted)
        assert {"pytest", "hypothesis", "scipy", "k-diffusion", *row.pins, *version_matrix.TORCH_NEEDS} <= set(wanted)
        assert all(re.fullmatch(r"\d[\w.]*", version) for version in wanted.values()), wanted
    assert not [module for module in MODULES if not (ROOT / module).is_file()]
    for test in SLOW:
        module, _, name = test.partition("::")
        assert module in MODULES
        assert f"def {name}(" in (ROOT / module).read_text(encoding="utf-8")


def test_an_interpreter_is_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shim that is on the path but leads nowhere is no interpreter; the one behind it is found."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    shim, real = tmp_path / "shims" / f"python{version}", tmp_path / f"versions/{version}.1/bin/python{version}"
    for path, text in ((shim, "echo no such version >&2; exit 127"), (real, f'exec "{sys.executable}" "$@"')):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert version_run.interpreter(version) is None
    monkeypatch.setenv("PATH", f"{shim.parent}:/bin:/usr/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert version_run.interpreter(version) == real


def test_counted_names_what_failed(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b[1]"><failure/></testcase>'
        '<testcase name="c"><skipped/></testcase><testcase name="d"><error/></testcase></testsuite></testsuites>'
    )
    assert version_run.counted(tmp_path / "report.xml") == "1 passed, 1 skipped, 2 **failed**: `b[1]`, `d`"


@pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("gcc") or not shutil.which("readelf"), reason="gcc and readelf on Linux"
)
def test_stand_ins_load_and_end_the_process_when_called(tmp_path: Path) -> None:
    """A library that takes one symbol with a version and one without from libraries that are then gone."""
    folder = tmp_path / "site" / "torch" / "lib"
    folder.mkdir(parents=True)
    made = {"libcudnn.so.9": {"libcudnn.so.9": {"cudnnAdd"}}, "libnccl.so.2": {"": {"ncclSum"}}}
    for name, symbols in made.items():
        version_standins.build(folder, name, symbols)
    source = tmp_path / "user.c"
    source.write_text(
        "void cudnnAdd(void); void ncclSum(void); void *taken[] = {cudnnAdd, ncclSum};"
        "int two(void) { return 2; } void call(int i) { ((void (*)(void))taken[i])(); }"
    )
    user = folder / "libuser.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", str(user), str(source), *(str(folder / n) for n in made),
         "-Wl,-rpath,$ORIGIN"], check=True,
    )  # fmt: skip
    for name in made:
        (folder / name).unlink()
    with pytest.raises(OSError, match=r"libcudnn|libnccl"):
        ctypes.CDLL(str(user))
    wanted = version_standins.wanted(folder)
    assert {name: {v: s for v, s in symbols.items() if s} for name, symbols in wanted.items()} == made
    assert version_standins.make(folder) == sorted(made)
    load = f"import ctypes; user = ctypes.CDLL({str(user)!r}); print(user.two(), flush=True); user.call(%d)"
    for i in range(2):
        done = subprocess.run([sys.executable, "-c", load % i], capture_output=True, text=True, check=False, timeout=60)
        assert done.stdout.strip() == "2"
        assert done.returncode < 0, "a stand-in that was called answered"
    assert version_standins.make(folder) == []
