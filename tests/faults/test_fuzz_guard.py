"""The guard of the fuzz tests sees what it is there to see."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from fuzz_guard import Broken, Guard, fenced


def test_values_and_clear_refusals_pass_and_are_counted() -> None:
    guard = Guard()
    assert guard.run(int, "12") == 12
    assert guard.run(int, "twelve") is None
    assert (guard.inputs, guard.refused) == (2, 1)


def raise_empty() -> None:
    raise ValueError("")


def raise_endless() -> None:
    raise ValueError("x" * 5000)


def raise_codec() -> None:
    "\ud800".encode()


def burn() -> None:
    began = time.process_time()
    while time.process_time() - began < 1.1:
        pass


@pytest.mark.parametrize("function", [raise_empty, raise_endless, raise_codec, burn, {}.popitem])
def test_other_errors_unclear_ones_and_slowness_are_seen(function: object) -> None:
    with pytest.raises(Broken):
        Guard().run(function)  # type: ignore[arg-type]


def test_a_greedy_input_is_seen() -> None:
    with pytest.raises(Broken, match="MemoryError"):
        Guard().run(lambda: bytearray(200 * 2**20))
    assert Guard().run(lambda: len(bytearray(2**20))) == 2**20
    assert len(bytearray(200 * 2**20)) == 200 * 2**20


def test_leaving_the_folder_and_the_network_are_seen(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with fenced(inside):
        (inside / "a").write_text("x")
        (inside / "a").rename(inside / "b")
    with pytest.raises(Broken, match="open"), fenced(inside):
        (inside / ".." / "c").write_text("x")
    with pytest.raises(Broken, match=r"os\.rename"), fenced(inside):
        (inside / "b").rename(tmp_path / "d")
    with pytest.raises(Broken, match="open"), fenced(inside):
        (tmp_path / "d").read_text()
    with pytest.raises(Broken, match="socket"), fenced(inside), socket.socket():
        pass
