"""Saving a schedule while processes die, disks are full, folders read-only, and others save the same name."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_campaign import POINTS, listed, look, schedule

from restart_art.nodes.library import save_named, sweep
from restart_art.schedules import ArtSchedule
from restart_art.schedules.art import storage

import figures

CAMPAIGN = Path(__file__).with_name("kill_campaign.py")
NOBODY = 65534


def old_and_new(folder: Path) -> tuple[ArtSchedule, ArtSchedule]:
    """A folder in which "m" holds the first of the two."""
    save_named(schedule(10.0), folder, "m", overwrite=True)
    return schedule(10.0), schedule(9.0)


def assert_unharmed(folder: Path, old: ArtSchedule) -> None:
    assert [p.name for p in folder.iterdir()] == ["m.safetensors"]
    assert ArtSchedule.load(folder / "m.safetensors") == old


COUNTS = {
    "save": figures.inputs(50, 8),
    "fit": figures.inputs(50, 4),
    "points": figures.inputs(5 * len(POINTS), len(POINTS)),
}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    folder = tmp_path_factory.mktemp("art_schedules")
    asked = [f"{kind}={count}" for kind, count in COUNTS.items()]
    run = subprocess.run(
        [sys.executable, str(CAMPAIGN), str(folder), "1", *asked],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    answer: dict[str, dict[str, int]] = json.loads(run.stdout.partition("CAMPAIGN ")[2])
    return answer


@pytest.mark.parametrize("kind", COUNTS)
def test_killed_at_any_moment_no_half_file_is_listed(campaign: dict[str, dict[str, int]], kind: str) -> None:
    """kill -9 at random moments of a save and of a fit-and-save, and at each point of a save."""
    found = campaign[kind]
    assert found["kills"] == COUNTS[kind]
    assert (found["broken"], found["next_failed"]) == (0, 0), found
    assert found["whole"] > 0
    if kind == "points":
        assert found["left"] > 0, "the kills came too late to leave anything: the test proves nothing"
    figures.record("kill", **{f"{kind}_{name}": value for name, value in found.items()})


def test_what_killed_saves_left_behind_is_swept_a_day_later(tmp_path: Path) -> None:
    keep = ["m.safetensors", ".m.safetensors.tmp", ".note.tmp", "x.tmp", ".m.safetensors.abcdefgh.tmp"]
    for name in keep:
        (tmp_path / name).write_bytes(b"x")
    stale = [tmp_path / ".a.safetensors.x7_kd0p2.tmp", tmp_path / "sub" / ".b c.safetensors.abcdefgh.tmp"]
    stale[1].parent.mkdir()
    for path in (*stale, tmp_path / keep[1], tmp_path / keep[2], tmp_path / keep[3], tmp_path / keep[0]):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    assert sorted(sweep(tmp_path)) == sorted(stale)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == sorted(keep)  # a fresh one may be in use


@contextlib.contextmanager
def tiny_disk(folder: Path) -> Iterator[None]:
    """A disk of 12 kB mounted at the folder; skips where mounting is not allowed."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a disk can only be mounted by root; the injected errors below stand in")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    with tiny_disk(tmp_path):
        small = ArtSchedule(((3, (10.0, 1.0, 0.1)),), "euler", "ve", 0.03, 14.6)
        save_named(small, tmp_path, "m", overwrite=True)
        for _ in range(5):
            with pytest.raises(OSError, match="No space left on device"):
                save_named(schedule(9.0), tmp_path, "m", overwrite=True)
            with pytest.raises(OSError, match="No space left on device"):
                save_named(schedule(9.0), tmp_path, "other", overwrite=False)
            assert_unharmed(tmp_path, small)


WRITES = ("mkstemp", "write", "fsync", "chmod", "replace")


@pytest.mark.parametrize("where", WRITES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES])
def test_an_error_at_any_point_of_a_save_leaves_the_old_file(
    where: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = old_and_new(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    class Full:
        def __init__(self, handle: int, mode: str) -> None:
            self.file = real(handle, mode)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[:100])
            self.file.flush()
            fail()

    real = os.fdopen
    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(storage.os, "fdopen", Full)
        else:
            patch.setattr(storage.tempfile if where == "mkstemp" else os, where, fail)
        with pytest.raises(OSError, match=os.strerror(code)) as failure:
            save_named(new, tmp_path, "m", overwrite=True)
        assert failure.value.errno == code
    assert_unharmed(tmp_path, old)
    assert save_named(new, tmp_path, "m", overwrite=True) == "m"
    assert ArtSchedule.load(tmp_path / "m.safetensors") == new


def _save(folder: str, name: str, top: float, overwrite: bool, gate: Any, answers: Any, user: int | None) -> None:
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    gate.wait(60)
    try:
        answers.put((top, save_named(schedule(top), Path(folder), name, overwrite=overwrite)))
    except Exception as error:
        answers.put((top, f"{type(error).__name__}: {error}"))


def saved_at_once(folder: Path, tops: list[float], *, overwrite: bool, user: int | None = None) -> list[str]:
    """Processes that save one schedule each under the name "m", all let go together; the names they got."""
    spawn = multiprocessing.get_context("fork")
    gate, answers = spawn.Barrier(len(tops)), spawn.Queue()
    jobs = [spawn.Process(target=_save, args=(str(folder), "m", top, overwrite, gate, answers, user)) for top in tops]
    for job in jobs:
        job.start()
    found = sorted(answers.get(timeout=60) for _ in jobs)
    for job in jobs:
        job.join(60)
    return [name for _, name in found]


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_two_processes_save_the_same_name_at_the_same_time(tmp_path: Path) -> None:
    """Two whole files where both are kept, one where they overwrite, one where it is the same schedule."""
    rounds = figures.inputs(50, 6)
    for count in range(rounds):
        both, over, same = (tmp_path / f"{kind}{count}" for kind in ("both", "over", "same"))
        assert sorted(saved_at_once(both, [9.0, 8.0], overwrite=False)) == ["m", "m_2"]
        assert saved_at_once(over, [9.0, 8.0], overwrite=True) == ["m", "m"]
        assert saved_at_once(same, [9.0, 9.0], overwrite=False) == ["m", "m"]
        known = [schedule(9.0), schedule(8.0)]
        assert [len(listed(f)) for f in (both, over, same)] == [2, 1, 1]
        assert {ArtSchedule.load(p).sigma_max for p in listed(both)} == {14.6}
        assert [look(f, known) for f in (both, over, same)] == [
            {"whole": whole, "broken": 0, "left": 0} for whole in (2, 1, 1)
        ]
    figures.record("same_name", rounds=rounds, failures=0)


@pytest.mark.skipif(sys.platform == "win32", reason="fork, POSIX permissions")
def test_a_read_only_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    """As a user that may not write there (root may write anywhere)."""
    user = NOBODY if os.geteuid() == 0 else None
    folder = Path("/tmp") / f"restart_art_read_only_{os.getpid()}"
    folder.mkdir()
    try:
        old, _ = old_and_new(folder)
        folder.chmod(0o555)
        for overwrite in (True, False):
            (answer,) = saved_at_once(folder, [9.0], overwrite=overwrite, user=user)
            assert answer.startswith("PermissionError"), answer
            assert str(folder) in answer, answer
        folder.chmod(0o755)
        assert_unharmed(folder, old)
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
