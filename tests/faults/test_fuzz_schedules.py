"""Hostile schedules, pasted as text or put into the folder as files, and hostile file names."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from restart_art.nodes.library import SUFFIX, save_named
from restart_art.schedules import ArtSchedule, ScheduleError

import fuzz_schedules as hostile
from figures import inputs, record
from fuzz_guard import Guard, fenced

CALM = settings(database=None, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def drive(name: str, strategy: Any, target: Any, full: int, short: int, errors: tuple[type[Exception], ...]) -> None:
    guard, count = Guard(errors), inputs(full, short)

    @settings(CALM, max_examples=count)
    @given(strategy)
    def each(value: Any) -> None:
        guard.run(target, value)

    each()
    assert guard.inputs >= count * 0.8
    record("schedules", **{f"{name}_{key}": value for key, value in guard.figures().items()})


def test_schedule_text_of_other_values() -> None:
    drive("text_values", hostile.changed_bodies(), hostile.read_text, 12_000, 250, (ScheduleError,))


def test_schedule_text_with_edits() -> None:
    guard, random_, good = Guard((ScheduleError,)), random.Random(1), hostile.GOOD.to_text()
    for _ in range(inputs(20_000, 500)):
        guard.run(hostile.read_text, hostile.mutated(good, random_))
    assert 0 < guard.refused < guard.inputs
    record("schedules", **{f"text_edits_{key}": value for key, value in guard.figures().items()})


def read_files(name: str, contents: Iterable[bytes], folder: Path) -> Guard:
    """Load each from a file; what is accepted must work and be saved again."""
    guard, path, copy = Guard((ScheduleError,)), folder / "hostile.safetensors", folder / "copy.safetensors"

    def load(data: bytes) -> None:
        with fenced(folder):
            schedule = ArtSchedule.load(path)
            hostile.check(schedule)
            schedule.save(copy)
            assert ArtSchedule.load(copy) == schedule

    for data in contents:
        path.write_bytes(data)
        guard.run(load, data)
    record("schedules", **{f"{name}_{key}": value for key, value in guard.figures().items()})
    return guard


def test_files_cut_off_and_with_turned_bits(tmp_path: Path) -> None:
    good = hostile.good_file(tmp_path)
    stride = inputs(1, 67)
    guard = read_files("files_cut_or_flipped", hostile.cut_and_flipped(good, stride), tmp_path)
    assert guard.inputs >= 9 * len(good) // stride
    assert guard.refused > guard.inputs * 0.7


def test_forged_files(tmp_path: Path) -> None:
    hostile.good_file(tmp_path)
    random_ = random.Random(2)
    guard = read_files("files_forged", (hostile.forged(random_) for _ in range(inputs(20_000, 400))), tmp_path)
    assert guard.refused > guard.inputs * 0.5


def test_files_of_any_size_are_not_read(tmp_path: Path) -> None:
    """10^6 knots; a header that claims more than there is; 1 TB of nothing."""
    guard = Guard((ScheduleError,))
    knots = torch.linspace(15.0, 0.1, 10**6, dtype=torch.float64)
    path = tmp_path / "many.safetensors"
    save_file({"curve_1000": knots}, path, {"schedule": hostile.GOOD.to_text()})
    guard.run(ArtSchedule.load, path)
    with (tmp_path / "endless.safetensors").open("wb") as endless:
        endless.write(hostile.shape_file(b"{" + b" " * 9999, size=2**40))
        endless.truncate(2**40)
    guard.run(ArtSchedule.load, endless.name)
    (tmp_path / "claims.safetensors").write_bytes(hostile.shape_file(b"{}", size=99_000_000))
    guard.run(ArtSchedule.load, tmp_path / "claims.safetensors")
    assert guard.inputs == guard.refused == 3


PARTS = ["..", ".", "", "/", "\\", "//", "C:", "c:\\", "~", "CON", "nul.txt", "com1", "LPT9.x", "a", "A", "b c", "ñ",
         "日本", "\u202e", "\x00", "\n", "x" * 200, "x" * 119, ".hidden", "a.", " a", "a ", "*", "%00", "%2e%2e",
         "-rf", ".safetensors", "a.safetensors", "．．", "‥", "\ud800", "aux", "a" * 60]  # fmt: skip
names = st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=6).map("".join) | st.lists(
    st.sampled_from(PARTS), max_size=4).map("/".join)  # fmt: skip


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_name_leads_out_of_the_folder(overwrite: bool, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "art_schedules"
    folder.mkdir(parents=True)
    hostile.GOOD.save(folder / "warm up.safetensors")  # what is imported late is imported now
    ArtSchedule.load(folder / "warm up.safetensors")

    def save(name: str) -> None:
        with fenced(folder):
            given_name = save_named(hostile.GOOD, folder, name, overwrite=overwrite)
        path = folder / f"{given_name}{SUFFIX}"
        assert path.resolve().is_relative_to(folder.resolve())
        assert ArtSchedule.load(path) == hostile.GOOD

    drive(f"names_{'overwrite' if overwrite else 'keep'}", names, save, 4000, 150, (ValueError, OSError))
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["art_schedules"]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert {path.suffix for path in files} == {SUFFIX}
