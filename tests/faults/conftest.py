"""Fault tests: hostile input, kills, full disks, neighbours. A full run (make test-faults) prints what it counted
and, when all of it passed, records it in docs/data/faults.json."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "comfyui"))  # the room where ComfyUI is found and started
sys.path.insert(0, str(Path(__file__).parent))
import fault_record
import figures
from checkouts import checkout, pytest_generate_tests  # noqa: F401 for pytest
from comfy_server import ComfyServer
from locate import find_checkouts, find_python, version_of
from workspace import private_base


@pytest.fixture(scope="session")
def fault_server(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI on CPU with a copy of this pack and the tiny checkpoints, for tests that leave it alive."""
    base = tmp_path_factory.mktemp("faults-comfyui")
    running = ComfyServer(checkout, find_python(checkout), base, private_base(base))
    yield running
    running.stop()


BEGAN = pytest.StashKey[float]()


def whole(config: pytest.Config) -> bool:
    """Whether the run is of the whole folder, nothing of it deselected."""
    chosen = config.getoption("keyword") or config.getoption("markexpr") or config.getoption("lf", False)
    return bool(config.args) and not chosen and all(Path(a).resolve() == Path(__file__).parent for a in config.args)


def pytest_sessionstart(session: pytest.Session) -> None:
    """A full run of the whole folder starts with an empty table."""
    session.config.stash[BEGAN] = time.monotonic()
    if figures.FULL and whole(session.config) and not hasattr(session.config, "workerinput"):
        figures.FILE.unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    if figures.FULL:
        hosts = sorted({version_of(folder) for folder in find_checkouts()})
        seconds = time.monotonic() - config.stash[BEGAN]
        say = terminalreporter.write_line
        fault_record.finish(terminalreporter.stats, int(exitstatus), whole(config), seconds, hosts, say)
