"""Randomized and parallel midpoint: exactness, unbiasedness, order, call counts, equality of two ways."""

from __future__ import annotations

import math

import pytest
import torch

from restart_art.samplers import sample_parallel_midpoint, sample_randomized_midpoint, sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.parallel_midpoint import plan_step
from restart_art.samplers.randomized_midpoint import carry, draw_positions, step_weights
from restart_art.samplers.solvers import resolve_solver

from exact import FlowSampling, Mixture, gaussian, grid_5x5, mixture_16d, start

MEASURES = ("sigma", "inverse_sigma", "ou")
SAMPLERS = (sample_restart, sample_randomized_midpoint, sample_parallel_midpoint)


def grid_for(kind, n, top=20.0, bottom=0.01):
    process = NoiseProcess(kind)
    return torch.tensor([process.from_ve(s) for s in karras_ramp(n, top, bottom)] + [0.0], dtype=torch.float64)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_step_with_the_exact_midpoint_is_unbiased(measure):
    """Integrate the step over alpha in [0, 1] with x_m on the exact path: it must be the exact step.

    Gaussian data N(0, c^2), VE: x(sigma) = sqrt(c^2 + sigma^2), D = x c^2 / (c^2 + sigma^2). Gauss-Legendre.
    """
    import numpy as np

    c, s, q = 0.5, 3.0, 0.4
    nodes, weights = (torch.tensor(v) for v in np.polynomial.legendre.leggauss(60))
    alpha = (nodes + 1) / 2
    m, _, _, cm, dm = step_weights(measure, s, q, alpha)
    x_m = torch.sqrt(c * c + m * m)
    x = math.sqrt(c * c + s * s)
    result = carry(measure, s, q) * x + cm * x_m + dm * x_m * c * c / (c * c + m * m)
    assert (result * weights / 2).sum().item() == pytest.approx(math.sqrt(c * c + q * q), abs=1e-9)


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("measure", MEASURES)
def test_a_single_point_of_data_is_hit_exactly(kind, measure):
    model = Mixture(torch.tensor([[1.0, -2.0]]), 0.0, kind)
    x = start(model, 4, 20.0 if kind == "ve" else 20 / 21)
    for sampler in (sample_randomized_midpoint, sample_parallel_midpoint):
        end = sampler(model, x, grid_for(kind, 7), disable=True, measure=measure)
        assert (end - torch.tensor([1.0, -2.0])).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("measure", MEASURES)
def test_flow_and_ve_agree_through_the_change_of_variables(kind, measure):
    """y = x / (1 - sigma), s = sigma / (1 - sigma): the flow run of "ou" and "inverse_sigma" is the VE run, mapped."""
    if measure == "sigma":
        pytest.skip("uniform in sigma is not uniform in s: another draw, nothing to compare")
    ve, flow = mixture_16d(kind="ve"), mixture_16d(kind="flow")
    grids = grid_for("ve", 9), grid_for("flow", 9)
    x = start(ve, 4, 20.0)
    position = {"spread": 0.0, "measure": measure} if measure == "ou" else {"spread": 0.6, "measure": measure}
    a = sample_randomized_midpoint(ve, x, grids[0], {"seed": 1}, disable=True, **position)
    b = sample_randomized_midpoint(flow, x / 21, grids[1], {"seed": 1}, disable=True, **position)
    assert (a - b).abs().max() < (1e-9 if measure == "ou" else 0.2)
    if measure == "ou":
        a = sample_parallel_midpoint(ve, x, grids[0], disable=True, measure=measure, warm_start=False)
        b = sample_parallel_midpoint(flow, x / 21, grids[1], disable=True, measure=measure, warm_start=False)
        assert (a - b).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize(
    "measure", ["sigma", "inverse_sigma"]
)  # "ou" starts from a straight path, not a constant score
def test_one_cold_parallel_midpoint_is_the_sequential_one(kind, measure):
    model = mixture_16d(kind=kind)
    x = start(model, 4, 20.0 if kind == "ve" else 20 / 21)
    run = {"measure": measure, "disable": True}
    a = sample_randomized_midpoint(model, x, grid_for(kind, 9), spread=0.0, **run)
    b = sample_parallel_midpoint(model, x, grid_for(kind, 9), midpoints=1, warm_start=False, **run)
    assert (a - b).abs().max() < 1e-10


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_inner_weights_carry_constant_fields_exactly(measure, kind):
    """With D constant, every midpoint must land on the exact straight path x0 + sigma n, whatever R."""
    process = NoiseProcess(kind)
    s, q = process.from_ve(3.0), process.from_ve(0.5)
    position = ((torch.arange(5, dtype=torch.float64) + 0.3) / 5)[:, None]
    plan = plan_step(measure, s, q, position, process)
    x0, n = 1.3, -0.7
    path = process.signal(plan.m) * x0 + plan.m * n if kind == "flow" else x0 + plan.m * n
    field = plan.fx * path + plan.fd * x0
    middles = plan.inner_x * (process.signal(s) * x0 + s * n) + (plan.inner * field[None]).sum(1)
    exact = measure != "ou"  # "ou" takes F constant over a cell, which this field is not: close, not equal
    assert (middles - path).abs().max() < (1e-12 if exact else 0.1)
    end = plan.outer_x * (process.signal(s) * x0 + s * n) + (plan.outer * field).sum(0)
    assert abs(end.item() - (process.signal(q) * x0 + q * n)) < (1e-12 if exact else 0.1)


def test_calls_rounds_and_evaluations():
    model = gaussian()
    x = start(model, 3, 20.0)
    sample_randomized_midpoint(model, x, grid_for("ve", 9), disable=True)
    assert model.calls == 2 * 9 - 1
    for warm, sweeps in [(True, 1), (True, 3), (False, 1), (False, 2)]:
        model = gaussian()
        sample_parallel_midpoint(model, x, grid_for("ve", 9), disable=True, midpoints=4, sweeps=sweeps, warm_start=warm)
        inner = 8  # steps above 0; the last step is one call
        cold = 1 if warm else inner
        assert model.calls == inner * sweeps + cold + 1
        assert model.evaluations == 3 * (inner * sweeps * 4 + cold + 1)


def two_modes():
    return Mixture(torch.tensor([[-0.8], [0.7]]), 0.5, weights=torch.tensor([0.0, 0.3]))


def strong_errors(run, model, steps, draws=1):
    """Root-mean-square end error on uniform-in-log grids against a fine Heun solution (800 steps)."""
    x = start(model, 64, 10.0)

    def log_grid(n):
        return torch.exp(torch.linspace(math.log(10.0), math.log(0.1), n + 1, dtype=torch.float64))

    exact = resolve_solver("heun")(model, x, log_grid(800), disable=True)
    errors = []
    for n in steps:
        grid = log_grid(n)
        found = [(run(model, x, grid, seed) - exact).square().mean() for seed in range(draws)]
        errors.append(torch.stack(found).mean().sqrt().item())
    return errors


def slope(errors, steps):
    return math.log(errors[0] / errors[-1]) / math.log(steps[-1] / steps[0])


@pytest.mark.parametrize("measure", MEASURES)
def test_strong_order(measure):
    """Random 1.5, deterministic midpoint 2 (measured 1.4-1.6 and 1.9-2.1 over seeds; margins beyond that)."""
    steps = (20, 40, 80)

    def run(spread):
        return lambda m, x, g, seed: sample_randomized_midpoint(
            m, x, g, {"seed": seed}, disable=True, measure=measure, spread=spread, antithetic=False
        )

    model = two_modes()
    assert slope(strong_errors(run(1.0), model, steps, draws=8), steps) == pytest.approx(1.5, abs=0.25)
    assert slope(strong_errors(run(0.0), model, steps), steps) == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("measure", MEASURES)
def test_parallel_midpoint_is_second_order_and_better_with_more_midpoints(measure):
    model, steps = two_modes(), (20, 40, 80)

    def run(count, sweeps):
        return lambda m, x, g, seed: sample_parallel_midpoint(
            m, x, g, disable=True, midpoints=count, sweeps=sweeps, measure=measure, warm_start=False
        )

    errors = strong_errors(run(4, 3), model, steps)
    assert slope(errors, steps) > 1.8
    assert errors[-1] < 0.5 * strong_errors(run(1, 3), model, steps)[-1]


def test_antithetic_pairs_spread_and_batch_independence(generator):
    alpha = draw_positions(500, 9, 0.6, True, generator)
    assert torch.allclose(alpha[:, 0:8:2] + alpha[:, 1:8:2], torch.ones(500, 4, dtype=torch.float64))
    assert alpha.min() >= 0.2
    assert alpha.max() <= 0.8
    assert alpha.std().item() == pytest.approx(0.6 / math.sqrt(12), rel=0.05)
    again = draw_positions(1, 9, 0.6, True, torch.Generator().manual_seed(0))
    assert torch.equal(again[0], alpha[0])


def test_batch_of_one_is_the_first_of_a_batch():
    model = grid_5x5(0.3)
    x = start(model, 5, 20.0)
    for sampler, extra in ((sample_randomized_midpoint, {}), (sample_parallel_midpoint, {"jitter": 1.0})):
        whole = sampler(model, x, grid_for("ve", 9), {"seed": 4}, disable=True, **extra)
        first = sampler(model, x[:1], grid_for("ve", 9), {"seed": 4}, disable=True, **extra)
        assert torch.allclose(whole[:1], first, atol=1e-12)


def test_seed_decides_the_draws():
    model = grid_5x5(0.3)
    x = start(model, 5, 20.0)
    for sampler, extra in ((sample_randomized_midpoint, {}), (sample_parallel_midpoint, {"jitter": 1.0})):

        def run(seed, sampler=sampler, extra=extra):
            return sampler(model, x, grid_for("ve", 9), {"seed": seed}, disable=True, **extra)

        assert torch.equal(run(1), run(1))
        assert not torch.allclose(run(1), run(2))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 8), (2, 2, 4), (1, 2, 2, 2), (3, 1, 2, 2, 2)])
def test_dtype_and_shape_are_kept(sampler, dtype, shape):
    model = Mixture(torch.zeros(1, 8), 0.5)
    x = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 10).to(dtype)
    sigmas = torch.tensor([10.0, 2.0, 0.4, 0.1, 0.0])
    end = sampler(model, x, sigmas, {"seed": 1}, disable=True)
    assert end.dtype == dtype
    assert end.shape == x.shape
    assert torch.isfinite(end).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("sigmas", "complaint"),
    [
        (torch.tensor([]), "at least two values"),
        (torch.tensor([1.0]), "at least two values"),
        (torch.tensor([[1.0, 0.0]]), "one dimension"),
        (torch.tensor([1.0, 2.0, 0.0]), r"strictly descending, but sigmas\[0\] = 1 is followed by sigmas\[1\] = 2"),
        (torch.tensor([1.0, 1.0, 0.0]), "strictly descending"),
        (torch.tensor([1.0, float("nan"), 0.0]), r"sigmas\[1\] is nan"),
        (torch.tensor([float("inf"), 1.0]), r"sigmas\[0\] is inf"),
        (torch.tensor([1.0, -0.5]), r"sigmas\[1\] is -0.5"),
    ],
)
def test_bad_sigmas_are_named_before_any_call(sampler, sigmas, complaint):
    model = gaussian()
    with pytest.raises(ValueError, match=complaint):
        sampler(model, start(model, 1, 1.0), sigmas, disable=True)
    assert model.calls == 0


@pytest.mark.parametrize(
    ("sampler", "options", "complaint"),
    [
        (sample_randomized_midpoint, {"measure": "log"}, "measure is 'log'; allowed: sigma, inverse_sigma, ou"),
        (sample_randomized_midpoint, {"spread": 1.5}, "spread is 1.5"),
        (sample_parallel_midpoint, {"midpoints": 0}, "midpoints is 0"),
        (sample_parallel_midpoint, {"sweeps": 0}, "sweeps is 0"),
        (sample_parallel_midpoint, {"jitter": -0.1}, "jitter is -0.1"),
        (sample_parallel_midpoint, {"measure": "x"}, "measure is 'x'"),
        (sample_restart, {"s_noise": -1}, "s_noise is -1"),
    ],
)
def test_bad_options_are_named_before_any_call(sampler, options, complaint):
    model = gaussian()
    with pytest.raises(ValueError, match=complaint):
        sampler(model, start(model, 1, 1.0), torch.tensor([1.0, 0.0]), disable=True, **options)
    assert model.calls == 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_partial_runs_join(sampler):
    """Stopping above 0 and going on (KSampler Advanced) stays finite and ends near the data."""
    model = grid_5x5(0.3)
    grid = grid_for("ve", 12)
    half = sampler(model, start(model, 6, 20.0), grid[:7], {"seed": 1}, disable=True)
    end = sampler(model, half, grid[6:], {"seed": 2}, disable=True)
    assert end.abs().max() < 4


@pytest.mark.parametrize("sampler", [sample_randomized_midpoint, sample_parallel_midpoint])
def test_callback_once_a_step(sampler):
    model, seen = gaussian(), []
    sampler(model, start(model, 2, 20.0), grid_for("ve", 6), disable=True, callback=lambda d: seen.append(d["i"]))
    assert seen == list(range(6))


def test_all_samplers_reach_the_fine_solution():
    """With many steps each deterministic form ends where Heun does, VE and flow."""
    for kind in ("ve", "flow"):
        model = Mixture(torch.tensor([[0.5, 0.5], [-1.0, 0.3]]), 0.4, kind)
        x = start(model, 16, 20.0 if kind == "ve" else 20 / 21)
        fine = resolve_solver("heun")(model, x, grid_for(kind, 400), disable=True)
        for end in (
            sample_randomized_midpoint(model, x, grid_for(kind, 200), {"seed": 0}, disable=True, spread=0.0),
            sample_parallel_midpoint(model, x, grid_for(kind, 200), disable=True),
            sample_restart(model, x, grid_for(kind, 200), disable=True, segments=()),
        ):
            assert (end - fine).abs().max() < 2e-3


def test_process_is_probed_not_named():
    class Odd(FlowSampling):
        def noise_scaling(self, sigma, noise, latent, max_denoise=False):
            return latent

    model = gaussian()
    assert NoiseProcess.of(model) == NoiseProcess("ve")
    model.model_sampling = FlowSampling()
    wrapped = type("W", (), {"inner_model": type("W2", (), {"inner_model": model})()})()
    assert NoiseProcess.of(wrapped) == NoiseProcess("flow")
    FlowSampling.noise_scale = 0.33
    try:
        assert NoiseProcess.of(wrapped).noise_scale == pytest.approx(0.33)
    finally:
        FlowSampling.noise_scale = 1.0
    model.model_sampling = Odd()
    with pytest.raises(ValueError, match="Odd is neither variance exploding"):
        NoiseProcess.of(wrapped)
