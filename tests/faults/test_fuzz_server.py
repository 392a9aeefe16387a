"""A real server gets workflows with wrong types, missing inputs, NaN and huge numbers in our nodes' inputs."""

from __future__ import annotations

import random
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import fuzz_prompts
from comfy_server import ComfyServer
from figures import FULL, record
from fuzz_client import Outcome, send
from fuzz_schedules import GOOD
from locate import version_of

SAVED = "seed"
WRITABLE = ("models/art_schedules", "output", "temp", "user")


@pytest.fixture(scope="module")
def known(fault_server: ComfyServer) -> dict[str, Any]:
    """Our nodes' definitions, with one schedule saved."""
    folder = fault_server.base / "models" / "art_schedules"
    folder.mkdir(parents=True, exist_ok=True)
    GOOD.save(folder / f"{SAVED}.safetensors")
    return {name: info for name, info in fault_server.object_info().items() if name.startswith(fuzz_prompts.PREFIX)}


def files_of(base: Path) -> set[str]:
    found = (path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file())
    return {name for name in found if "__pycache__" not in name and not name.startswith(WRITABLE)}


def peak_mb(server: ComfyServer) -> float:
    """Highest memory of the server so far, MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def judge(server: ComfyServer, outcome: Outcome) -> None:
    assert not outcome.broken, "\n".join(outcome.broken[:20])
    assert not outcome.hosts, "\n".join(outcome.hosts[:20])
    assert server.process.poll() is None
    assert outcome.slowest < 5, "an answer to /prompt took seconds"


def test_sound_inputs_pass(fault_server: ComfyServer, known: dict[str, Any]) -> None:
    """The ground that the hostile ones stand on: each node, with no input changed, is accepted and runs."""
    cases = [
        (name, fuzz_prompts.graph(name, known[name], fuzz_prompts.sound_inputs(known[name], SAVED), SAVED), "sound")
        for name in sorted(known)
    ]
    outcome = send(fault_server, cases)
    judge(fault_server, outcome)
    assert len(known) >= 11
    assert (outcome.refused, outcome.failed) == (0, 0)


def test_hostile_inputs_are_refused_or_named(fault_server: ComfyServer, known: dict[str, Any], checkout: Path) -> None:
    before, memory = files_of(fault_server.base), peak_mb(fault_server)
    singles = list(fuzz_prompts.single(known, SAVED))
    assert len(singles) > 3500
    several = fuzz_prompts.several(known, SAVED, 1500, random.Random(3))
    cases = [*singles, *several] if FULL else [*singles[::53], *islice(several, 25)]
    outcome = send(fault_server, cases)
    judge(fault_server, outcome)
    assert outcome.prompts == len(cases)
    assert min(outcome.refused, outcome.failed, outcome.finished) > 0.05 * len(cases)
    assert files_of(fault_server.base) == before
    grown = peak_mb(fault_server) - memory
    assert grown < 400, f"the server grew by {grown:.0f} MB"  # a few full-size plans and pictures; no leak
    record(
        "server",
        **{
            f"{version_of(checkout)}_{key}": value
            for key, value in {
                "inputs": outcome.prompts, "refused": outcome.refused, "failed_clearly": outcome.failed,
                "finished": outcome.finished, "interrupted": outcome.interrupted,
                "slowest_answer_ms": round(outcome.slowest * 1e3, 1), "grown_mb": round(grown, 1),
            }.items()
        },
    )  # fmt: skip
