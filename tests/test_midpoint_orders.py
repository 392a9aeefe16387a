"""What the randomized midpoint promises in mathematics, on exact paths: unbiased steps, strong orders, call counts.

In one dimension the probability flow keeps every point's quantile, so exact paths of a mixture need no solver.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from restart_art.samplers import sample_parallel_midpoint, sample_randomized_midpoint
from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.randomized_midpoint import MEASURES, midpoint_plan

from exact import Mixture

KINDS = ("ve", "flow")


def two_modes(kind="ve"):
    return Mixture(torch.tensor([[-0.8], [0.7]]), 0.5, kind, weights=torch.tensor([0.0, 0.3]))


def at_quantiles(model, u, sigma):
    """The points of a 1-D mixture's law at level sigma with cumulative probabilities u: (n,) -> (n, 1). Bisection."""
    a = 1 - sigma if model.kind == "flow" else 1.0
    std = math.sqrt((a * model.scale) ** 2 + sigma**2)
    low, high = torch.full_like(u, -60.0), torch.full_like(u, 60.0)
    for _ in range(90):
        middle = (low + high) / 2
        z = (middle[:, None] - a * model.means[:, 0]) / std
        below = (model.log_weights.exp() * torch.special.ndtr(z)).sum(1) < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low[:, None]


def quantiles(count):
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def log_grid(kind, steps, top=10.0, bottom=0.1):
    levels = torch.exp(torch.linspace(math.log(top), math.log(bottom), steps + 1, dtype=torch.float64))
    return levels / (1 + levels) if kind == "flow" else levels


def fitted_order(errors, steps):
    """Minus the slope of log error over log steps, least squares."""
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("measure", MEASURES)
def test_steps_from_the_exact_path_are_unbiased(kind, measure):
    """x_m taken from the exact path of a mixture, the step's result averaged over alpha in [0, 1]: the exact step.

    Gauss-Legendre over alpha; the remaining 1e-9 is its error.
    """
    model, u = two_modes(kind), quantiles(5)
    s, q = (NoiseProcess(kind).from_ve(level) for level in (2.0, 0.5))
    nodes, weights = (torch.tensor(v) for v in np.polynomial.legendre.leggauss(80))
    x, total = at_quantiles(model, u, s), 0.0
    for alpha, weight in zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist(), strict=True):
        position = torch.full((5, 1), alpha, dtype=torch.float64)
        ((m, _, _, c, d, k),) = midpoint_plan([s, q], position, measure, NoiseProcess(kind), x)
        middle = at_quantiles(model, u, m[0].item())
        total = total + weight * (k * x + c * middle + d * model(middle, m))
    assert (total - at_quantiles(model, u, q)).abs().max() < 1e-9


def end_errors(run, kind, steps, draws):
    """(root-mean-square error of one picture, rms over pictures of the mean error) at each step count.

    64 starting points on the exact path, each solved `draws` times with draws of its own; both against the
    exact end point. The second has the Monte-Carlo variance of the mean taken off.
    """
    model, u = two_modes(kind), quantiles(64)
    each, mean = [], []
    for n in steps:
        grid = log_grid(kind, n)
        x = at_quantiles(model, u, grid[0].item()).repeat(draws, 1)
        error = (run(model, x, grid, n) - at_quantiles(model, u, grid[-1].item()).repeat(draws, 1)).reshape(draws, -1)
        each.append(error.square().mean().sqrt().item())
        if draws > 1:
            mean.append((error.mean(0).square() - error.var(0) / draws).mean().clamp(min=0).sqrt().item())
    return each, mean


def sequential(measure, spread, antithetic=False):
    return lambda model, x, grid, seed: sample_randomized_midpoint(
        model, x, grid, {"seed": seed}, disable=True, measure=measure, spread=spread, antithetic=antithetic
    )


STEPS = (16, 24, 36, 54, 81)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("measure", MEASURES)
def test_strong_orders_of_the_sequential_method(kind, measure):
    """1.5 with draws from the whole step, 2 with its middle; over many draws the errors average out.

    Measured over three seeds: 1.46-1.60 and 1.98-2.07; the mean over 32 draws is off by at most 0.16 of one draw.
    """
    each, mean = end_errors(sequential(measure, 1.0), kind, STEPS, draws=32)
    assert fitted_order(each, STEPS) == pytest.approx(1.5, abs=0.2)
    assert mean[-1] < 0.3 * each[-1]
    middle, _ = end_errors(sequential(measure, 0.0), kind, STEPS, draws=1)
    assert fitted_order(middle, STEPS) == pytest.approx(2.0, abs=0.2)
    assert middle[-1] < 0.5 * each[-1]  # why the help page recommends a deterministic solver for one exact picture


@pytest.mark.parametrize("measure", MEASURES)
def test_antithetic_pairs_reach_order_two(measure):
    """The random part of two mirrored steps cancels in the leading term, so only the order-2 bias is left.

    Measured: pairs 2.19-2.25, single draws 1.45-1.59.
    """
    pairs, _ = end_errors(sequential(measure, 0.6, antithetic=True), "ve", STEPS, draws=16)
    single, _ = end_errors(sequential(measure, 0.6), "ve", STEPS, draws=16)
    assert fitted_order(pairs, STEPS) > 1.9
    assert fitted_order(single, STEPS) == pytest.approx(1.5, abs=0.2)
    assert pairs[-1] < 0.4 * single[-1]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("jitter", "order"), [(0.0, 2.0), (1.0, 1.5)])
def test_strong_orders_of_the_parallel_method(measure, jitter, order):
    """Cell centres 2, random points in the cells 1.5, once the sweeps have converged. Measured:
    2.00-2.07 and 1.53-1.56."""

    def run(model, x, grid, seed):
        return sample_parallel_midpoint(
            model, x, grid, {"seed": seed}, disable=True, midpoints=3, sweeps=3, jitter=jitter, measure=measure,
            warm_start=False,
        )  # fmt: skip

    each, _ = end_errors(run, "ve", STEPS, draws=16 if jitter else 1)
    assert fitted_order(each, STEPS) == pytest.approx(order, abs=0.2)
