"""nodes/host on live ComfyUI models, in ComfyUI's own Python."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from workspace import PACK, copy_pack, link_checkpoints

PROBE = Path(__file__).with_name("probe_host.py")
PROCESSES = {"flow": "flow", "flow shift 6": "flow", "flux": "flow", "eps": "ve", "v": "ve", "edm": "ve"}


@pytest.fixture(scope="session")
def probe(checkout: Path, comfy_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    base = tmp_path_factory.mktemp("probe")
    copy_pack(base / PACK)
    link_checkpoints(base / "checkpoints")
    command = [str(comfy_python), str(PROBE), str(checkout), str(base), str(base / "checkpoints")]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=base, env=env)
    lines = [line for line in run.stdout.splitlines() if line.startswith("PROBE ")]
    assert lines, f"the probe failed:\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    answer: dict[str, Any] = json.loads(lines[0].removeprefix("PROBE "))
    return answer


def test_registration_is_in_place_and_happens_once(probe: dict[str, Any]) -> None:
    assert set(probe["registered"]) == {"restart", "randomized_midpoint", "parallel_midpoint", "edm"}
    assert probe["counts"] == {"samplers": [1, 1, 1], "schedulers": 1}
    assert probe["same lists"]


@pytest.mark.parametrize("name", PROCESSES)
def test_process_is_read_from_the_live_model_sampling(probe: dict[str, Any], name: str) -> None:
    assert probe["models"][name]["process"] == PROCESSES[name]


def test_shift_moves_the_bounds(probe: dict[str, Any]) -> None:
    plain, shifted = (probe["models"][name]["bounds"] for name in ("flow", "flow shift 6"))
    assert plain[1] == shifted[1] == 1.0
    assert shifted[0] > plain[0]
    assert probe["models"]["edm"]["bounds"] == pytest.approx([0.002, 120.0], rel=1e-4)


@pytest.mark.parametrize("name", PROCESSES)
def test_our_stock_schedules_are_comfyuis(probe: dict[str, Any], name: str) -> None:
    found = probe["models"][name]
    checked = set(found["own"]) & set(found["host"])
    assert {"karras", "exponential"} <= checked
    if name not in {"edm"}:
        assert {"normal", "simple", "ddim_uniform"} <= checked
    for scheduler in checked:
        assert found["own"][scheduler] == pytest.approx(found["host"][scheduler], rel=2e-4, abs=1e-6), scheduler


@pytest.mark.parametrize("name", PROCESSES)
def test_every_scheduler_of_the_list_is_a_baseline(probe: dict[str, Any], name: str) -> None:
    found = probe["models"][name]
    assert found["listed"] == found["host"]
    assert {"simple", "karras", "beta", "kl_optimal", "linear_quadratic", "edm"} <= set(found["listed"])


@pytest.mark.parametrize("name", PROCESSES)
def test_edm_scheduler_spans_the_models_own_range(probe: dict[str, Any], name: str) -> None:
    sigmas = probe["models"][name]["edm"]
    low, high = probe["models"][name]["bounds"]
    assert len(sigmas) == 13
    assert sigmas == sorted(sigmas, reverse=True)
    assert (sigmas[0], sigmas[-2], sigmas[-1]) == pytest.approx((high, low, 0.0), rel=1e-4)
    assert all(math.isfinite(s) for s in sigmas)


def test_fingerprint_names_weights_and_loras(probe: dict[str, Any]) -> None:
    names = {name: model["fingerprint"] for name, model in probe["models"].items()}
    assert names["flow"] == names["flow shift 6"] == names["flux"]  # a shift is not another checkpoint
    assert names["eps"] == names["v"] == names["edm"] != names["flow"]
    assert probe["with lora"] not in names.values()


def test_a_fit_survives_out_of_memory(probe: dict[str, Any]) -> None:
    assert probe["out of memory"] == {"asked": [7, 3, 1, 1, 1, 1, 1, 1, 1], "right": True, "grad ready": True}


def test_names_that_others_own_stay_theirs(probe: dict[str, Any]) -> None:
    assert probe["foreign"] == {"names": ["randomized_midpoint", "parallel_midpoint"], "kept": True}
