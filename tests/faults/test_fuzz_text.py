"""Hostile text in every text field that the pack reads: segments, step counts, lines, labels, names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from restart_art.nodes.curve_labels import label_curves
from restart_art.nodes.library import check_name
from restart_art.nodes.parse import check_share, check_steps, parse_lines, parse_segments, parse_steps
from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.restart_setup import BUDGETS, Request, set_up
from restart_art.samplers.segments import resolve_segments
from restart_art.schedules import edm_sigmas

from figures import inputs, record
from fuzz_guard import Guard

# Shrinking stays on: a failure is shown at its smallest. No wall clock, no database: the same inputs every time.
CALM = settings(
    database=None, derandomize=True, deadline=None, phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

NUMBERS = [
    *(
        [
            "0",
            "-0",
            "1",
            "2",
            "3",
            "1000",
            "1001",
            "0.06",
            "0.30",
            "1e6",
            "1e7",
            "1e-320",
            "1e999",
            "-1",
            "nan",
            "NaN",
            "inf",
            "Infinity",
            "-inf",
            "1_0",
            "0x10",
            "٣",
            "１２",
            "²",
        ]
    ),
    *("9" * 30, "9" * 400, "9" * 5000, "0." + "0" * 400 + "1", ".5", "5.", "+2", "1e", "true", "null", '"3"'),
]
SIGNS = [
    *(",", ", ", "\n", "\r\n", "\u2028", "\x0b", "%", "#", "[", "]", "[[", "]]", "{", "}", ":", '"', " ", "\t", "\x00"),
    *("\ud800", "\u202e", "é", "😀", "[" * 3000, "," * 3000, "\n" * 3000),
]
LEVELS = ["75%", "0%", "100%", "101%", "-1%", "#0", "#9", "#20", "#21", "# 3", "#", "%", "9" * 30 + "%", "#" + "9" * 30]
pieces = st.sampled_from(NUMBERS + LEVELS) | st.sampled_from(SIGNS) | st.text(max_size=8) | st.floats().map(str)
mess = st.lists(pieces, max_size=24).map("".join)

level = st.sampled_from(LEVELS) | st.sampled_from(NUMBERS) | st.floats(1e-4, 100.0).map(lambda v: f"{v:.4g}")
row = st.tuples(
    st.integers(-1, 1002).map(str) | level, st.integers(-1, 1002).map(str) | level, level, level
).map(", ".join)  # fmt: skip
rows = st.lists(row, min_size=1, max_size=6).map("\n".join)

scalars = st.none() | st.booleans() | st.integers() | st.integers(10**300, 10**310) | st.floats() | st.sampled_from(
    NUMBERS + LEVELS) | st.text(max_size=6)  # fmt: skip
trees = st.recursive(scalars, lambda t: st.lists(t, max_size=5) | st.dictionaries(st.text(max_size=4), t, max_size=3))
sound = st.tuples(
    st.integers(1, 12), st.integers(0, 5) | st.just(2.0), level | st.floats(0.03, 1.0), level | st.floats(0.5, 20.0)
)
sound_json = st.lists(sound.map(list), min_size=1, max_size=5).map(json.dumps)
as_json = (
    sound_json | st.lists(st.lists(scalars, min_size=3, max_size=5), max_size=5).map(json.dumps) | trees.map(json.dumps)
)

GRID = edm_sigmas(20, 0.03, 14.6).tolist()
FLOW_GRID = edm_sigmas(20, 0.03, 0.98, flow=True).tolist()


class FlowModel:
    """What a flow model says of itself: x = (1 - sigma) x0 + sigma n."""

    class model_sampling:
        @staticmethod
        def noise_scaling(sigma: Any, noise: Any, latent: Any, max_denoise: bool = False) -> Any:
            return (1 - sigma) * latent + sigma * noise


def plan(text: str, flow: bool, budget: str, churn: float) -> int:
    """Read segments, place them, lay out the whole run; its steps."""
    model, grid = (FlowModel(), FLOW_GRID) if flow else (None, GRID)
    segments = parse_segments(text)
    resolve_segments(segments, grid, NoiseProcess.of(model))
    run = set_up(Request(segments, "euler", None, None, budget, churn, (0.01, 1.0)), model, grid)
    levels = [s for piece in run.plan.pieces for s in piece.sigmas[:2]]
    assert all(0 <= s <= 1e7 for s in levels), "a level out of range"
    assert run.text
    return run.plan.main_steps + run.plan.restart_steps


def drive(name: str, count: int, strategy: Any, target: Any) -> None:
    """Run `count` inputs under guard; the figures go into the section "text"."""
    guard = Guard()

    @settings(CALM, max_examples=count)
    @given(strategy)
    def each(given_input: tuple[Any, ...]) -> None:
        guard.run(target, *given_input)

    each()
    assert guard.inputs >= count * 0.8, "hypothesis found too few inputs"
    record("text", **{f"{name}_{key}": value for key, value in guard.figures().items()})


ways = st.tuples(st.booleans(), st.sampled_from(BUDGETS), st.sampled_from([0.0, 0.05, 0.4]))


@pytest.mark.parametrize(
    ("name", "texts", "full", "short"),
    [("mess", mess, 8000, 150), ("rows", rows, 8000, 150), ("json", as_json, 8000, 150)],
)
def test_segments_are_planned_or_refused(name: str, texts: Any, full: int, short: int) -> None:
    drive(f"segments_{name}", inputs(full, short), st.tuples(texts, ways), lambda text, way: plan(text, *way))


FIELDS: dict[str, tuple[Any, Any]] = {
    "steps": (st.tuples(mess | st.integers() | st.lists(st.integers(-5, 2000), max_size=12).map(str)), parse_steps),
    "lines": (st.tuples(mess), lambda text: parse_lines("schedules", text, "karras, or all")),
    "labels": (st.tuples(mess), lambda text: label_curves({"sigmas_1": [1.0], "sigmas_3": [1.0]}, text)),
    "name": (st.tuples(mess), check_name),
    "step": (st.tuples(st.integers() | st.floats()), check_steps),
    "share": (st.tuples(st.integers() | st.floats()), lambda value: check_share("denoise", value)),
}


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_other_fields_are_read_or_refused(field: str) -> None:
    strategy, target = FIELDS[field]
    drive(field, inputs(5000, 120), strategy, target)
