"""What the fuzz tests found, each as the small test it should have had."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from restart_art.nodes.library import check_name
from restart_art.nodes.parse import parse_segments, parse_steps
from restart_art.samplers.grid import check_count, check_range, shown
from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.restart_plan import FEWEST_LEVELS, _longest_main, _Shrinking, lay_out
from restart_art.samplers.restart_setup import Request, set_up
from restart_art.samplers.segments import Interval, Segment, resample
from restart_art.schedules import ArtSchedule, ScheduleError, edm_sigmas

SCHEDULE = ArtSchedule(((4, (14.6, 3.0, 1.0, 0.2)),), "euler", "ve", 0.03, 14.6)
GRID = edm_sigmas(20, 0.03, 14.6).tolist()


def text_with(**changes: Any) -> str:
    return json.dumps({**json.loads(SCHEDULE.to_text()), **changes})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[" * 100_000, "too long or too deep"),  # was a RecursionError
        ("[1" + "0" * 5000 + "]", "too long or too deep"),  # was Python's advice on sys.set_int_max_str_digits
        ("[[3, 2, 0.06, 1" + "0" * 400 + "]]", "entry 1: 1000.* is not a number"),  # was an OverflowError
        ("3, 2, #" + "9" * 5000 + ", 0.3", "line 1: '#999.* is not a level"),  # quoted all 5,000 digits
        ("3, 2, 0.06, 0.3\n" * 101, "holds 101 restarts; at most 100"),
        ("900, 900, 0.06, 0.3\n" * 2, "make 1618200 restart steps"),  # 100 such lines would not fit into memory
    ],
    ids=["brackets", "digits", "integer", "node", "lines", "steps"],
)
def test_segments_text(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        Request(parse_segments(text), "euler", None, None, "on top of steps", 0.0, (0.01, 1.0))
    assert len(str(caught.value)) < 400


def test_step_counts_of_many_digits_are_quoted_briefly() -> None:
    with pytest.raises(ValueError, match="steps holds '9999") as caught:
        parse_steps("9" * 100_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "value", ["many", None, [], float("nan"), float("inf"), 10**400, 10**5000, "9" * 9999], ids=list("abcdefgh")
)
def test_numbers_that_are_none_are_named(value: Any) -> None:
    """Were TypeError, OverflowError, or Python's own words without the input's name."""
    with pytest.raises(ValueError, match="steps is ") as caught:
        check_count("steps", value, 1, 1000)
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match="share is "):
        check_range("share", value, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"segments\[0\]"):
        Segment.of((value, 2, 0.06, 0.3))


def test_long_values_are_quoted_with_their_middle_left_out() -> None:
    assert shown("euler") == "'euler'"
    assert shown(0.3) == "0.3"
    assert len(shown("x" * 10_000)) < 100
    assert len(shown([{"a": ["x" * 50] * 6, "b": list(range(99))}] * 6)) <= 120
    assert shown([10**5000]) == "[a whole number of 16610 bits]"
    assert shown(10**5000) == "a whole number of 16610 bits"


def one_turn(intervals: list[Interval]) -> list[Interval]:
    """fit_into's rule, word for word."""
    by_repeats = max(intervals, key=lambda v: v.repeats)
    by_nodes = max(intervals, key=lambda v: v.nodes)
    if by_repeats.repeats > 1:
        changed, less = by_repeats, {"repeats": by_repeats.repeats - 1}
    elif by_nodes.nodes > FEWEST_LEVELS:
        changed, less = by_nodes, {"nodes": by_nodes.nodes - 1}
    else:
        highest = max(intervals, key=lambda v: v.low)
        return [v for v in intervals if v is not highest]
    return [Interval(**{**vars(v), **less}) if v is changed else v for v in intervals]


@pytest.mark.parametrize("sizes", [[(5, 3), (5, 3), (9, 1)], [(2, 4), (3, 1)], [(4, 1)], []])
def test_restarts_shrink_by_the_rule(sizes: Sequence[tuple[int, int]]) -> None:
    intervals = [Interval(i, nodes, repeats, 0.1 * (1 + i % 2), 1.0) for i, (nodes, repeats) in enumerate(sizes)]
    shrinking, expected, turns = _Shrinking(intervals), intervals, 0
    while expected:
        assert shrinking.after(turns) == expected
        expected, turns = one_turn(expected), turns + 1
    assert shrinking.after(turns) == []
    assert shrinking.turns == turns


def test_the_largest_restart_is_cut_to_the_budget_at_once() -> None:
    """Took seconds: it was made smaller by one, and laid out anew, two thousand times."""
    request, seconds = Request(((1000, 1000, 0.06, 0.3),), "euler", None, None, "within steps", 0.05, (0.01, 1.0)), []
    for _ in range(3):  # the quickest counts: a stalled core is no fault
        began = time.process_time()
        plan = set_up(request, None, GRID).plan
        seconds.append(time.process_time() - began)
    assert plan.main_steps + plan.restart_steps <= 21
    assert min(seconds) < 1.0


def model_calls(calls: int) -> Any:
    return lambda pieces: sum(calls * (len(p.sigmas) - 1) - (calls > 1 and p.sigmas[-1] == 0) for p in pieces)


def test_the_longest_main_run_is_found_without_trying_each() -> None:
    """At 3,000 steps a budget took ten seconds to plan: every shorter run was laid out in turn."""
    random_, process = random.Random(4), NoiseProcess()
    for _ in range(150):
        grid = edm_sigmas(random_.randint(3, 60), 0.03, 14.6).tolist()
        lows = [0.03 * 10 ** random_.uniform(0, 2) for _ in range(random_.randint(0, 4))]
        intervals = [Interval(i, random_.randint(2, 8), random_.randint(1, 5), v, 1.8 * v) for i, v in enumerate(lows)]
        budget, cost = random_.randint(2, 120), model_calls(random_.choice((1, 2)))
        fewest = random_.randint(1, len(grid) - 1)
        found = _longest_main(budget, grid, intervals, process, cost, None, fewest)
        fits = [n for n in range(fewest, len(grid)) if cost(lay_out(resample(grid, n), intervals, process)) <= budget]
        near = [n for n in fits if n <= fewest + 1]  # else restarts are made smaller first
        assert found == (max(fits) if near else 0)
    began, long = time.process_time(), edm_sigmas(3000, 0.03, 14.6).tolist()
    request = Request(((1000, 1000, 0.06, 0.3),), "euler", None, None, "within steps", 0.0, (0.01, 1.0))
    set_up(request, None, long)
    assert time.process_time() - began < 3.0


@pytest.mark.parametrize("name", ["COM¹", "a/lpt².backup", "con .old", "NUL  .x"])
def test_device_names_that_windows_knows_as_well(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of a file name"):
        check_name(name)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"cfg": 10**400}, "cfg is 1000"),  # was an OverflowError
        ({"bounds": [0.03, 10**400]}, "sigma_max is 1000"),
        ({"curves": {"2": [1e-300, 1e-301]}}, "sigmas are 1e-301"),  # were all 0 as float32
        ({"bounds": [1e-300, 1e300]}, "bounds are"),  # gave inf and NaN
        ({"curves": {"2": [8.589935, 8.589934999]}}, "strictly descending"),
        ({"model": "x" * 30_000}, "model is 'xxx"),  # its text form could not be read back
        ({"solver": "euler\x1b[2J"}, "solver is"),  # a log in a terminal would obey that
        ({"name": "line\nline"}, "model name is"),
        ({"cfg": float("1e999")}, "Infinity"),
    ],
    ids=["cfg", "bound", "tiny", "bounds", "close", "model", "solver", "name", "infinite"],
)
def test_schedule_text(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ScheduleError, match=complaint) as caught:
        ArtSchedule.from_text(text_with(**changes))
    assert len(str(caught.value)) < 400


def test_1e999_is_no_number_of_a_schedule() -> None:
    """Passed as infinite in a report, and could then not be saved again."""
    with pytest.raises(ScheduleError, match="1e999 is not a number"):
        ArtSchedule.from_text(SCHEDULE.to_text()[:-1] + ',"cfg":1e999}')


def test_knots_that_float32_cannot_tell_apart() -> None:
    with pytest.raises(ScheduleError, match="float32"):
        ArtSchedule(((2, (0.0009765629, 0.0009765628)),), "euler", "ve", 1e-4, 1.0)


def test_a_schedule_that_cannot_be_mapped_says_so() -> None:
    """Gave the same sigma again and again, zeros, or infinity."""
    close = ArtSchedule(((3, (1.0, 0.5, 0.1)),), "euler", "ve", 0.9999999, 1.0)
    assert close.sigmas_for(3, 1.0, 0.9999999, 1.0).tolist() == pytest.approx([1.0, 0.5, 0.1, 0.0])
    with pytest.raises(ScheduleError, match=r"cannot be mapped to a model with 0\.03 \.\. 14\.6"):
        close.sigmas_for(3, 1.0, 0.03, 14.6)


def test_a_long_model_name_is_cut_at_once() -> None:
    """Only the text cut it, so that a saved schedule came back unlike itself."""
    named = SCHEDULE.with_provenance(model_name="x" * 500)
    assert named.model_name == "x" * 80
    assert ArtSchedule.from_text(named.to_text()) == named


def test_what_safetensors_says_is_quoted_briefly(tmp_path: Path) -> None:
    header = json.dumps({"x" * 50_000: {"dtype": "F64", "shape": [9], "data_offsets": [8, 0]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ScheduleError, match="not a readable safetensors file") as caught:
        ArtSchedule.load(tmp_path / "x.safetensors")
    assert len(str(caught.value)) < 400


@pytest.mark.timeout(30)
def test_a_pipe_in_the_folder_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    with pytest.raises(ScheduleError, match="is not a file"):
        ArtSchedule.load(pipe)
    with pytest.raises(ScheduleError, match="is not a file"):
        ArtSchedule.load(tmp_path)
