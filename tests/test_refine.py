"""The refined method's parts: span, surrogate, solver loops, search, choice; all against exact mixtures."""

from __future__ import annotations

import math

import pytest
import torch

from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.solvers import resolve_solver
from restart_art.schedules import edm_sigmas
from restart_art.schedules.art import span as span_module
from restart_art.schedules.art.bench import Bench
from restart_art.schedules.art.choice import choose, equivalent_steps, verdict
from restart_art.schedules.art.loops import LOOPS, NEAREST, loop_for
from restart_art.schedules.art.pilot import Trial
from restart_art.schedules.art.refine import Refinement
from restart_art.schedules.art.refinement import BUDGETS, FEWEST_ROWS, GAIN_COST, NODES, Plan
from restart_art.schedules.art.search import LOWEST_START, GridSearch, resample
from restart_art.schedules.art.span import TrajectorySpan
from restart_art.schedules.art.surrogate import CubicPath, centred_slopes
from restart_art.schedules.art.tau import TauAxis, discrete_levels
from restart_art.schedules.art.trajectories import Field, adams_weights, log_uniform_nodes, run_cost, solve_reference
from restart_art.tiny import load_tiny

from exact import Mixture, gaussian, grid_5x5, start

EDM, SD = (0.002, 80.0), (0.03, 15.0)


def bench_of(model, rows=6, bounds=EDM, seed=0, **kwargs):
    spent = []
    field = Field(model, start(model, rows, 1.0, seed), None, spent.append)
    return Bench(field, range(rows), *bounds, **kwargs), spent


def wide_mixture(kind="ve"):
    """Six modes in 400 dimensions: wider than any span met here."""
    return Mixture(torch.randn(6, 400, generator=torch.Generator().manual_seed(1)), 0.4, kind)


def grids(steps=8, low=0.002, high=80.0):
    return {f"rho {rho}": edm_sigmas(steps, low, high, rho) for rho in (3.0, 7.0, 20.0)}


# --- the reference and its coordinate ---


@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_tau_axis_goes_there_and_back(kind):
    axis = TauAxis.of(NoiseProcess(kind), 0.003, 1.0)
    nodes = axis.nodes(30)
    assert torch.allclose(axis.sigmas(axis.taus(nodes)), nodes, rtol=1e-12)
    assert torch.allclose(axis.taus(nodes).diff(), torch.full((29,), (axis.low - axis.high) / 29).double())
    assert [axis.tau(float(s)) for s in nodes] == pytest.approx(axis.taus(nodes).tolist())
    tau = torch.tensor([0.1], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(axis.sigmas(tau).log().sum(), tau)
    assert slope.item() == pytest.approx(axis.speed(axis.sigmas(tau.detach())).item(), rel=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_adams_weights_are_exact_for_polynomials(degree):
    """x(q) = (q/s) x + integral of D dx: against fine quadrature, D a polynomial in log sigma."""
    past, wanted = [0.3, 0.55, 0.7][: degree + 1], -0.1
    line = torch.linspace(past[0], wanted, 200_001, dtype=torch.float64)
    exact = torch.trapezoid(line**degree * torch.exp(wanted - line), -line).item()
    ours = sum(w * t**degree for w, t in zip(adams_weights(past, wanted), past, strict=True))
    assert ours == pytest.approx(exact, rel=1e-8)


def test_reference_is_of_third_order():
    model = grid_5x5(0.3)
    field = Field(model, start(model, 16, 1.0), None, lambda _: None)
    process = field.process
    ends = [solve_reference(field, range(16), log_uniform_nodes(n, *EDM, process)).end for n in (64, 128, 1024)]
    coarse, fine = ((end - ends[-1]).norm(dim=1).median().item() for end in ends[:2])
    assert coarse > 6 * fine


def test_levels_are_found_where_a_model_rounds_and_only_there():
    eps = load_tiny("eps")
    levels = discrete_levels(eps)
    assert torch.equal(levels, eps.model_sampling.sigmas.double())
    assert discrete_levels(load_tiny("flow")) is None
    assert discrete_levels(gaussian()) is None
    axis = TauAxis.of(NoiseProcess(), float(levels[0]), float(levels[-1]), levels)
    snapped = axis.snapped(torch.tensor([14.6, 3.0, 0.05, 0.0301, 0.03, 0.0299]).double())
    assert snapped[:2].tolist() == pytest.approx([14.6, 3.0], rel=5e-3)
    assert torch.equal(snapped[-4:], levels[:4].flip(0))


# --- span ---


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("solver", sorted(LOOPS))
def test_span_projection_is_exact(kind, solver):
    """The same predictions whether the surrogate works in the span or on whole samples."""
    bounds = EDM if kind == "ve" else (0.002, 1.0)
    runs = list(grids(6, *bounds).values())
    found = []
    for projected in (True, False):
        bench, _ = bench_of(wide_mixture(kind), 3, bounds, nodes=24, projected=projected)
        for grid in runs[:2]:
            bench.run(solver, grid)
        surrogate = bench.surrogate(solver, 6)
        assert surrogate.e.shape[2] == (bench.span.dimensions if projected else 400)
        found.append(surrogate.end_errors(solver, torch.stack(runs)[:, :-1].double()))
        assert bench.span.dimensions <= 25 + 2 * 11 if projected else True
    assert torch.allclose(*found, rtol=1e-7, atol=1e-12)


def test_span_keeps_lengths_and_drops_what_it_has():
    span = TrajectorySpan(2, (50,), torch.float64)
    vectors = torch.randn(6, 2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = span.project(vectors)
    again = span.project(torch.cat([vectors, vectors.sum(dim=0, keepdim=True)]))
    assert span.dimensions == 6
    gram = torch.einsum("irk,jrk->rij", vectors, vectors)
    assert torch.allclose(first @ first.mT, gram, rtol=1e-10)
    assert torch.allclose(again[:, :6], first, atol=1e-10)
    span.project(torch.randn(60, 2, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    assert span.dimensions == 50


def test_large_samples_are_sketched(monkeypatch):
    monkeypatch.setattr(span_module, "SKETCH", 2**12)
    span = TrajectorySpan(1, (3, 40_000), torch.float32)
    vectors = torch.randn(4, 1, 3, 40_000, generator=torch.Generator().manual_seed(0))
    lengths = span.project(vectors).norm(dim=2)[0]
    assert span.size == 2**12
    assert lengths.tolist() == pytest.approx([math.sqrt(120_000)] * 4, rel=0.06)


# --- solver loops and surrogate ---


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("solver", sorted(LOOPS))
def test_loops_are_the_hosts_solvers(solver, kind):
    model, high = grid_5x5(0.2, kind), 80.0 if kind == "ve" else 1.0
    rows = start(model, 5, high)
    both = torch.stack([g.double() for g in grids(7, 0.002, high).values()])

    def prepare(levels):
        def denoise(x, i):
            each = [model(x[:, g], levels[g, i].expand(len(x))) for g in range(len(levels))]
            return torch.stack(each, dim=1)

        return denoise

    ours = LOOPS[solver](prepare, rows[:, None].expand(-1, 3, -1), both[:, :-1])
    theirs = [resolve_solver(solver)(model, rows, grid, disable=True) for grid in both]
    assert torch.allclose(ours, torch.stack(theirs, dim=1), rtol=0, atol=1e-9)


def test_other_solvers_are_planned_with_the_nearest_loop():
    assert loop_for("heunpp2") is LOOPS["heun"]
    assert loop_for("res_multistep") is LOOPS["dpmpp_2m"]
    assert not set(NEAREST) & set(LOOPS)


def test_cubic_path_is_exact_for_cubics_between_uneven_nodes():
    taus = torch.tensor([2.0, 1.1, 0.7, -0.5]).double()
    values, slopes = (taus**3 - taus)[None, :, None], (3 * taus**2 - 1)[None, :, None]
    at = torch.tensor([1.9, 0.9, 0.0]).double()
    assert torch.allclose(CubicPath(taus, values, slopes)(at)[0, :, 0], at**3 - at, atol=1e-12)
    assert torch.allclose(centred_slopes(taus, values**0 * taus[None, :, None] ** 2)[0, 1:-1, 0], 2 * taus[1:-1])


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_surrogate_foresees_runs_on_gaussian_data(solver):
    """A linear denoiser: what two runs taught predicts others, before they are made, to 0.5 %."""
    bench, _ = bench_of(gaussian(0.5, 8), bounds=SD)
    for rho in (3.0, 20.0):
        bench.run(solver, edm_sigmas(12, *SD, rho))
    for grid in (edm_sigmas(8, *SD, 7.0), edm_sigmas(11, *SD, 10.0)):
        predicted = bench.surrogate(solver, 8).mean_error(solver, grid[None, :-1].double()).item()
        assert predicted == pytest.approx(bench.run(solver, grid).mean, rel=0.005)


@pytest.mark.parametrize("teacher", ["euler", "heun"])
def test_secants_of_one_solver_serve_another(teacher):
    """DPM++ 2M, never run on this mixture before, is foreseen to 2 % from another solver's runs."""
    grid = edm_sigmas(10, *SD, 5.0)
    bench, _ = bench_of(wide_mixture(), bounds=SD)
    for rho in (3.0, 7.0, 20.0):
        bench.run(teacher, edm_sigmas(12, *SD, rho))
    predicted = bench.surrogate().mean_error("dpmpp_2m", grid[None, :-1].double()).item()
    assert predicted == pytest.approx(bench.run("dpmpp_2m", grid).mean, rel=0.02)


# --- search ---


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_search_stays_within_bounds_and_never_loses(free, steps):
    bench, _ = bench_of(grid_5x5(0.3))
    bench.run("euler", edm_sigmas(8, *EDM))
    search = GridSearch(bench.axis, free)
    starts = search.starts(steps, [g[:-1] for g in grids(steps).values()] if steps > 1 else [])
    surrogate = bench.surrogate()
    best, errors = search.improve(surrogate, "euler", starts, 12)
    assert errors[0] <= surrogate.mean_error("euler", starts).min() * (1 + 1e-6)
    assert errors.tolist() == sorted(errors.tolist())
    assert (best[:, 1:] < best[:, :-1]).all()
    assert (best >= EDM[0]).all()
    assert (best[:, 0] <= EDM[1]).all()
    assert (best[:, 0] >= LOWEST_START * EDM[1] * (1 - 1e-9)).all()
    if not free:
        assert torch.equal(best[:, 0], torch.full_like(best[:, 0], EDM[1]))


def test_resampling_keeps_a_curves_ends():
    axis = TauAxis.of(NoiseProcess(), *EDM)
    even = axis.nodes(9)
    assert torch.allclose(resample(axis, even, 17), axis.nodes(17), rtol=1e-10)
    assert torch.equal(resample(axis, even, 9), even)


def test_refinement_beats_its_seeds_within_its_budget():
    model = grid_5x5(0.3)
    bench, spent = bench_of(model, 8)
    rivals = {6: {n: g.double() for n, g in grids(6).items()}, 9: {n: g.double() for n, g in grids(9).items()}}
    reference, seen = sum(spent), []
    found = Refinement(bench, "euler", rivals, 700, on_run=seen.append).refine()
    assert reference == 8 * 64
    assert sum(spent) - reference == sum(run_cost("euler", r.steps, 8) for r in bench.runs) <= 700
    assert len(seen) == len(bench.runs)
    for steps, run in found.items():
        seeds = [r.mean for r in bench.runs if r.steps == steps and r.name]
        assert seeds
        assert run.mean == min(r.mean for r in bench.runs if r.steps == steps) < 0.8 * min(seeds)
        again = resolve_solver("euler")(
            model, bench.field.start(range(8), float(run.sigmas[0])), run.sigmas, disable=True
        )
        assert (again - bench.ends).square().mean(dim=1).sqrt().mean().item() == pytest.approx(run.mean, rel=1e-9)


@pytest.mark.parametrize(("solver", "seeds"), [("euler", 3), ("dpmpp_2m", 3), ("heun", 1), ("dpm_2", 1)])
def test_solvers_of_two_calls_a_step_start_from_fewer_stock_grids(solver, seeds):
    bench, _ = bench_of(grid_5x5(0.3), 6)
    rivals = {6: {n: g.double() for n, g in grids(6).items()}}
    Refinement(bench, solver, rivals, 6 * 6 * run_cost(solver, 6, 1)).refine()
    names = [r.name for r in bench.runs]
    assert len(names) == 6
    assert all(names[:seeds])  # stock grids come first, and then only searched ones
    assert not any(names[seeds:])


@pytest.mark.parametrize("counts", [(12,), (8, 12), (8, 12, 20), (30,)])
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_plans_leave_runs_for_every_step_count(counts, solver):
    plan = Plan.of(16, counts, solver)
    assert plan.rows >= FEWEST_ROWS
    assert plan.runs == BUDGETS[len(counts)] - NODES * plan.rows - GAIN_COST
    assert plan.runs >= 3 * sum(run_cost(solver, n, plan.rows) for n in counts)


# --- choice ---


def trial(name, *errors, steps=3):
    return Trial(name, steps, edm_sigmas(steps, *EDM), list(errors))


def test_a_learned_grid_must_be_clearly_ahead_of_the_best_stock_one():
    stock = trial("stock", 1.0, 1.0, 1.0, 1.0)
    sure, lucky = trial("learned", 0.9, 0.92, 0.9, 0.91), trial("learned", 1.4, 1.3, 0.4, 0.8)
    assert choose([sure, stock], [], {"stock"}) is sure
    assert choose([lucky, stock], [], {"stock"}) is stock
    assert choose([trial("learned", 0.1), stock], [], {"stock"}) is stock  # not run on every trajectory
    likely, close = trial("art", 0.9, 0.9, 0.9, 0.9), trial("art_raw", 0.88, 0.88, 0.88, 0.88)
    assert choose([close, likely, stock], ["art", "art_raw"], {"stock"}) is likely
    assert choose([close, likely, stock], [], {"stock"}) is close


def test_equivalent_step_count_and_its_sentence():
    known = {10: 0.4, 20: 0.1}
    assert equivalent_steps(0.2, known) == pytest.approx(10 * math.sqrt(2))
    assert equivalent_steps(0.05, known) is None
    assert equivalent_steps(0.5, known) is None
    trials = {10: [trial("refined", 0.1, 0.1, steps=10), trial("karras", 0.4, 0.4, steps=10)]}
    said = verdict(trials, {10: "refined"}, {"karras"}, {10: ("karras", 20.0)})
    assert said.endswith("10 steps with this schedule are as accurate as 20 with karras.")
    assert "75 % below that of the best stock one, karras" in said
    assert "stock schedule karras is best" in verdict(trials, {10: "karras"}, {"karras"}, {})
