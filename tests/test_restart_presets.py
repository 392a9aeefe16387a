"""Restart presets: published settings at their published cost, AUTOMATIC1111's rule, the rule of `auto`."""

from __future__ import annotations

import pytest
import torch

from restart_art.samplers import sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.restart import plan_pieces
from restart_art.samplers.restart_presets import PRESETS, a1111_segments, auto_extra_steps, auto_segments
from restart_art.samplers.segments import Segment, resample

from exact import gaussian, start

EDM, SD = (0.002, 80.0), (0.0292, 14.6146)


def karras(steps, bounds=EDM, kind="ve"):
    levels = [NoiseProcess(kind).from_ve(s) for s in karras_ramp(steps, bounds[1], bounds[0])]
    return torch.tensor([*levels, 0.0], dtype=torch.float64)


def drawn(name, grid, kind="ve", **options):
    """(the picture, model calls, the text that the run reports)."""
    model, said = gaussian(kind=kind), []
    x = sample_restart(
        model, start(model, 2, float(grid[0])), grid, extra_args={"seed": 1}, disable=True, segments=name,
        report=said.append, **options,
    )  # fmt: skip
    assert len(said) == 1
    assert f"= {model.calls} model calls" in said[0]
    return x, model.calls, said[0]


# The numbers of the names are Heun's: (2 N - 1) + sum 2 (N_restart - 1) K.
@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("calls")])
def test_papers_presets_cost_what_their_names_say(name):
    _, calls, text = drawn(name, karras(PRESETS[name].steps))
    assert calls == int(name.split()[-2])
    assert "\n" not in text, text  # nothing changed, nothing to remark


def test_rows_are_the_published_ones():
    """Xu et al. 2023: the ImageNet 64 table row by row, written out here again."""
    rows = {
        39: (14, [(3, 1, 19.35, 40.79), (3, 1, 1.09, 1.92), (3, 1, 0.06, 0.30)]),
        67: (18, [(5, 1, 19.35, 40.79), (5, 1, 1.09, 1.92), (5, 1, 0.59, 1.09), (5, 1, 0.06, 0.30)]),
        99: (
            18,
            [(3, 1, 19.35, 40.79), (4, 1, 1.09, 1.92), (4, 4, 0.59, 1.09), (4, 1, 0.30, 0.59), (4, 4, 0.06, 0.30)],
        ),
        165: (
            18,
            [(3, 1, 19.35, 40.79), (4, 1, 1.09, 1.92), (4, 5, 0.59, 1.09), (4, 5, 0.30, 0.59), (4, 10, 0.06, 0.30)],
        ),
        203: (
            36,
            [(4, 1, 19.35, 40.79), (4, 1, 1.09, 1.92), (4, 5, 0.59, 1.09), (4, 5, 0.30, 0.59), (6, 6, 0.06, 0.30)],
        ),
    }
    for calls, (steps, segments) in rows.items():
        preset = PRESETS[f"imagenet64 {calls} calls"]
        assert (preset.steps, list(preset.segments)) == (steps, [Segment(*row) for row in segments])
        assert preset.s_noise == 1.003
    assert all(preset.s_noise == 1.0 for name, preset in PRESETS.items() if not name.startswith("imagenet"))


@pytest.mark.parametrize(("w", "calls"), [(2, 62), (3, 66), (5, 66), (8, 66)])
def test_stable_diffusion_presets_run_euler_with_heun_restarts(w, calls):
    """30 DDIM (= Euler) steps and Heun restarts: 30 + 2 K (N_restart - 1) summed."""
    assert drawn(f"sd1.5 cfg {w}", karras(30, SD))[1] == calls
    # One solver for both, if asked for.
    heun = calls - 30 + 59
    assert drawn(f"sd1.5 cfg {w}", karras(30, SD), main_solver="heun")[1] == heun


@pytest.mark.parametrize(
    ("steps", "main", "restart"), [(12, 12, 0), (19, 19, 0), (20, 11, 9), (35, 26, 9), (36, 18, 18), (40, 20, 20)]
)
@pytest.mark.parametrize(("solver", "per_step", "last"), [("heun", 2, 1), ("euler", 1, 0), ("dpmpp_2m", 1, 0)])
def test_a1111_keeps_the_number_of_steps(steps, main, restart, solver, per_step, last):
    _, calls, text = drawn("a1111", karras(steps, SD), solver=solver)
    assert calls == per_step * steps - last
    assert f"{main} main + {restart} restart steps" in text
    assert ("no restart below 20 steps" in text) == (steps < 20)


def test_a1111_main_grid_is_its_karras_grid():
    """A1111 rebuilds a shorter Karras grid; we shorten the user's own, which for Karras comes to the same."""
    for steps, main in [(20, 11), (30, 21), (36, 18)]:
        ours, theirs = resample(karras(steps, SD).tolist(), main), karras(main, SD).tolist()
        assert ours[:-1] == pytest.approx(theirs[:-1], rel=2e-5)
        assert ours[-1] == 0
    (segment,) = a1111_segments(40)
    assert segment == Segment(11, 2, 0.1, 2.0)


def test_presets_are_mapped_for_flow():
    grid = karras(18, EDM, "flow")
    pieces = plan_pieces(grid.tolist(), PRESETS["imagenet64 99 calls"].segments, NoiseProcess("flow"))
    tops = {round(p.sigmas[0], 3) for p in pieces if p.restart}
    assert tops == {0.976, 0.658, 0.522, 0.371, 0.231}
    assert drawn("imagenet64 99 calls", grid, "flow")[1] == 99


def test_preset_noise_strength_applies_unless_given():
    grid = karras(14)
    name = "imagenet64 39 calls"
    own, as_given, plain = drawn(name, grid)[0], drawn(name, grid, s_noise=1.003)[0], drawn(name, grid, s_noise=1.0)[0]
    assert torch.equal(own, as_given)
    assert not torch.equal(own, plain)


def test_other_step_counts_are_remarked():
    assert "was published for 18 steps (this run has 12)" in drawn("cifar10 vp 43 calls", karras(12))[2]


def test_auto_rule():
    """30 % up the range in log, five wide; N by what there is to spend, K spends it."""
    (segment,) = auto_segments(0.002, 80.0, 6)
    assert (segment.nodes, segment.repeats) == (3, 3)
    assert segment.t_min == pytest.approx(0.002 * 40_000**0.3)
    assert segment.t_max == pytest.approx(5 * segment.t_min)
    assert (auto_segments(0.002, 80.0, 8)[0].nodes, auto_segments(0.002, 80.0, 8)[0].repeats) == (4, 2)
    assert (auto_segments(0.002, 80.0, 33)[0].nodes, auto_segments(0.002, 80.0, 33)[0].repeats) == (6, 6)
    assert auto_segments(0.002, 80.0, 1) == ()
    assert auto_segments(1.0, 1.9, 30) == ()  # too narrow
    assert auto_segments(1.0, 4.0, 30)[0].t_max == 4.0  # never above the run
    assert [auto_extra_steps(20, 2, b) for b in (None, 40, 80, 20)] == [10, 6, 20, 3]


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("steps", [20, 40])
def test_auto_stays_in_the_runs_range_and_budget(kind, steps):
    grid = karras(steps, SD, kind)
    _, on_top, text = drawn("auto", grid, kind)
    assert 2 * steps < on_top <= 3 * steps + 2
    assert "Warning" not in text
    _, within, text = drawn("auto", grid, kind, budget="within steps")
    assert within <= 2 * steps
    assert "Warning" not in text
    assert "+ 0 restart" not in text


@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_auto_restarts_inside_a_part_of_a_run(kind):
    """img2img: the upper half is not there; a run that stops early: nor is the lower one."""
    grid = karras(40, SD, kind)
    for part in (grid[20:], grid[:21]):
        _, _, text = drawn("auto", part, kind)
        assert "Warning" not in text
        assert "+ 0 restart" not in text


def test_auto_knows_the_models_range():
    """The model's own sigma_min and sigma_max bound the levels, not the accident of the first and last node."""
    from restart_art.samplers.restart_presets import sigma_range

    class Sampling:
        sigma_min, sigma_max = torch.tensor(0.03), torch.tensor(14.0)

    model = gaussian()
    assert sigma_range(model, [10.0, 1.0, 0.1, 0.0], NoiseProcess()) == (0.1, 10.0)
    model.model_sampling = Sampling()
    assert sigma_range(model, [20.0, 1.0, 0.1, 0.0], NoiseProcess()) == pytest.approx((0.03, 14.0))
    assert sigma_range(model, [20.0, 1.0, 0.1], NoiseProcess()) == pytest.approx((0.1, 14.0))


def test_auto_makes_none_with_few_steps_and_says_so():
    _, calls, text = drawn("auto", karras(19))
    assert calls == 37
    assert "Preset auto makes no restart here (19 steps" in text


def test_unknown_preset_is_named_before_any_call():
    model = gaussian()
    with pytest.raises(ValueError, match=r"segments \(a preset's name\) is 'sd1.5 cfg 7'; allowed: auto, a1111"):
        sample_restart(model, start(model, 1, 80.0), karras(8), disable=True, segments="sd1.5 cfg 7")
    assert model.calls == 0
