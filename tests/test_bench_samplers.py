"""The parts of the sampler benchmark: its distances, its perturbed denoiser, its ParaDiGMS, its report."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.noise_process import NoiseProcess

from distances import energy_distance, mean_distance, sliced_wasserstein2
from exact import gaussian, grid_5x5, start
from paradigms import paradigms, step_variances
from part_parallel import Outcome, fewest, first_success
from part_restart import centre
from perturbed import BOUND, PerturbedDenoiser
from samplers_report import Section, Target, page

F64 = torch.float64


def normal(count, dim, seed):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_energy_distance_of_points_counted_by_hand():
    x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[2.0], [6.0]])
    # E|X-Y| = (2+6+1+5+1+3)/6, E|X-X'| = (1+3+2)/3, E|Y-Y'| = 4
    assert energy_distance(x, y) == pytest.approx(2 * 3 - 2 - 4)
    assert energy_distance(x, y, within_y=1.0) == pytest.approx(2 * 3 - 2 - 1)
    assert mean_distance(x, y, chunk=1) == pytest.approx(mean_distance(x, y))


def test_energy_distance_of_two_normals_has_its_closed_form():
    shift = 1.5
    # X - Y ~ N(shift, 2): folded normal; X - X' ~ N(0, 2).
    cross = 2 / math.sqrt(math.pi) * math.exp(-(shift**2) / 4) + shift * math.erf(shift / 2)
    expected = 2 * cross - 4 / math.sqrt(math.pi)
    x = normal(3000, 1, 0)
    assert energy_distance(x, normal(3000, 1, 1) + shift) == pytest.approx(expected, rel=0.05)
    assert abs(energy_distance(x, normal(3000, 1, 2))) < 0.003 * expected


def test_sliced_wasserstein_closed_forms():
    x = normal(500, 3, 0)
    shift = torch.tensor([3.0, -1.0, 2.0], dtype=F64)
    mixed = x[torch.randperm(500, generator=torch.Generator().manual_seed(1))]
    assert sliced_wasserstein2(x, mixed) == pytest.approx(0, abs=1e-12)
    # A shift moves each projection by shift . u, and E (shift . u)^2 = |shift|^2 / d.
    assert sliced_wasserstein2(x, mixed + shift, projections=20000) == pytest.approx(math.sqrt(14 / 3), rel=0.02)
    # In one dimension scaling by c moves the sorted values by (c - 1) x.
    line = x[:, :1]
    assert sliced_wasserstein2(line, 3 * line) == pytest.approx(2 * float(line.square().mean().sqrt()))
    with pytest.raises(ValueError, match="one shape"):
        sliced_wasserstein2(x, x[:10])


@pytest.mark.parametrize("low", [0.0, 0.3])
def test_perturbation_is_bounded_and_zero_above_sigma_1(low):
    exact = grid_5x5()
    model = PerturbedDenoiser(exact, 2, 3, amplitude=0.3, length=0.4, low=low)
    x = normal(400, 2, 4) * 1.5

    def error(sigma):
        level = torch.full((len(x),), sigma, dtype=F64)
        return model(x, level) - exact(x, level)

    for sigma in (1.0, 1.0001, 5.0, 80.0):
        assert torch.equal(error(sigma), torch.zeros_like(x))
    for sigma in (0.999, 0.55, 0.31, 0.1, 0.01):
        assert float(error(sigma).norm(dim=1).max()) <= 0.3 * sigma * BOUND
    middle = error(0.55).norm(dim=1).square().mean().sqrt() / (0.3 * 0.55)
    assert 0.5 < float(middle) < 1.5  # the field's root mean square is 1
    assert (float(error(0.1).abs().max()) == 0) == (low > 0)
    same = PerturbedDenoiser(exact, 2, 3, amplitude=0.3, length=0.4, low=low)
    other = PerturbedDenoiser(exact, 2, 4, amplitude=0.3, length=0.4, low=low)
    assert torch.equal(model.field(x), same.field(x))
    assert not torch.allclose(model.field(x), other.field(x))


@pytest.mark.parametrize("low", [0.0, 0.3])
def test_perturbation_is_smooth_in_x_and_sigma(low):
    """Second differences shrink as the step squared, at the window's ends too; the field is a gradient."""
    model = PerturbedDenoiser(gaussian(), 2, 0, amplitude=0.3, length=0.4, low=low)
    x = normal(50, 2, 1)
    curl = torch.func.vmap(torch.func.jacrev(lambda p: model.field(p[None])[0]))(x)
    assert torch.allclose(curl, curl.transpose(1, 2), atol=1e-9)

    def bends(step):
        sigma = torch.linspace(0.2, 1.2, 301, dtype=F64)
        in_sigma = model.window(sigma + step) + model.window(sigma - step) - 2 * model.window(sigma)
        along = torch.tensor([step, 0.0], dtype=F64)
        in_x = model.field(x + along) + model.field(x - along) - 2 * model.field(x)
        return float(in_sigma.abs().max()), float(in_x.abs().max())

    for coarse, fine in zip(bends(1e-2), bends(1e-3), strict=True):
        assert fine < coarse / 50


def ddim(model, x, grid):
    for s, q in pairwise(grid):
        x = x + (q - s) / s * (x - model(x, torch.full((len(x),), s, dtype=x.dtype)))
    return x


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("window", [30, 4])
def test_paradigms_at_tolerance_0_is_ddim_with_one_step_a_round(kind, window):
    model = grid_5x5(scale=0.3, kind=kind)
    grid = [s / (1 + s) if kind == "flow" else s for s in karras_ramp(12, 10.0, 0.05)] + [0.0]
    x = start(model, 5, grid[0])
    expected = ddim(model, x, grid)
    model.evaluations = 0
    run = paradigms(model, x, grid, window=window, tolerance=0.0, flow=kind == "flow")
    assert torch.allclose(run.end, expected, atol=1e-10)
    # No state but the window's first stops by itself, so it slides one step a round: 12 rounds.
    assert run.rounds.tolist() == [12] * 5
    cost = sum(min(window, 12 - k) for k in range(12))
    assert run.evaluations.tolist() == [cost] * 5
    assert model.evaluations == 5 * cost


def test_paradigms_trades_rounds_for_tolerance():
    model = grid_5x5(scale=0.3)
    grid = [*karras_ramp(60, 20.0, 0.02), 0.0]
    x = start(model, 8, grid[0])
    expected = ddim(model, x, grid)
    runs = [paradigms(model, x, grid, window=60, tolerance=t) for t in (1.0, 0.1, 0.001)]
    rounds = [float(r.rounds.double().mean()) for r in runs]
    errors = [float((r.end - expected).abs().mean()) for r in runs]
    assert rounds == sorted(rounds)
    assert rounds[-1] < 40
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4
    alone = paradigms(model, x[2:3], grid, window=60, tolerance=0.1)  # a trajectory does not wait for another
    assert alone.rounds.tolist() == runs[1].rounds[2:3].tolist()
    assert torch.allclose(alone.end, runs[1].end[2:3])


@pytest.mark.parametrize("flow", [False, True])
def test_step_variances_are_those_of_ancestral_noise(flow):
    """Going down without it and adding it gives back the level's noise: down^2 + variance = q^2."""
    process = NoiseProcess("flow" if flow else "ve")
    grid = [process.from_ve(s) for s in (5.0, 2.0, 0.3)] + [0.0]
    found = step_variances(grid, flow)
    for s, q, variance in zip(grid, grid[1:], found, strict=False):
        if q == 0:
            assert variance == 0
            continue
        ve_s, ve_q = process.to_ve(s), process.to_ve(q)
        down = ve_q**2 / ve_s  # sigma_down of ancestral sampling with eta 1
        assert variance == pytest.approx((process.signal(q) ** 2) * (ve_q**2 - down**2))


def test_searches_take_the_first_success_and_the_fewest_rounds():
    tried = []

    def run(rounds):
        tried.append(rounds)
        return Outcome("", 1 / rounds, rounds, 4 * rounds)

    def runs():
        return (lambda n=n: run(n) for n in range(1, 50))

    assert first_success(runs(), 0.1).rounds == 10
    assert tried == list(range(1, 11))
    assert first_success(runs(), 0.1, most_rounds=5) is None
    assert first_success(runs(), 0.001) is None
    assert fewest([None, Outcome("a", 0, 9, 30), Outcome("b", 0, 9, 20), Outcome("c", 0, 10, 1)]).setting == "b"
    assert fewest([None]) is None


def test_standard_errors():
    value, noise, perturbation = centre([[1.0, 3.0], [5.0, 7.0]])
    assert value == 4
    assert noise == pytest.approx(math.sqrt(2 / 4))  # variance 2 of a run, 4 runs
    assert perturbation == pytest.approx(math.sqrt(8 / 2))  # means 2 and 6: variance 8, two of them
    assert math.isnan(centre([[1.0, 2.0]])[2])


def test_report_marks_missed_targets():
    targets = [
        Target("kept", 0.3, 0.35),
        Target("broken", 0.36, 0.35),
        Target("not measured", math.nan, 1.0),
        Target("beside", 9.0),
    ]
    assert [t.met for t in targets] == [True, False, False, None]
    section = Section("part", ["words"], ["case", "a"], [["one", "2"]], targets)
    text = page([section, section], "picture.png", "the command")
    assert "**2 of 6 targets met, 4 missed.**" in text
    lines = text.splitlines()
    assert "| kept | 0.300 | 0.35 | met |" in lines
    assert "| broken | 0.360 | 0.35 | **missed** |" in lines
    assert "| not measured | nan | 1 | **missed** |" in lines
    assert "| beside | 9.000 |  | none set |" in lines
    assert "| one | 2 |" in lines
    assert "![The three parts as charts](picture.png)" in text
