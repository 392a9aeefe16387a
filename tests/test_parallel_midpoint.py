"""Parallel midpoint: what it computes, when its sweeps end, what it reports."""

from __future__ import annotations

import logging

import pytest
import torch

from restart_art.samplers import sample_parallel_midpoint
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.langevin import correct, langevin_noise
from restart_art.samplers.noise import item_generators
from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.parallel_midpoint import _CORRECTOR_STREAM, _draw_positions
from restart_art.samplers.parallel_plan import plan_step
from restart_art.samplers.randomized_midpoint import MEASURES

from exact import Mixture, gaussian, grid_5x5, mixture_16d, start

KINDS = ("ve", "flow")


def grid_for(kind, steps, top=20.0, bottom=0.01):
    process = NoiseProcess(kind)
    levels = [process.from_ve(s) for s in karras_ramp(steps, top, bottom)]
    return torch.tensor([*levels, 0.0], dtype=torch.float64)


def run(model, grid, batch=3, seed=1, **options):
    x = start(model, batch, grid[0].item())
    return sample_parallel_midpoint(model, x, grid, {"seed": seed}, disable=True, **options)


def written_out(model, x, grid, *, midpoints, sweeps, warm_start, jitter, measure):
    """The method with every sum written out, x and D extrapolated each on its own: for (B, d) samples."""
    process, last = NoiseProcess.of(model), None
    positions = _draw_positions(midpoints, jitter, len(grid) - 1, len(x), {"seed": 1})
    for i, (s, q) in enumerate(zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True)):
        if q == 0:
            return model(x, x.new_full((len(x),), s))
        plan = plan_step(measure, s, q, positions[:, i].T, process)
        m = plan.m.expand(-1, len(x))
        if last is None or not warm_start:
            first = model(x, x.new_full((len(x),), s))
            slopes, answers = [(x - first) / s] * midpoints, [first] * midpoints
        else:
            slopes, answers = [], []
            for level in m:
                (a, slope_a, answer_a), (b, slope_b, answer_b) = last[0], last[-1]
                beyond = ((level / b).log() / (b / a).log()).nan_to_num(0.0)[:, None] if midpoints > 1 else 0.0
                slopes.append(slope_b + beyond * (slope_b - slope_a))
                answers.append(answer_b + beyond * (answer_b - answer_a))
        places = [m[j][:, None] * slopes[j] + answers[j] for j in range(midpoints)]
        for _ in range(sweeps):
            field = [plan.fx[j][:, None] * places[j] + plan.fd[j][:, None] * answers[j] for j in range(midpoints)]
            places = [
                plan.inner_x[j][:, None] * x + sum(plan.inner[j, k][:, None] * field[k] for k in range(j + 1))
                for j in range(midpoints)
            ]
            answers = [model(places[j], m[j]) for j in range(midpoints)]
        field = [plan.fx[j][:, None] * places[j] + plan.fd[j][:, None] * answers[j] for j in range(midpoints)]
        x = plan.outer_x * x + sum(plan.outer[j][:, None] * field[j] for j in range(midpoints))
        last = [(m[j], (places[j] - answers[j]) / m[j][:, None], answers[j]) for j in range(midpoints)][-2:]
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_the_matrix_form_is_the_method_written_out(kind, measure, jitter):
    """Also from sigma 900, where "ou" on a flow model begins with steps of "sigma"."""
    model = mixture_16d(kind=kind)
    for midpoints, sweeps, warm, top in [(1, 2, True, 20), (2, 1, True, 900), (4, 2, True, 900), (3, 2, False, 20)]:
        options = {"midpoints": midpoints, "sweeps": sweeps, "warm_start": warm, "jitter": jitter, "measure": measure}
        grid = grid_for(kind, 7, float(top))
        expected = written_out(model, start(model, 3, grid[0].item()), grid, **options)
        found = run(model, grid, **options)
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), (midpoints, top)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("measure", MEASURES)
def test_sweeps_converge_to_the_solution_of_the_implicit_step(kind, measure):
    """N(0, c^2): D is linear in x, so the step's fixed point is the solution of a linear system."""
    c, midpoints = 0.5, 4
    process = NoiseProcess(kind)
    s, q = process.from_ve(2.0), process.from_ve(0.5)
    plan = plan_step(measure, s, q, (torch.arange(midpoints, dtype=torch.float64)[:, None] + 0.5) / midpoints, process)
    a = process.signal(plan.m) if kind == "flow" else torch.ones_like(plan.m)
    field_of_x = plan.fx + plan.fd * a * c**2 / (a**2 * c**2 + plan.m**2)
    system = torch.eye(midpoints, dtype=torch.float64) - plan.inner[..., 0] * field_of_x[:, 0]
    middles = torch.linalg.solve(system, plan.inner_x)
    factor = plan.outer_x + (plan.outer * field_of_x * middles).sum()

    model, grid = gaussian(c, kind=kind), torch.tensor([s, q], dtype=torch.float64)
    x = start(model, 3, s)
    errors = []
    for sweeps in (1, 2, 4, 40):
        end = run(model, grid, midpoints=midpoints, sweeps=sweeps, measure=measure)
        errors.append(((end - factor * x).abs().max() / x.abs().max()).item())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[3] < 1e-12


@pytest.mark.parametrize("measure", MEASURES)
def test_a_tiny_tolerance_is_all_sweeps_a_huge_one_a_single_sweep(measure):
    model, grid = mixture_16d(), grid_for("ve", 8)
    for tolerance, sweeps in ((1e-300, 5), (1e300, 1)):
        told = {}
        end = run(model, grid, sweeps=5, tolerance=tolerance, measure=measure, report=told)
        assert torch.equal(end, run(model, grid, sweeps=sweeps, measure=measure))
        assert told["sweeps"] == 7 * sweeps


@pytest.mark.parametrize("kind", KINDS)
def test_tolerance_stops_where_sweeps_no_longer_matter(kind):
    model, grid = mixture_16d(kind=kind), grid_for(kind, 10)
    converged = run(model, grid, sweeps=60)
    spent = []
    for tolerance in (1e-2, 1e-5, 1e-10):
        told = {}
        end = run(model, grid, sweeps=60, tolerance=tolerance, report=told)
        assert (end - converged).abs().max() < 50 * tolerance
        spent.append(told["sweeps"])
    assert 9 <= spent[0] < spent[1] < spent[2] < 9 * 60


def test_no_sample_of_a_batch_is_left_unfinished():
    """The sweeps that a lone sample needs are made for it in a batch too."""
    model, grid = grid_5x5(0.3), grid_for("ve", 8)
    x = start(model, 6, 20.0)
    options = {"sweeps": 30, "tolerance": 1e-4, "disable": True}
    told, alone = {}, []
    end = sample_parallel_midpoint(model, x, grid, report=told, **options)
    converged = sample_parallel_midpoint(model, x, grid, disable=True, sweeps=30)
    assert (end - converged).abs().max() < 0.01
    for row in x:
        sample_parallel_midpoint(model, row[None], grid, report=lambda d: alone.append(d["sweeps"]), **options)
    assert told["sweeps"] >= max(alone)


class Limited(Mixture):
    """Runs out of memory above `limit` samples."""

    limit = 10**9

    def __call__(self, x, sigma, **extra):
        if len(x) > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().__call__(x, sigma, **extra)


@pytest.mark.parametrize("options", [{}, {"jitter": 1.0, "measure": "ou", "sweeps": 2}, {"corrector_steps": 3}])
@pytest.mark.parametrize("limit", [3, 7, 11])
def test_chunks_give_the_same_picture(limit, options):
    model, told = Limited(grid_5x5().means, 0.3), {}
    grid = grid_for("ve", 8)
    whole = run(model, grid, **options, report=told)
    assert told["mode"] == "one batch"
    rounds = told["rounds"]
    model.limit = limit
    assert (run(model, grid, **options, report=told) - whole).abs().max() < 1e-12
    assert told["mode"] == "chunks"
    assert told["calls"] > told["rounds"] == rounds


def count(steps, *, warm, sweeps, midpoints=4, batch=3, corrector=0):
    """(rounds, evaluations) of a run of `steps` steps to 0, without an early end."""
    inner = steps - 1
    rounds, levels = [inner * sweeps], [inner * sweeps * midpoints]
    cold = 1 if warm else inner
    corrected = min(sweeps, corrector)
    rounds += [cold, 1, inner * corrected]
    levels += [cold, 1, inner * sum(corrector - j for j in range(corrected))]
    return sum(rounds), batch * sum(levels)


CASES = [
    ({}, {"warm": True, "sweeps": 1}),
    ({"sweeps": 3, "midpoints": 2}, {"warm": True, "sweeps": 3, "midpoints": 2}),
    ({"warm_start": False, "sweeps": 2}, {"warm": False, "sweeps": 2}),
    ({"corrector_steps": 3, "sweeps": 2}, {"warm": True, "sweeps": 2, "corrector": 3}),
    ({"corrector_steps": 1, "measure": "sigma"}, {"warm": False, "sweeps": 1, "corrector": 1}),
    ({"corrector_steps": 4, "corrector_strength": 0.0}, {"warm": True, "sweeps": 1}),
    ({"preset": "paper"}, {"warm": False, "sweeps": 1, "corrector": 1}),
]


@pytest.mark.parametrize(("options", "expected"), CASES)
def test_rounds_calls_and_evaluations_are_reported(options, expected, caplog):
    model, told, reports = gaussian(), {"kept": 1}, []
    rounds, evaluations = count(9, **expected)
    with caplog.at_level(logging.INFO, "restart_art.samplers.parallel_midpoint"):
        run(model, grid_for("ve", 9), **options, report=told)
    assert (model.calls, model.evaluations) == (rounds, evaluations)
    assert told == {
        "kept": 1, "rounds": rounds, "calls": rounds, "evaluations": evaluations, "sweeps": 8 * expected["sweeps"],
        "mode": "one batch", "obstacle": None,
    }  # fmt: skip
    (record,) = caplog.records
    assert f"{rounds} rounds, {rounds} model calls, {evaluations} evaluations (one batch)" in record.getMessage()
    run(gaussian(), grid_for("ve", 9), **options, report=reports.append)
    assert reports == [{k: v for k, v in told.items() if k != "kept"}]


def test_an_obstacle_is_reported_and_changes_nothing_but_the_calls():
    model, told, grid = grid_5x5(0.3), {}, grid_for("ve", 6)
    x = start(model, 2, 20.0)
    whole = sample_parallel_midpoint(model, x, grid, {"seed": 1}, disable=True)
    masked = sample_parallel_midpoint(model, x, grid, {"denoise_mask": torch.ones(2, 2)}, disable=True, report=told)
    assert (masked - whole).abs().max() < 1e-12
    assert (told["mode"], told["rounds"], told["calls"]) == ("one level at a time", 7, 5 * 4 + 2)
    assert "mask" in told["obstacle"]


def test_each_samples_draws_are_its_own():
    model, grid = grid_5x5(0.3), grid_for("ve", 9)
    x = start(model, 4, 20.0)
    for options in ({"jitter": 1.0}, {"preset": "paper"}):
        seeds = [7, 3, 9, 3]
        together = sample_parallel_midpoint(model, x, grid, {"seed": seeds}, disable=True, **options)
        for i, seed in enumerate(seeds):
            alone = sample_parallel_midpoint(model, x[i : i + 1], grid, {"seed": seed}, disable=True, **options)
            assert torch.allclose(together[i : i + 1], alone, atol=1e-12)
        for few in (1, 3):
            part = run(model, grid, batch=few, **options)
            assert torch.allclose(run(model, grid, batch=4, **options)[:few], part, atol=1e-12)


def test_enough_sweeps_make_the_corrector_the_sequential_one():
    model, options = mixture_16d(), {"corrector_strength": 0.4, "midpoints": 3, "warm_start": False}
    grid = torch.tensor([2.0, 1.0], dtype=torch.float64)
    x = start(model, 3, 2.0)
    noise = langevin_noise(x, 3, item_generators({"seed": 1}, 3, _CORRECTOR_STREAM))
    plain = run(model, grid, sweeps=3, midpoints=3, warm_start=False)
    expected = correct(model, plain, 1.0, noise, strength=0.4)
    assert (run(model, grid, sweeps=3, corrector_steps=3, **options) - expected).abs().max() < 1e-12
    assert (expected - plain).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{"corrector_steps": 2}, {"preset": "paper", "corrector_strength": 0.1}])
def test_the_corrector_keeps_the_law(kind, options):
    """Gaussian data of scale .5, 40 steps: the spread of 8000 numbers (standard error 0.8 %)."""
    model = gaussian(0.5, dim=2000, kind=kind)
    end = run(model, grid_for(kind, 40), batch=4, **options)
    plain = run(model, grid_for(kind, 40), batch=4)
    assert end.std().item() == pytest.approx(0.5, rel=0.05)
    assert (end - plain).abs().max() > 0.1


def test_preset_is_its_options_written_out():
    """With strength 0 there is no corrector left; at its default the corrector is on."""
    model, grid = mixture_16d(), grid_for("ve", 9)
    plain = run(model, grid, measure="ou", jitter=1.0, warm_start=False)
    assert torch.equal(run(model, grid, preset="paper", corrector_strength=0.0), plain)
    agreed = run(model, grid, preset="paper", measure="ou", jitter=1.0, warm_start=False)
    assert torch.equal(run(model, grid, preset="paper"), agreed)
    assert not torch.allclose(agreed, plain)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tolerance": -1.0}, "tolerance is -1"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"corrector_steps": -1}, "corrector_steps is -1"),
        ({"corrector_steps": 1.5}, "corrector_steps is 1.5"),
        ({"corrector_strength": 3.0}, "corrector_strength is 3"),
        ({"preset": "custom"}, "preset is 'custom'; allowed: paper"),
        ({"preset": "paper", "measure": "sigma"}, "measure is 'sigma', but preset 'paper' sets it to 'ou'"),
        ({"preset": "paper", "jitter": 0.5}, "jitter is 0.5, but preset"),
        ({"report": 3}, "report is 3"),
    ],
)
def test_bad_options_are_named_before_any_call(options, complaint):
    model = gaussian()
    with pytest.raises(ValueError, match=complaint):
        run(model, torch.tensor([1.0, 0.0]), **options)
    assert model.calls == 0


def test_a_model_that_hands_back_its_input_is_not_confused():
    """D = x: nothing moves but to x itself."""
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for measure in MEASURES:
        grid = torch.tensor([2.0, 1.0, 0.5, 0.0], dtype=torch.float64)
        end = sample_parallel_midpoint(lambda x, sigma: x, x, grid, disable=True, measure=measure, sweeps=2)
        assert torch.allclose(end, x, atol=1e-12)
