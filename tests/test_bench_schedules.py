"""The parts of the schedule benchmark: its exact denoiser, its floor, its targets, its page; and the gallery."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import gallery
import schedule_cases
import schedules
from exact import Mixture, gaussian, grid_5x5
from schedule_cases import SOLVERS, FastMixture, Guided, Setting, fine_ends, make, mixture, normal
from schedule_chart import chart
from schedule_fits import DIRECT, PROPAGATED, RAW, REFINED, Work
from schedule_floor import Grids, descend, reduced, through_mixture, through_network
from schedule_report import page
from schedule_targets import best_stock, targets, to_best, worst

F64 = torch.float64


@pytest.mark.parametrize("dims", [2, 16, 256])
def test_the_fast_mixture_is_the_exact_one(dims):
    fast = mixture(dims)
    slow = Mixture(fast.means, fast.scale)
    sigma = torch.tensor([80.0, 3.0, 0.4, 0.05, 0.002], dtype=F64)
    x = fast.means[:5] + sigma[:, None] * normal((5, dims), 0, F64)
    torch.testing.assert_close(fast(x, sigma), slow(x, sigma), rtol=1e-9, atol=1e-9)
    assert (fast.calls, fast.evaluations) == (1, 5)


def setting_of(model, low=0.01, high=20.0, rows=16):
    dims = model.means.shape[1]
    return Setting("", model, low, high, normal((rows, dims), 1, F64), normal((rows, dims), 2, F64))


def test_fine_ends_of_a_gaussian_are_its_closed_form():
    setting = setting_of(FastMixture.of(gaussian(0.5)))
    last = setting.held_noise * 20.0 * math.hypot(0.5, 0.01) / math.hypot(0.5, 20.0)  # at sigma_min
    torch.testing.assert_close(setting.ends, last * 0.25 / (0.25 + 0.01**2), rtol=1e-5, atol=1e-8)
    assert setting.error("euler", torch.tensor([20.0, 0.0])) == pytest.approx(
        (setting.held_noise * (20 * 0.25 / 400.25 - 20 * 0.5 / math.hypot(0.5, 20))).square().mean(1).sqrt().mean(),
        rel=1e-3,
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_floor_sees_the_errors_that_the_hosts_solver_makes(solver):
    for model in (FastMixture.of(grid_5x5(0.2)), FastMixture(normal((4, 30), 0), 0.3)):
        setting = setting_of(model)
        grid = torch.tensor([20.0, 5.0, 1.5, 0.5, 0.1, 0.0])
        error = through_mixture(model, solver, setting.held_noise, fine_ends(setting, setting.held_noise, {}))
        assert float(error(grid[None, :-1].double())) == pytest.approx(setting.error(solver, grid), rel=1e-5)


def test_the_reduced_problem_keeps_every_distance():
    model = FastMixture(normal((4, 30), 0), 0.3)
    noise, sigma = normal((6, 30), 1, F64), torch.full((6,), 2.0, dtype=F64)
    small, (x, y) = reduced(model, 2 * noise, noise)
    assert x.shape == (6, 5)
    assert reduced(small, x, y)[0] is small
    whole, less = model(2 * noise, sigma), small(x, sigma)
    torch.testing.assert_close((less - y).norm(dim=1), (whole - noise).norm(dim=1))


def test_the_floor_finds_the_known_optimum_of_a_gaussian():
    """Euler's best grid on N(0, c^2) is sigma_i = c tan(uniform in arctan(sigma / c)) (methods, section 5)."""
    c, high, steps = 0.5, 20.0, 4
    setting = setting_of(FastMixture.of(gaussian(c)), low=0.001)
    angles = torch.linspace(math.atan(high / c), 0, steps + 1, dtype=F64)
    best = c * angles.tan()
    error = through_mixture(setting.model, "euler", setting.held_noise, setting.ends)
    start = torch.tensor([[20.0, 8.0, 2.0, 0.6]], dtype=F64)
    found = descend(error, start, 0.001, high, 200)
    assert found.before == pytest.approx(float(error(start)))
    assert found.error <= float(error(best[None, :-1])) * 1.001
    assert found.error < 0.9 * found.before
    assert found.sigmas[-1] == 0
    assert bool((found.sigmas.diff() < 0).all())
    assert found.late < 0.01


def test_descended_grids_stay_within_the_bounds_and_never_get_worse():
    starts = torch.tensor([[20.0, 2.0, 0.01], [12.1, 0.5, 0.2]], dtype=F64)
    inside = Grids(starts, 0.01, 20.0).sigmas().detach()
    torch.testing.assert_close(inside[1], starts[1], rtol=0.02, atol=0)
    assert float(inside.max()) <= 20.0
    assert float(inside.min()) >= 0.01 * (1 - 1e-9)
    found = descend(lambda s: (s[:, 1] - 2.0).abs() + 1, starts, 0.01, 20.0, 10)
    assert found.error == found.before == 1.0  # the start itself counts
    assert found.sigmas[:3].tolist() == pytest.approx(starts[0].tolist())


@pytest.mark.parametrize("name", ["tiny flow", "tiny eps, CFG 2"])
def test_gradients_through_a_tiny_checkpoint_are_slopes(name):
    setting = make(name, {}, held=2)
    grid = setting.stock["karras"][5][:-1].double()[None]
    error = through_network(setting.model, "dpmpp_2m", setting.held_noise, setting.ends, setting.held_args)
    assert float(error(grid)) == pytest.approx(setting.error("dpmpp_2m", setting.stock["karras"][5]), rel=1e-3)
    found = descend(error, grid, setting.low, setting.high, 4, 0.02)
    assert found.error < found.before


def test_ends_found_once_serve_every_solver(monkeypatch):
    monkeypatch.setattr(schedule_cases, "HELD_OUT_TINY", 2)
    monkeypatch.setattr(schedule_cases, "END_NODES", 12)
    ends = schedules.ends_of("tiny flow")
    setting = make("tiny flow", {})
    grid = setting.stock["karras"][5]
    own = setting.errors("euler", grid)
    handed = make("tiny flow", {})
    handed.ends = torch.from_numpy(ends)
    assert torch.equal(handed.errors("euler", grid), own)
    handed.ends = handed.ends + 1
    assert bool((handed.errors("euler", grid) - own).abs().min() > 0.1)


def test_guidance_and_the_two_sides_of_a_guided_setting():
    setting = make("tiny flow, CFG 2", {}, held=6)
    assert isinstance(setting.model, Guided)
    assert setting.fit_args["classes"].max() < 5 <= setting.held_args["classes"].min()
    plain, x, sigma = setting.model.model, setting.held_noise, torch.full((6,), 0.7)
    with torch.no_grad():
        labelled, blank = plain(x, sigma, **setting.held_args), plain(x, sigma)
        torch.testing.assert_close(setting.model(x, sigma, **setting.held_args), 2 * labelled - blank)


def test_the_hosts_grids_are_taken_and_bad_ones_left_out():
    host = {"SD": {"karras": {"5": [14.0, 3.0, 1.0, 0.5, 0.1, 0.0]}, "broken": {"5": [1.0, 1.0, 0.0], "8": None}}}
    stock = make("2-D, SD range", host, held=2).stock
    assert stock["karras"][5].tolist() == pytest.approx([14.0, 3.0, 1.0, 0.5, 0.1, 0.0])
    assert "broken" not in stock
    assert set(stock) >= {"uniform", "karras", "exponential"}
    assert "uniform" not in make("2-D, SD range", host, held=2).baselines


@pytest.fixture(scope="module")
def case():
    """One really measured case, small."""
    found = schedules.measure(
        "2-D, EDM range", "euler", Work(((8,),), also=(10,)), {}, held=48, floor_rows=48, floor_iterations=40
    )
    return json.loads(json.dumps(found))


def test_a_case_is_measured_and_its_page_tells_every_target(case):
    assert set(case["learned"]) == {RAW, PROPAGATED, DIRECT, REFINED}
    assert set(case["learned"][REFINED]) == {"8", "10"}
    assert case["unfitted"] == [10]
    assert all(0 < error < 5 for errors in case["learned"].values() for error in errors.values())
    assert case["learned"][REFINED]["8"] < case["stock"]["karras"]["8"]
    assert {fit["method"] for fit in case["fits"]} == {RAW, PROPAGATED, DIRECT, REFINED}
    assert all(floor["own_error"] <= floor["own_before"] for floor in case["floor"].values())
    judged = targets([case])
    euler = [t for t in judged if "Euler, refined / Karras" in t.text and t.limit == 0.56]
    assert [t.value for t in euler] == [pytest.approx(case["learned"][REFINED]["8"] / case["stock"]["karras"]["8"])]
    text = page([case], judged, "p.png", {"host": "", "jobs": 1, "seconds": 3, "cases": [case]})
    assert all(t.text in text for t in judged)
    assert text.count("**missed**") == sum(t.met is False for t in judged)
    assert chart([case], width=400).width == 400


def test_best_stock_knows_longer_grids_and_leaves_uniform_out():
    case = {
        "stock": {"uniform": {"8": 0.1}, "karras": {"8": 1.0}, "ddim_uniform": {"8": 0.5}},
        "longer": {"ddim_uniform": [8]},
        "learned": {REFINED: {"8": 0.50000001}},
    }
    assert best_stock(case, "8") == ("ddim_uniform", 0.5)
    assert best_stock(case, "8", equal=True) == ("karras", 1.0)
    assert to_best(case, REFINED, "8") == 1.0


def test_the_worst_value_judges_a_target():
    (found,) = worst("ratio", 1.0, [("a", 0.4), ("b", 1.3)])
    assert (found.text, found.value, found.met) == ("ratio; worst: b", 1.3, False)
    (found,) = worst("ratio", 1.0, [("a", 0.4), ("b", math.nan)])
    assert found.met is False
    assert worst("ratio", 1.0, []) == []


def test_every_problem_and_solver_is_in_the_plan_once():
    planned = [(name, solver) for name, solver, _ in schedules.plan()]
    assert len(planned) == len(set(planned)) == 10 * 3
    for _, _, work in schedules.plan():
        assert all(len(group) <= 3 for group in work.groups)


def test_the_gallery_tells_the_errors_of_its_pictures():
    setting = make("tiny flow", {}, held=4, steps=(6,))
    setting.fit_noise, setting.fit_args = setting.fit_noise[:6], {"classes": setting.fit_args["classes"][:6]}
    found = gallery.rows(setting, [("euler", 6)], "direct")
    assert [len(row.pictures) for row in found] == [10, 10, 10]
    noise = normal((10, 16, 8, 8), gallery.SEED)
    ends = fine_ends(setting, noise, {"classes": gallery.DIGITS})
    torch.testing.assert_close(found[0].pictures, setting.model.decode(ends))
    stock, learned = found[1:]
    assert stock.schedule.startswith("best stock: ")
    assert stock.held_out == pytest.approx(setting.error("euler", setting.stock[stock.schedule.split()[-1]][6]))
    assert 0 < learned.error < 0.2
    sheet = gallery.picture(found)
    assert sheet.mode == "RGB"
    assert f"{learned.error:.4f}" in gallery.page({"flow": found}, "")
