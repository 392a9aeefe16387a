"""Names and files of saved schedules."""

from __future__ import annotations

import os
import threading
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restart_art.nodes.library import check_name, save_named
from restart_art.schedules import ArtSchedule


def schedule(top: float = 10.0) -> ArtSchedule:
    return ArtSchedule(((3, (top, 1.0, 0.1)),), "euler", "ve", 0.03, 14.6, report={"verdict": "x"})


@pytest.mark.parametrize(
    "name",
    ["", "  ", "/etc/passwd", "../up", "a/../../b", "a//b", ".hidden", "a/.b", "C:/x", "con", "sub/NUL.txt", "lpt1",
     "a\x00b", "a\tb", "a?b", "x" * 200, "end.", "a /b", "\u202egnp", "\ud800", None, 7],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_that_a_system_forbids_are_refused(name):
    with pytest.raises(ValueError, match="name is"):
        check_name(name)


@pytest.mark.parametrize(
    ("name", "given"),
    [("my model", "my model"), ("a/b.safetensors", "a/b"), (r"a\b", "a/b"), ("  x ", "x"), ("Größe 漢字 v1.5", None)],
)
def test_usual_names_are_taken(name, given):
    assert check_name(name) == (given or name)


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_accepted_name_stays_inside_the_folder_on_every_system(text):
    try:
        name = check_name(text)
    except ValueError:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(name + ".safetensors")
        assert not path.is_absolute()
        assert not path.drive
        assert ".." not in path.parts
    inside = os.path.normpath(os.path.join("/base", name + ".safetensors"))
    assert inside.startswith("/base/")


def test_keep_both_numbers_the_next_and_never_saves_the_same_twice(tmp_path):
    assert save_named(schedule(), tmp_path, "m", overwrite=False) == "m"
    assert save_named(schedule(), tmp_path, "m", overwrite=False) == "m"
    assert save_named(schedule(9.0), tmp_path, "m", overwrite=False) == "m_2"
    assert save_named(schedule(8.0), tmp_path, "m", overwrite=True) == "m"
    assert {p.name for p in tmp_path.iterdir()} == {"m.safetensors", "m_2.safetensors"}
    assert ArtSchedule.load(tmp_path / "m.safetensors") == schedule(8.0)
    assert save_named(schedule(), tmp_path, "sub/deep", overwrite=False) == "sub/deep"


def test_a_damaged_file_is_not_taken_for_the_schedule(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"not a schedule")
    assert save_named(schedule(), tmp_path, "m", overwrite=False) == "m_2"
    assert (tmp_path / "m.safetensors").read_bytes() == b"not a schedule"


def test_many_at_once_lose_nothing(tmp_path):
    """Twelve threads save twelve schedules under one name: twelve whole files."""
    threads = [
        threading.Thread(target=save_named, args=(schedule(2.0 + i), tmp_path, "m"), kwargs={"overwrite": False})
        for i in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(tmp_path.iterdir())
    assert len(found) == 12, found
    assert {ArtSchedule.load(p).curves[0][1][0] for p in found} == {2.0 + i for i in range(12)}


def test_the_same_schedule_saved_by_two_at_the_same_moment_is_one_file(tmp_path, monkeypatch):
    """The other one's file appears between the look and the save: it is that very schedule, so no second copy."""
    save = ArtSchedule.save

    def beaten(self, path, *, overwrite=True):
        save(self, path, overwrite=True)
        save(self, path, overwrite=overwrite)

    monkeypatch.setattr(ArtSchedule, "save", beaten)
    assert save_named(schedule(), tmp_path, "m", overwrite=False) == "m"
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_folder_that_cannot_be_written_is_an_os_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        save_named(schedule(), tmp_path, "file/m", overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_without_links_the_second_file_is_still_refused(tmp_path, monkeypatch):
    """A file system that knows no hard links (FAT, some network drives)."""

    def no_link(*_):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", no_link)
    path = Path(tmp_path) / "m.safetensors"
    schedule().save(path, overwrite=False)
    with pytest.raises(FileExistsError):
        schedule(9.0).save(path, overwrite=False)
    assert ArtSchedule.load(path) == schedule()
    assert len(list(tmp_path.iterdir())) == 1
