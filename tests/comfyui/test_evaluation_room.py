"""Several sigmas in one model call on a live ComfyUI, against one call per sigma (probe_evaluation.py)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from workspace import PACK, copy_pack, link_checkpoints

PROBE = Path(__file__).with_name("probe_evaluation.py")
LEVELS = 4
TOLERANCE = 1e-5
# What is batched; what is evaluated one by one, with words of the reason.
BATCHED = {
    "plain", "cfg 1", "batch 4", "batch 4, prompt 4", "batch 4, prompt 2", "prompts combined", "area", "masked prompts",
    "time range of everything", "rescale cfg", "cfg zero star", "cfg norm", "epsilon scaling", "basic guider",
    "dual cfg guider",
}  # fmt: skip
ONE_BY_ONE = {
    "batch 4, prompt 3": "made for 3 pictures, and 4 are drawn",
    "batch 2, prompt 4": "made for 4 pictures, and 2 are drawn",
    "time range": "a part of the steps only",
    "inpainting": "inpainting mask",
    "soft inpainting": "inpainting mask",
    "differential diffusion": "inpainting mask",
    "controlnet": "ControlNet",
    "skip layer guidance": "sampler_post_cfg_function",
    "function wrapper": "model_function_wrapper",
    "mahiro": "sampler_post_cfg_function",
    "renorm cfg": "sampler_cfg_function",
    "perp-neg guider": "Guider_PerpNeg",
    "packed": "packed into one",
}
# They remember earlier calls, so that no two evaluations of one state need agree.
WITH_A_MEMORY = {"lora hook": "registered_hooks", "easy cache": "a cache", "lazy cache": "a cache"}
# model calls of a round, and the most samples that a call may then hold
CHUNKED = {"chunks of 4": (2, 4), "out of memory above 8": (2, 4), "out of memory above 2": (4, 2),
           "little free memory": (2, 4)}  # fmt: skip
# rows that each of two devices got in a round of 4 levels
SPREAD = {
    "two devices": (8, 8),
    "two devices, cfg 1": (4, 4),
    "two devices, batch 4, prompt 4": (16, 16),
    "two devices, prompts combined": (12, 12),
}


@pytest.fixture(scope="session")
def probe(checkout: Path, comfy_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    base = tmp_path_factory.mktemp("evaluation")
    copy_pack(base / PACK)
    link_checkpoints(base / "checkpoints")
    command = [str(comfy_python), str(PROBE), str(checkout), str(base), str(base / "checkpoints")]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=base, env=env)
    lines = [line for line in run.stdout.splitlines() if line.startswith("PROBE ")]
    assert lines, f"the probe failed:\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    answer: dict[str, Any] = json.loads(lines[0].removeprefix("PROBE "))
    return answer


@pytest.fixture
def case(probe: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """What one case found. The same numbers of a run, whatever was split: two rounds of 4 levels each."""
    name = request.param
    if name in probe["not here"]:
        pytest.skip(probe["not here"][name])
    found: dict[str, Any] = probe["cases"][name]
    assert found["rounds"] == 2
    return found


def test_a_plain_run_makes_one_call_a_round(probe: dict[str, Any]) -> None:
    assert probe["plain run"] == [2, 8, 8, 8, 2]  # 5 rounds of KSampler, 2 pictures, 4 midpoints
    assert set(probe["not here"]) <= {*SPREAD, "two devices, area", "two devices, inpainting", "cfg norm pre"}


@pytest.mark.parametrize("case", sorted(BATCHED | {"cfg norm pre"}), indirect=True)
def test_levels_share_a_batch_where_nothing_forbids_it(case: dict[str, Any]) -> None:
    assert case["obstacle"] is None
    assert case["calls"] == [1, 1]
    assert case["error"] < TOLERANCE


@pytest.mark.parametrize(("case", "words"), ONE_BY_ONE.items(), indirect=["case"])
def test_levels_are_evaluated_one_by_one_where_something_does(case: dict[str, Any], words: str) -> None:
    assert words in case["obstacle"]
    assert case["calls"] == [LEVELS, LEVELS]
    assert case["error"] < TOLERANCE


@pytest.mark.parametrize("case", sorted(ONE_BY_ONE.keys() - {"packed"}), indirect=True)
def test_and_one_batch_would_have_been_wrong(case: dict[str, Any]) -> None:
    careless = case["careless"]
    assert careless == "RuntimeError" or careless > 1e-2


@pytest.mark.parametrize(("case", "words"), WITH_A_MEMORY.items(), indirect=["case"])
def test_what_remembers_earlier_calls_sees_one_sigma_at_a_time(case: dict[str, Any], words: str) -> None:
    assert words in case["obstacle"]
    assert case["calls"] == [LEVELS, LEVELS]


@pytest.mark.parametrize(("case", "expected"), CHUNKED.items(), indirect=["case"])
def test_chunks_that_fit(case: dict[str, Any], expected: tuple[int, int]) -> None:
    calls, most = expected
    assert case["calls"] == [calls, calls]
    assert case["max_batch"] == most
    assert case["evaluations"] == 2 * 2 * LEVELS
    assert case["error"] < TOLERANCE


@pytest.mark.parametrize(("case", "rows"), SPREAD.items(), indirect=["case"])
def test_a_round_is_spread_over_devices_by_comfyuis_engine(case: dict[str, Any], rows: tuple[int, int]) -> None:
    assert case["spread"]
    assert case["calls"] == [1, 1]
    assert case["error"] < TOLERANCE
    assert [seen[-3:] for seen in case["rows"]] == [[count] * 3 for count in rows]  # two rounds, and the third run


@pytest.mark.parametrize(
    ("case", "calls"), [("two devices, area", 1), ("two devices, inpainting", 4)], indirect=["case"]
)
def test_and_is_not_where_it_cannot_be(case: dict[str, Any], calls: int) -> None:
    assert not case["spread"]
    assert case["calls"] == [calls, calls]
    assert case["error"] < TOLERANCE
