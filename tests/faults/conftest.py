"""Fault tests: hostile input, kills, full disks, neighbours. A full run (make test-faults) prints what it counted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "comfyui"))  # the room where ComfyUI is found and started
sys.path.insert(0, str(Path(__file__).parent))
import figures
from checkouts import checkout, pytest_generate_tests  # noqa: F401 for pytest
from comfy_server import ComfyServer
from locate import find_python
from workspace import private_base


@pytest.fixture(scope="session")
def fault_server(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI on CPU with a copy of this pack and the tiny checkpoints, for tests that leave it alive."""
    base = tmp_path_factory.mktemp("faults-comfyui")
    running = ComfyServer(checkout, find_python(checkout), base, private_base(base))
    yield running
    running.stop()


def pytest_sessionstart(session: pytest.Session) -> None:
    """A full run of the whole folder starts with an empty table."""
    whole = session.config.args and all(Path(a).resolve() == Path(__file__).parent for a in session.config.args)
    if figures.FULL and whole and not hasattr(session.config, "workerinput"):
        figures.FILE.unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures.FULL:
        terminalreporter.write_line(json.dumps(figures.read(), sort_keys=True))
