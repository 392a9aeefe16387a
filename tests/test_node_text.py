"""What users type into the nodes' text fields, and what the nodes write; no ComfyUI needed."""

from __future__ import annotations

import pytest
import torch

from restart_art.nodes.curve_labels import label_curves
from restart_art.nodes.fingerprint import fingerprint_weights
from restart_art.nodes.parse import parse_lines, parse_segments, parse_steps
from restart_art.nodes.report import report_text
from restart_art.nodes.sketch import sketch_curve


@pytest.mark.parametrize(
    "text",
    ["3, 2, 0.06, 0.30\n4,1,1.09,1.92", "[[3, 2, 0.06, 0.3], [4, 1, 1.09, 1.92]]", " 3,2,.06,.3\n\n4, 1, 1.09, 1.92\n"],
)
def test_segments_in_both_forms(text: str) -> None:
    assert parse_segments(text) == ((3, 2, 0.06, 0.30), (4, 1, 1.09, 1.92))


def test_one_segment_without_the_outer_list() -> None:
    assert parse_segments("[3, 2, 0.06, 0.3]") == ((3, 2, 0.06, 0.3),)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "segments is empty"),
        ("[]", "segments is empty"),
        ("3, 2, 0.06", "segments, line 1: '3, 2, 0.06' is not four numbers"),
        ("3, 2, 0.06, 0.3\n3, 2, 0.06, high", "segments, line 2: 'high' is not a number"),
        ("3.5, 2, 0.06, 0.3", "segments, line 1: N and K must be whole numbers"),
        ("1, 2, 0.06, 0.3", "segments, line 1: N_restart is 1"),
        ("3, 0, 0.06, 0.3", "segments, line 1: K is 0"),
        ("3, 2, 0.3, 0.06", "segments, line 1: has t_min 0.3 and t_max 0.06"),
        ("3, 2, nan, 0.06", "segments, line 1: nan is not a finite number"),
        ("[[3, 2, 0.06, true]]", "segments, entry 1: True is not a number"),
        ("[[3, 2, 0.06, 0.3], 7]", "segments, entry 2: 7 is not four numbers"),
        ("[[3, 2, 0.06, 0.3]", "segments is not valid JSON"),
    ],
)
def test_bad_segments_are_pointed_at(text: str, names: str) -> None:
    with pytest.raises(ValueError, match=r"^segments") as failure:
        parse_segments(text)
    assert names in str(failure.value)


def test_steps() -> None:
    assert parse_steps("12") == parse_steps(12) == (12,)
    assert parse_steps("20, 8 12, 8") == (20, 8, 12)


@pytest.mark.parametrize("text", ["", " , ", "0", "-3", "8.5", "twelve", "1001", "²", "1 2 3 4 5 6 7 8 9"])
def test_bad_steps_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"^steps (is|holds)"):
        parse_steps(text)


def test_report_marks_what_was_chosen_and_dropped() -> None:
    report = {
        "verdict": "At 8 steps it wins.",
        "solver": "euler",
        "model_evaluations": 100,
        "pilot_evaluations": 200,
        "seconds": 3.2,
        "chosen": {8: "art", 12: "simple"},
        "pilot": {8: {"art": 0.5, "simple": 0.75, "karras": 2.0}, 12: {"art": 0.4, "simple": 0.3}},
        "pilot_trajectories": {8: {"art": 18, "simple": 18, "karras": 2}, 12: {"art": 18, "simple": 18}},
    }
    lines = report_text(report, ["Mind the shift."]).splitlines()
    assert lines[0] == "At 8 steps it wins."
    assert lines[1] == "Warning: Mind the shift."
    assert "100 model evaluations to learn and 200 to measure in 3 seconds" in lines[2]
    cells = {line.split()[0]: line.split()[1:] for line in lines[-3:]}
    assert cells == {"art": ["0.5*", "0.4"], "simple": ["0.75", "0.3*"], "karras": ["2~", "-"]}
    assert report_text({**report, "left_out": {8: ["beta", "normal"], 12: []}}).splitlines()[-1] == (
        "Not run at 8 steps, foreseen to be far behind: beta, normal."
    )
    assert report_text({"solver": "heun"}).startswith("Solver heun.")


def test_fingerprint_does_not_depend_on_how_weights_were_loaded() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {f"layer.{i}": torch.randn(7, 5, generator=generator).half() for i in range(100)}
    name = fingerprint_weights(weights)
    assert name == fingerprint_weights(dict(reversed(weights.items())))
    assert name == fingerprint_weights({k: v.float() for k, v in weights.items()})
    assert name == fingerprint_weights({k: v.bfloat16() for k, v in weights.items()})
    other = {**weights, "layer.0": weights["layer.0"] + 1}
    assert name != fingerprint_weights(other)


def test_fingerprint_counts_patches() -> None:
    weights, delta = {"a": torch.ones(4, 4)}, torch.eye(4)
    plain = fingerprint_weights(weights)
    patched = fingerprint_weights(weights, {"a": [(1.0, ("diff", (delta,)), 1.0, None, None)]})
    weaker = fingerprint_weights(weights, {"a": [(0.5, ("diff", (delta,)), 1.0, None, None)]})
    assert len({plain, patched, weaker}) == 3
    assert patched == fingerprint_weights(weights, {"a": [(1.0, ("diff", (delta.clone(),)), 1.0, None, None)]})


def test_sketch_draws_with_whatever_it_gets() -> None:
    for sigmas in (None, [], [1.0], [1.0, 0.5, 0.0], [14.6, 1.0, 0.03, 0.0]):
        for beside in (None, ("simple", [1.0, 0.7, 0.3, 0.0])):
            picture = sketch_curve(sigmas, "euler: working", {"a": 0.1, "b": 12.0}, beside)
            assert picture.size == (512, 320)
            assert len(picture.getcolors(512 * 320) or ()) > 1


def test_lines_keep_their_numbers_and_come_once() -> None:
    text = "\n euler\n\nheun \neuler"
    assert parse_lines("samplers", text, "a name") == [("samplers, line 2", "euler"), ("samplers, line 4", "heun")]
    with pytest.raises(ValueError, match=r"^samplers is empty; allowed: a name$"):
        parse_lines("samplers", " \n", "a name")


def test_labels_belong_to_their_inputs() -> None:
    curves = {f"sigmas_{k}": [float(k), 0.0] for k in (8, 1, 3)}
    assert list(label_curves(curves, "")) == ["sigmas_1", "sigmas_3", "sigmas_8"]
    named = label_curves(curves, "one\nunplugged\none")
    assert named == {"one": [1.0, 0.0], "one (2)": [3.0, 0.0], "sigmas_8": [8.0, 0.0]}


@pytest.mark.parametrize(
    ("labels", "names"), [("\n" * 8 + "ninth", "labels has 9 lines"), ("x" * 61, "labels, line 1")]
)
def test_bad_labels_are_named(labels: str, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        label_curves({"sigmas_1": [1.0, 0.0]}, labels)
    with pytest.raises(ValueError, match="sigmas_1 is empty"):
        label_curves({}, labels)
