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
# What takes minutes in a full run comes first, so that two workers end together. A worker is handed modules until
# more than two tests wait for it: the soak's worker gets a short one beside it, and is full.
FIRST = (
    "test_soak", "test_fuzz_server", "test_neighbour_scan", "test_host_faults", "test_memory_faults",
    "test_fuzz_atheris", "test_fuzz_schedules", "test_fuzz_text", "test_save_faults",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if figures.FULL:
        rank = {name: i for i, name in enumerate(FIRST)}
        items.sort(key=lambda item: rank.get(item.path.stem, len(FIRST)))


def whole(config: pytest.Config) -> bool:
    """Whether the run is of the whole folder, nothing of it deselected."""
    chosen = config.getoption("keyword") or config.getoption("markexpr") or config.getoption("lf", False)
    return bool(config.args) and not chosen and all(Path(a).resolve() == Path(__file__).parent for a in config.args)


def pytest_sessionstart(session: pytest.Session) -> None:
    """A full run of the whole folder starts with an empty table."""
    session.config.stash[BEGAN] = time.monotonic()
    working = not hasattr(session.config, "workerinput") and not session.config.option.collectonly
    if figures.FULL and working and whole(session.config):
        figures.FILE.unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    if figures.FULL:
        hosts = sorted({version_of(folder) for folder in find_checkouts()})
        seconds = time.monotonic() - config.stash[BEGAN]
        say = terminalreporter.write_line
        fault_record.finish(terminalreporter.stats, int(exitstatus), whole(config), seconds, hosts, say)
