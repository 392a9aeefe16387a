"""Cancel, out of memory, NaN and vanishing files inside a real ComfyUI (its own Python, no server)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kill_campaign import POINTS

import figures
from locate import find_python
from workspace import PACK, copy_pack, link_checkpoints

PROBE = Path(__file__).with_name("probe_faults.py")
CANCELS, OUT_OF_MEMORY = figures.inputs(50, 1), figures.inputs(60, 1)
JOBS = ("restart", "randomized_midpoint", "parallel_midpoint", "fit")

every_job = pytest.mark.parametrize("job", JOBS)


@pytest.fixture(scope="session")
def probed(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The probe's answer; it starts with a folder of schedules in which saves were killed."""
    base = tmp_path_factory.mktemp("host-faults")
    copy_pack(base / PACK)
    link_checkpoints(base / "checkpoints")
    campaign = [sys.executable, str(PROBE.with_name("kill_campaign.py")), str(base / "art_schedules"), "1"]
    subprocess.run([*campaign, f"points={len(POINTS)}"], capture_output=True, check=True, timeout=120)
    command = [str(find_python(checkout)), str(PROBE), str(checkout), str(base), str(base / "checkpoints")]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, str(CANCELS), str(OUT_OF_MEMORY)],
        capture_output=True, text=True, check=False, timeout=1200, cwd=base, env=env,
    )  # fmt: skip
    lines = [line for line in run.stdout.splitlines() if line.startswith("PROBE ")]
    assert lines, f"the probe failed:\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    answer: dict[str, Any] = json.loads(lines[0].removeprefix("PROBE "))
    return answer


@every_job
def test_cancel_at_random_moments(probed: dict[str, Any], job: str) -> None:
    """The next prompt's picture is the one from before, to the bit, and not one tensor more is alive."""
    found = probed["cancel"][job]
    assert found["other"] == []
    assert found["cancelled"] == CANCELS, found
    assert found["wrong"] == 0
    assert found["same at the end"]
    assert (found["kept"], found["kept_bytes"]) == (0, 0)
    assert found["megabytes"] < 20
    figures.record("cancel", **{f"{job}_{name}": found[name] for name in ("cancelled", "wrong", "kept", "megabytes")})


@pytest.mark.parametrize("job", ["parallel_midpoint", "fit"])
def test_out_of_memory_at_one_network_call_after_the_other(probed: dict[str, Any], job: str) -> None:
    """The same result but for rounding: the network multiplies smaller batches in another order."""
    found = probed["memory"][job]
    assert found["tried"] >= min(OUT_OF_MEMORY, found["chances"]) > 0
    assert found["off"] < 1e-4
    figures.record("out_of_memory", **{f"comfyui_{job}": found["tried"], f"comfyui_{job}_off": found["off"]})


def test_the_failed_calls_tensors_are_gone_when_memory_is_given_back(probed: dict[str, Any]) -> None:
    assert probed["released"] == [True] * len(probed["released"])
    assert probed["released"]


@every_job
def test_a_model_that_returns_nan_or_inf_is_named_with_its_sigma(probed: dict[str, Any], job: str) -> None:
    found = probed["nan"][job]
    assert found["next is right"]
    for text in found["told"]:
        assert text.startswith("ValueError: the model returned NaN or inf at "), text
        assert "sigma " in text
        if job != "fit":
            assert "step " in text
            assert "picture 2 of 2" in text
    assert " sigma 1" in found["told"][0]
    figures.record("nan", **{job: len(found["told"])})


def test_after_killed_saves_whole_schedules_are_listed_and_nothing_else(probed: dict[str, Any]) -> None:
    found = probed["files"]
    assert set(found["listed"]) <= {"art/points/group/over", "art/points/point"}
    assert found["listed"]
    assert set(found["load"]) == {"ArtSchedule"}
    assert all(name.endswith(".tmp") for name in found["left"])
    assert found["left"]


def test_files_and_folders_that_go_while_they_are_listed(probed: dict[str, Any]) -> None:
    """Every listing works, and a schedule that has gone is named with where it was looked for."""
    found = probed["files"]
    assert found["odd"] == []
    assert found["missing"] >= 50
    assert found["loaded"] >= 50
    assert found["folder gone"] == []
    figures.record("vanishing", missing=found["missing"], loaded=found["loaded"], unclear_errors=len(found["odd"]))
