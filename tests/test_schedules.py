"""EDM and stock schedules, the ART curve, and its text and file form."""

from __future__ import annotations

import contextlib
import json
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from restart_art.schedules import ArtSchedule, ScheduleError, edm_sigmas, stock_schedules
from restart_art.schedules.art.curve import MAX_KNOTS, compress


def schedule(**changes):
    curves = ((4, (14.6, 3.0, 1.0, 0.2)), (8, (14.6, 7.0, 4.0, 2.0, 1.0, 0.4, 0.15, 0.05)))
    fields = {
        "curves": curves,
        "solver": "euler",
        "process": "ve",
        "sigma_min": 0.0292,
        "sigma_max": 14.6146,
        "model": "abc123",
        "model_name": "my checkpoint",
        "cfg": 4.5,
        "report": {"chosen": {4: "art", 8: "karras"}, "pilot": {4: {"art": 0.1}}, "model_evaluations": 7},
    }
    return ArtSchedule(**{**fields, **changes})


# --- EDM ---


def test_edm_is_equation_5():
    sigmas = edm_sigmas(5, 0.002, 80.0)
    expected = [(80 ** (1 / 7) + i / 4 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(5)] + [0]
    assert sigmas.dtype == torch.float32
    assert sigmas.tolist() == pytest.approx(expected, rel=1e-6)
    assert edm_sigmas(1, 0.002, 80.0).tolist() == [80.0, 0.0]


def test_edm_equals_k_diffusions_karras():
    from restart_art.samplers.solvers import host_namespace

    theirs = host_namespace().get_sigmas_karras(12, 0.03, 14.6, 5.0)
    assert torch.allclose(edm_sigmas(12, 0.03, 14.6, 5.0), theirs, rtol=2e-5)


def test_edm_on_a_flow_model_is_spaced_in_the_noise_to_signal_ratio():
    sigmas = edm_sigmas(10, 0.01, 0.95, flow=True)
    ratio = sigmas[:-1] / (1 - sigmas[:-1])
    assert torch.allclose(ratio, edm_sigmas(10, 0.01 / 0.99, 0.95 / 0.05)[:-1], rtol=1e-4)
    from_noise = edm_sigmas(10, 0.001, 1.0, flow=True)
    assert from_noise[0] == 1.0
    assert (from_noise.diff() < 0).all()


def test_edm_denoise_keeps_the_last_steps():
    assert torch.equal(edm_sigmas(5, 0.002, 80.0, denoise=0.5), edm_sigmas(10, 0.002, 80.0)[-6:])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((0, 0.1, 1.0), "steps is 0"),
        ((2.5, 0.1, 1.0), "steps is 2.5"),
        ((5, 0.0, 1.0), "sigma_min is 0.0"),
        ((5, 2.0, 1.0), "0 < sigma_min < sigma_max"),
        ((5, float("nan"), 1.0), "sigma_min is nan"),
        ((5, 0.1, 1.0, 0.0), "rho is 0"),
    ],
)
def test_edm_bad_input(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        edm_sigmas(*arguments)
    with pytest.raises(ValueError, match="denoise is 0"):
        edm_sigmas(5, 0.1, 1.0, denoise=0.0)
    with pytest.raises(ValueError, match="flow model's sigmas are at most 1"):
        edm_sigmas(5, 0.1, 1.5, flow=True)


# --- stock ---


class Table:
    """A 1,000-entry sigma table with a timestep per entry."""

    sigmas = torch.linspace(-3.5, 2.68, 1000).exp()

    def timestep(self, sigma):
        return (sigma.log() + 3.5) / 6.18 * 999

    def sigma(self, t):
        return (t / 999 * 6.18 - 3.5).exp()


def test_stock_schedules_by_their_definitions():
    low, high = float(Table.sigmas[0]), float(Table.sigmas[-1])
    stock = stock_schedules(Table(), low, high)
    assert set(stock) == {"karras", "exponential", "normal", "simple", "ddim_uniform"}
    for name, make in stock.items():
        for steps in (1, 2, 8, 12, 20):
            sigmas = make(steps)
            # ddim_uniform goes in whole strides: 12 steps of a table of 1,000 become 13, as in ComfyUI.
            assert len(sigmas) == (steps + 2 if name == "ddim_uniform" and steps == 12 else steps + 1)
            assert sigmas[-1] == 0
            assert (sigmas.diff() < 0).all()
    assert stock["simple"](8).tolist()[:-1] == [float(Table.sigmas[-(1 + int(i * 125))]) for i in range(8)]
    assert stock["ddim_uniform"](8).tolist()[:-1] == [float(s) for s in Table.sigmas[1::125].flip(0)]
    assert torch.allclose(stock["normal"](8)[:-1], Table.sigmas.log()[[0, -1]].flip(0).exp()[0] ** 1 * torch.linspace(
        0, float((Table.sigmas[0] / Table.sigmas[-1]).log()), 8).exp(), rtol=1e-4)  # fmt: skip
    assert set(stock_schedules(None, 0.002, 80.0)) == {"karras", "exponential"}


# --- the curve ---


def test_fitted_counts_give_their_own_grid():
    s = schedule()
    assert s.steps == (4, 8)
    assert s.sigmas(4).tolist() == pytest.approx([14.6, 3.0, 1.0, 0.2, 0.0])
    assert s.sigmas(8).tolist() == pytest.approx([*s.curves[1][1], 0.0])


@given(
    steps=st.integers(1, 300),
    denoise=st.floats(0.05, 1.0),
    gaps=st.lists(st.floats(0.01, 2.0), min_size=1, max_size=40),
)
@settings(max_examples=150, deadline=None)
def test_any_step_count_gives_a_descending_grid_within_bounds(steps, denoise, gaps):
    knots, level = [], 10.0
    for gap in gaps:
        knots.append(level)
        level *= 2.0**-gap
    low = min(0.02, knots[-1])
    s = ArtSchedule(((len(knots), tuple(knots)),), "euler", "ve", low, 10.0)
    sigmas = s.sigmas(steps, denoise)
    assert sigmas.shape == (steps + 1,)
    assert sigmas.dtype == torch.float32
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    assert sigmas[0] <= 10.0 * (1 + 1e-6)
    assert sigmas[-2] >= min(low, s.curves[0][1][-1]) * 0.99
    if denoise < 1:
        assert torch.equal(sigmas, s.sigmas(max(steps, int(steps / denoise)))[-(steps + 1) :])


def test_between_fitted_counts_the_grid_lies_between():
    s = schedule()
    six = s.sigmas(6)
    assert six[0].item() == pytest.approx(14.6, rel=1e-4)
    assert s.sigmas(8)[-2] < six[-2] < s.sigmas(4)[-2]


def test_bounds_are_mapped_to_another_model():
    s = schedule()
    assert torch.equal(s.sigmas_for(8, 1.0, 0.0292, 14.6146), s.sigmas(8))
    mapped = s.sigmas_for(8, 1.0, 0.002, 80.0)
    assert mapped[0].item() == pytest.approx(80.0, rel=2e-3)
    assert (mapped.diff() < 0).all()


@pytest.mark.parametrize("value", [0, -1, 2.5, 10_001, True])
def test_bad_steps(value):
    with pytest.raises(ValueError, match=f"steps is {value}"):
        schedule().sigmas(value)


@pytest.mark.parametrize("value", [0.0, -0.5, 1.5, float("nan")])
def test_bad_denoise(value):
    with pytest.raises(ValueError, match="denoise is"):
        schedule().sigmas(8, value)


def test_compress_keeps_short_grids_and_shape_of_long_ones():
    short = [10.0, 5.0, 1.0]
    assert compress(3, short, 40) == tuple(short)
    long = [10.0 * 0.95**i for i in range(100)]
    knots = compress(100, long, 40)
    assert len(knots) == 40
    again = ArtSchedule(((100, knots),), "euler", "ve", 0.01, 10.0).sigmas(100)[:-1]
    assert torch.allclose(again, torch.tensor(long), rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"curves": ()}, "1 to 160 knots"),
        ({"curves": ((4, (1.0, 2.0)),)}, "strictly descending"),
        ({"curves": ((4, (1.0, 0.0)),)}, "positive"),
        ({"curves": ((4, (1.0, float("nan"))),)}, "finite number"),
        ({"curves": ((1, (2.0, 1.0)),)}, "at most one a step"),
        ({"curves": ((4, (99.0, 1.0)),)}, "above sigma_max"),
        ({"curves": ((8, (2.0, 1.0)), (4, (2.0, 1.0)))}, "ascending"),
        ({"curves": tuple((50 + i, tuple(9.0 * 0.9**k for k in range(41))) for i in range(4))}, f"{MAX_KNOTS} knots"),
        ({"sigma_min": -1.0}, "0 < sigma_min"),
        ({"sigma_max": float("inf")}, "sigma_max is inf"),
        ({"process": "vp"}, "process is 'vp'"),
        ({"solver": ""}, "solver is ''"),
        ({"version": 2}, "version is 2"),
        ({"cfg": "high"}, "cfg is 'high'"),
        ({"model_name": 3}, "model name is 3"),
    ],
)
def test_impossible_schedules_are_refused(changes, complaint):
    with pytest.raises(ScheduleError, match=complaint):
        schedule(**changes)


def test_warnings_in_plain_words():
    s = schedule()
    assert s.warnings_for(model="abc123", process="ve", cfg=4.5, solver="euler") == []
    assert s.warnings_for() == []
    found = s.warnings_for(model="other", cfg=1.0, solver="heun")
    assert len(found) == 3
    assert "my checkpoint" in found[0]
    assert "cfg 4.5; here cfg is 1" in found[1]
    assert "euler" in found[2]
    assert "flow" in s.warnings_for(process="flow", model="other")[0]


# --- text and file ---


def test_text_round_trip_is_short_and_exact():
    s = schedule()
    text = s.to_text()
    assert "\n" not in text
    assert ArtSchedule.from_text(text) == s
    knots = tuple(0.98765432 * 14.6 * 0.93**i for i in range(MAX_KNOTS))
    longest = schedule(curves=((MAX_KNOTS, knots),), model_name="m" * 500, model="f" * 64)
    assert len(longest.to_text().encode()) < 2048
    again = ArtSchedule.from_text(longest.to_text())
    assert torch.equal(again.sigmas(37), longest.sigmas(37))


def test_file_round_trip(tmp_path):
    s = schedule()
    s.save(tmp_path / "a.safetensors")
    again = ArtSchedule.load(tmp_path / "a.safetensors")
    assert again == s
    assert again.report == s.report
    assert os.listdir(tmp_path) == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").stat().st_size < 64 * 1024


def test_a_failed_save_harms_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    schedule().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        schedule(solver="heun").save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]
    with pytest.raises(FileNotFoundError):
        schedule().save(tmp_path / "missing" / "a.safetensors")


def test_foreign_and_corrupt_files_are_named_and_left_alone(tmp_path):
    path = tmp_path / "a.safetensors"
    schedule().save(path)
    good = path.read_bytes()
    cases = {
        "empty": b"",
        "text": b"not a safetensors file at all",
        "cut": good[: len(good) // 2],
        "large": good + b"\0" * 70_000,
        "huge header": (2**40).to_bytes(8, "little") + good[8:],
        "flipped": good[:-3] + bytes([good[-3] ^ 0xFF]) + good[-2:],
    }
    for name, data in cases.items():
        bad = tmp_path / f"{name}.safetensors"
        bad.write_bytes(data)
        with pytest.raises(ScheduleError, match=f"{name}.safetensors"):
            ArtSchedule.load(bad)
        assert bad.read_bytes() == data
    save_file({"weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ScheduleError, match="not an ART schedule"):
        ArtSchedule.load(tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError):
        ArtSchedule.load(tmp_path / "none.safetensors")


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_no_flipped_byte_gives_another_grid_silently(tmp_path_factory, position, flip):
    """Every single-byte change either is refused, or leaves the curves as they are."""
    folder = tmp_path_factory.getbasetemp()
    path = folder / "flip.safetensors"
    s = schedule()
    s.save(path)
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= flip
    path.write_bytes(bytes(data))
    try:
        again = ArtSchedule.load(path)
    except ScheduleError:
        return
    assert again.curves == s.curves


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "hello", "{}", "[]", "null", "1", '{"format":"other"}', '{"format":"restart_art.schedule"}',
        '{"format":"restart_art.schedule","version":1,"solver":"euler","process":"ve","bounds":[0.1,1],"curves":{"x":[1]}}',
        '{"format":"restart_art.schedule","version":1,"solver":"euler","process":"ve","bounds":[0.1,1],"curves":{"2":[NaN,0.5]}}',
        '{"format":"restart_art.schedule","version":1,"solver":"euler","process":"ve","bounds":[0.1,1],"curves":{"2":["a"]}}',
        '{"format":"restart_art.schedule","version":9,"solver":"euler","process":"ve","bounds":[0.1,1],"curves":{"1":[1]}}',
        "[" * 50_000, "{" * 20_000,
    ],
)  # fmt: skip
def test_text_that_is_not_a_schedule(text):
    with pytest.raises(ScheduleError, match="schedule"):
        ArtSchedule.from_text(text)


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_arbitrary_text_never_does_worse_than_a_schedule_error(text):
    with pytest.raises(ScheduleError):
        ArtSchedule.from_text(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(
    key=st.sampled_from(["version", "solver", "process", "bounds", "cfg", "model", "name", "curves"]), value=json_values
)
@settings(max_examples=300, deadline=None)
def test_any_value_in_any_field_is_a_schedule_or_a_schedule_error(key, value):
    body = {**json.loads(schedule().to_text()), key: value}
    with contextlib.suppress(ScheduleError):
        ArtSchedule.from_text(json.dumps(body)).sigmas(7)
