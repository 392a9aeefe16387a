"""ART-RL against what is known in closed form and against the direct fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from restart_art.schedules.art.actor_critic import ActorCriticSettings, distil, fit_actor_critic
from restart_art.schedules.art.direct import measure_curvature
from restart_art.schedules.art.policy import Clock, Critic, MeanPolicy, actor_moment, critic_moment, martingale_errors
from restart_art.schedules.art.trajectories import Field
from restart_art.schedules.plot_learning import learning_curves

from exact import FlowSampling, Mixture, gaussian, grid_5x5, mixture_16d

LOW, HIGH = 0.002, 80.0


def field_of(model: Mixture, count: int = 8) -> tuple[Field, list[int]]:
    spent: list[int] = []
    noise = torch.randn(count, model.means.shape[1], generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return Field(model, noise, None, spent.append), spent


def curvature_along_flow(model: Mixture, sigmas: np.ndarray) -> np.ndarray:
    """E|x''| in the middles between fine nodes: 128 trajectories, exponential multistep."""
    generator = torch.Generator().manual_seed(77)
    x = torch.randn(128, model.means.shape[1], generator=generator, dtype=torch.float64) * float(sigmas[0])
    before, sizes = None, []
    for i, s in enumerate(sigmas):
        out = model(x, torch.full((128,), s, dtype=torch.float64))
        if before is not None:
            h = math.log(sigmas[i - 1] / s)
            sizes.append(float((out - before).norm(dim=1).mean()) / (h * s * sigmas[i - 1]))
        guess = out if before is None else out + 0.5 * (out - before)
        if i + 1 < len(sigmas):
            ratio = sigmas[i + 1] / s
            x = ratio * x + (1 - ratio) * guess
        before = out
    return np.array(sizes)


def excess(density, sigmas: np.ndarray, curvature: np.ndarray) -> float:
    """E integral |Q| theta^2 dt of a density over the least possible, (integral |Q|^(1/2) dsigma)^2; 1 is optimal."""
    speed = density.sigmas / density.values
    theta = np.exp(np.interp(np.log(sigmas), np.log(density.sigmas[::-1]), np.log(speed[::-1])))

    def integral(values: np.ndarray) -> float:  # down to sigma 0, constant below the last node
        return float(-trapezoid(values, sigmas) + values[-1] * sigmas[-1])

    return integral(curvature * theta) * integral(1 / theta) / integral(np.sqrt(curvature)) ** 2


def test_gaussian_reaches_the_closed_form():
    model = gaussian(0.5)
    field, spent = field_of(model)
    result = fit_actor_critic(field, range(8), LOW, HIGH)
    sigmas = np.exp(np.linspace(math.log(HIGH), math.log(LOW), 800))
    assert excess(result.density, sigmas, (sigmas**2 + 0.25) ** -1.5) < 1.05
    assert result.evaluations == model.evaluations == sum(spent) <= ActorCriticSettings().expected_evaluations()
    assert abs(result.scaling - 1) < 0.01
    assert abs(np.mean(result.history.terminal_error[-60:])) < 0.5
    assert (result.grid[0], result.grid[-1]) == (HIGH, 0)
    assert all(np.diff(result.grid) < 0)
    # The cost falls from the start grid's towards that of the optimum.
    assert np.mean(result.history.cost[-60:]) < 0.75


@pytest.mark.parametrize(("make", "kind"), [(grid_5x5, "ve"), (mixture_16d, "ve"), (mixture_16d, "flow")])
def test_mixtures_cost_what_the_direct_fit_costs(make, kind):
    model = make(kind=kind)
    high = HIGH if kind == "ve" else 1.0
    nodes = np.exp(np.linspace(math.log(high), math.log(LOW), 400))
    curvature, middle = curvature_along_flow(model, nodes), np.sqrt(nodes[1:] * nodes[:-1])
    field, spent = field_of(model)
    direct = measure_curvature(field, list(range(8)), LOW, high).density(1, 0.0, 0.5)
    direct_cost, direct_spent = excess(direct, middle, curvature), sum(spent)
    result = fit_actor_critic(field, range(8), LOW, high)
    assert result.evaluations == sum(spent) - direct_spent
    assert excess(result.density, middle, curvature) <= 1.06 * direct_cost
    assert abs(result.scaling - 1) < 0.01


def short(**changes) -> ActorCriticSettings:
    return ActorCriticSettings(**{"iterations": 12, "trajectories": 2, "steps": 8, **changes})


def test_seed_decides():
    grids = [fit_actor_critic(field_of(gaussian())[0], [0, 1], LOW, HIGH, short(seed=seed)).grid for seed in (3, 3, 4)]
    assert grids[0] == grids[1] != grids[2]


def test_progress_shows_grid_error_and_cost():
    seen = []
    result = fit_actor_critic(field_of(gaussian())[0], [0], LOW, HIGH, short(), seen.append)
    assert [p.iteration for p in seen] == [1, 6, 11, 12]
    assert all(len(p.sigmas) == 9 and p.sigmas[-1] == 0 and "terminal error" in p.message for p in seen)
    assert len(result.history.policy) == 4
    assert len(result.summary()["history"]["cost"]) <= 24
    picture = learning_curves(result.history)
    assert picture.size == (960, 300)
    assert len(picture.getcolors(1 << 20)) > 50
    with pytest.raises(ValueError, match="history"):
        learning_curves(type(result.history)())


@pytest.mark.parametrize(
    ("name", "value"),
    [("exploration", 0), ("exploration", math.nan), ("iterations", 0), ("steps", 2.5), ("max_noise", 0.9),
     ("policy_width", 1), ("critic_keep", 1.5), ("clock_rho", 0.5), ("seed", -1), ("rate_decay", 0)],
)  # fmt: skip
def test_bad_settings_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        ActorCriticSettings(**{name: value})


def test_rows_must_not_be_empty():
    model = gaussian()
    with pytest.raises(ValueError, match="rows"):
        fit_actor_critic(field_of(model)[0], [], LOW, HIGH)
    assert model.calls == 0


def test_moments_of_a_case_done_by_hand():
    # Three steps, V = 2, 1.5, 0.5 then 0, rewards -0.4, -1.2, -0.5.
    delta = martingale_errors(np.array([2.0, 1.5, 0.5]), np.array([1.5, 0.5, 0.0]), np.array([-0.4, -1.2, -0.5]))
    np.testing.assert_allclose(delta, [-0.9, -2.2, -1.0])
    np.testing.assert_allclose(critic_moment(np.array([[1.0, 0], [0, 2], [3, 1]]), delta), [-3.9, -5.4])
    # Scores (a - mu) / variance dmu: one parameter, dmu = 2, variance 4, a - mu = 1, -1, 2.
    np.testing.assert_allclose(actor_moment(np.array([[0.5], [-0.5], [1.0]]), delta), [-0.45 + 1.1 - 1.0])


def test_critic_solves_its_martingale_condition():
    generator = np.random.default_rng(0)
    xi, features, following = (generator.normal(size=(50, 4)) for _ in range(3))
    truth = np.array([1.0, 0.5, 2.0, 1.5])
    rewards = (features - following) @ truth
    critic = Critic(4, keep=1.0, ridge=1e-12)
    critic.learn(xi, features, following, rewards)
    np.testing.assert_allclose(critic.weights, truth, rtol=1e-8)
    delta = martingale_errors(features @ critic.weights, following @ critic.weights, rewards)
    np.testing.assert_allclose(critic_moment(xi, delta), 0, atol=1e-8)


@pytest.mark.parametrize("sigma", [80.0, 3.0, 0.05, 0.001, -0.01])
def test_policy_gradient_is_the_derivative_of_its_mean(sigma):
    shape = np.array([-0.5, 0.2, 0.9, -0.3, -0.4])

    def mean(change: np.ndarray) -> float:
        policy = MeanPolicy(Clock(LOW, HIGH, 7.0), 5)
        policy.move(shape + change[:5], 0.02 + change[5])
        return float(policy.mean(np.array([sigma]), 0.25, 0.05)[0][0])

    policy = MeanPolicy(Clock(LOW, HIGH, 7.0), 5)
    policy.move(shape, 0.02)
    gradient = policy.mean(np.array([sigma]), 0.25, 0.05)[1][0]
    numeric = np.array([(mean(1e-4 * row) - mean(-1e-4 * row)) / 2e-4 for row in np.eye(6)])
    # `move` centres the shape, which changes nothing: the gradient along a constant shape is 0.
    np.testing.assert_allclose(gradient[:5].sum(), 0, atol=2e-2 * np.abs(gradient).max())
    np.testing.assert_allclose(gradient, numeric, atol=3e-2 * np.abs(numeric).max())


def test_clock_and_its_inverse():
    clock = Clock(LOW, HIGH, 7.0)
    sigmas = np.array([80.0, 7.0, 0.3, 0.002, 0.0005, 0.0, -0.0005, -2.0])
    np.testing.assert_allclose(clock.sigma(clock.u(sigmas)), sigmas, rtol=1e-9, atol=1e-12)
    u = clock.u(sigmas)
    np.testing.assert_allclose(u[[0, 3, 5]], [0, 1, clock.end])
    assert all(np.diff(u) > 0)


def test_distil_scales_the_mean_speed_to_its_sum():
    grid, scale = distil([np.array([10.0, 6.0, 1.0, -1.0]), np.array([10.0, 4.0, 2.0, 0.0])])
    assert math.isclose(scale, 10 / 10.5)
    np.testing.assert_allclose(grid, [10, 10 - 5 * scale, 10 - 8.5 * scale, 0], atol=1e-12)


def test_flow_models_are_told_apart():
    model = gaussian(kind="flow")
    assert isinstance(model.model_sampling, FlowSampling)
    result = fit_actor_critic(field_of(model)[0], [0], LOW, 1.0, short(iterations=3))
    assert result.grid[0] == 1.0
    assert 0.2 < result.grid[4] < 0.8
