"""Langevin corrector: exact substeps, invariance and its order, pull towards the law, parallel equals sequential."""

from __future__ import annotations

import math

import pytest
import torch

from restart_art.samplers.evaluation import PairEvaluator
from restart_art.samplers.langevin import FRICTION, HOLDS, correct, correct_parallel, langevin_noise, plan_substep
from restart_art.samplers.noise import item_generators
from restart_art.samplers.noise_process import NoiseProcess

from exact import Mixture, gaussian, grid_5x5, mixture_16d, start

VE = NoiseProcess("ve")


def noise_for(x, steps, seed=0):
    return langevin_noise(x, steps, item_generators({"seed": seed}, x.shape[0]))


def moments_after(scale, sigma, strength, steps, hold, wrong=1.0, kind="ve", noise_scale=1.0):
    """Exact variance of x after `steps` substeps, over the variance of the level's law, for data N(0, scale^2 I).

    Everything is linear: x' and v' are propagated as a 2 x 2 covariance, with D = gain x. The start has
    `wrong` times the law's variance; the velocity is fresh.
    """
    process = NoiseProcess(kind, noise_scale)
    a = process.signal(sigma)
    law = (a * scale) ** 2 + (sigma * noise_scale) ** 2
    gain = a * scale**2 / law
    w = plan_substep(process, sigma, strength, hold=hold)
    move = torch.tensor([[w.xx + w.xd * gain, w.xv], [w.vx + w.vd * gain, w.vv]], dtype=torch.float64)
    root = torch.tensor([[w.x1, 0.0], [w.v1, w.v2]], dtype=torch.float64)
    covariance = torch.diag(torch.tensor([wrong * law, 1.0], dtype=torch.float64))
    for _ in range(steps):
        covariance = move @ covariance @ move.T + root @ root.T
    return covariance[0, 0].item() / law


@pytest.mark.parametrize("strength", [1e-3, 0.1, 0.7, 2.0])
def test_score_substep_is_the_textbook_gaussian(strength):
    """Closed form of dx = v dt, dv = (f - gamma v) dt + sqrt(2 gamma) dB with f constant (Cheng et al. 2018)."""
    h, g, sigma = strength, FRICTION, 3.0
    w = plan_substep(VE, sigma, h, hold="score")
    e1, e2 = -math.expm1(-g * h), -math.expm1(-2 * g * h)
    assert w.vv == pytest.approx(1 - e1, rel=1e-12)
    assert w.xv == pytest.approx(sigma * e1 / g, rel=1e-12)
    assert w.xd == pytest.approx((h - e1 / g) / g, rel=1e-9)
    assert w.vd == pytest.approx(e1 / g / sigma, rel=1e-12)
    assert w.xx == pytest.approx(1 - w.xd, rel=1e-12)
    assert w.vx == pytest.approx(-w.vd, rel=1e-12)
    assert w.v1**2 + w.v2**2 == pytest.approx(e2, rel=1e-9)
    assert w.x1 * w.v1 == pytest.approx(sigma * e1**2 / g, rel=1e-6)
    assert w.x1**2 == pytest.approx(sigma**2 * 2 / g * (h - 2 * e1 / g + e2 / (2 * g)), rel=1e-6)


def test_denoised_substep_is_the_limit_of_many_score_substeps():
    """With D constant both solve one linear SDE; the score form only as h -> 0. Mean and covariance after time 0.5."""
    fine, count = plan_substep(VE, 2.0, 0.5 / 4000, hold="score"), 4000
    mean, covariance = torch.eye(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    move = torch.tensor([[fine.xx, fine.xv], [fine.vx, fine.vv]], dtype=torch.float64)
    root = torch.tensor([[fine.x1, 0.0], [fine.v1, fine.v2]], dtype=torch.float64)
    for _ in range(count):
        mean, covariance = move @ mean, move @ covariance @ move.T + root @ root.T
    whole = plan_substep(VE, 2.0, 0.5, hold="denoised")
    exact = torch.tensor([[whole.xx, whole.xv], [whole.vx, whole.vv]], dtype=torch.float64)
    root = torch.tensor([[whole.x1, 0.0], [whole.v1, whole.v2]], dtype=torch.float64)
    assert (mean - exact).abs().max() < 3e-4
    assert (covariance - root @ root.T).abs().max() < 3e-4
    assert whole.xd == pytest.approx(1 - whole.xx, abs=1e-12)  # x = D, v = 0 stays where it is
    assert whole.vd == pytest.approx(-whole.vx, abs=1e-12)


@pytest.mark.parametrize("strength", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_pure_noise_keeps_its_law_at_any_strength(kind, strength):
    """Data in one point: x is a point plus noise; holding D leaves that law exactly as it is."""
    assert moments_after(0.0, 0.6, strength, 50, "denoised", kind=kind) == pytest.approx(1.0, abs=1e-12)
    assert moments_after(0.0, 0.6, strength, 50, "denoised", kind=kind, noise_scale=0.4) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("hold", "scale"), [("denoised", 0.5), ("score", 0.5), ("score", 0.0)])
def test_bias_of_the_stationary_law_is_of_first_order_in_strength(hold, scale):
    """Gaussian data: the variance in the long run is off by O(h). Halving h halves it (ratios 1.9-2.3)."""
    bias = [abs(moments_after(scale, 0.6, h, int(400 / h), hold) - 1) for h in (0.4, 0.2, 0.1)]
    assert 1.8 < bias[0] / bias[1] < 2.4
    assert 1.8 < bias[1] / bias[2] < 2.3
    assert bias[-1] < 0.03


@pytest.mark.parametrize("hold", HOLDS)
def test_one_substep_from_the_right_law_is_off_by_a_higher_order(hold):
    """A fresh velocity makes one substep's bias O(h^3) or better, so a short corrector hardly disturbs a right law."""
    for scale in (0.3, 1.0, 5.0):
        bias = [abs(moments_after(scale, 0.6, h, 1, hold) - 1) for h in (0.5, 0.25)]
        assert bias[0] / bias[1] > 7
        assert bias[1] < 0.002


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("wrong", [0.5, 2.0])
@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_a_wrong_law_is_driven_towards_the_right_one(hold, wrong, kind):
    errors = [abs(moments_after(0.5, 0.6, 0.25, n, hold, wrong, kind) - 1) for n in (0, 4, 8, 16)]
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < 0.8 * errors[1]
    assert errors[3] < 0.3 * errors[0]


@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_correct_does_what_its_moments_say(kind):
    """20,000 real draws through `correct`: their variance is the propagated one, and both match the level's law."""
    model, sigma = gaussian(0.5, dim=4, kind=kind), 0.6
    a = NoiseProcess(kind).signal(sigma)
    law = (a * 0.5) ** 2 + sigma**2
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20000, 4, generator=generator, dtype=torch.float64) * math.sqrt(2 * law)
    noise = torch.randn(7, *x.shape, generator=generator, dtype=torch.float64)
    end = correct(model, x, sigma, noise, strength=0.5)
    found = end.square().mean().item() / law
    expected = moments_after(0.5, sigma, 0.5, 3, "denoised", 2.0, kind)
    assert found == pytest.approx(expected, abs=0.02)  # 80,000 numbers: standard error 0.005 times the ratio
    assert expected < 1.8
    assert model.calls == 3


def test_mixture_keeps_the_share_of_its_modes():
    """Right law in, right law out, on a mixture whose score is not linear: mean and variance of 20,000 draws."""
    model = Mixture(torch.tensor([[-0.8], [0.7]]), 0.3, weights=torch.tensor([0.0, 0.7]))
    generator = torch.Generator().manual_seed(2)
    clean = model.sample(20000, generator)
    x = clean + 0.4 * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    noise = torch.randn(9, *x.shape, generator=generator, dtype=torch.float64)
    end = correct(model, x, 0.4, noise, strength=0.25)
    assert (end - x).abs().mean() > 0.1  # it did move
    for power in (1, 2, 3, 4):
        expected, found = x.pow(power), end.pow(power)
        error = ((found - expected).mean() / expected.std()).item()
        assert abs(error) < 0.03, power  # two dependent samples: standard error below 0.01


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("guessed", [False, True])
@pytest.mark.parametrize("model", [mixture_16d(), mixture_16d(kind="flow"), grid_5x5(0.1)], ids=["ve", "flow", "grid"])
def test_parallel_sweeps_converge_to_the_sequential_result(model, hold, guessed):
    sigma, steps = NoiseProcess.of(model).from_ve(1.0), 6
    x = start(model, 8, 1.0, seed=3)
    noise = noise_for(x, steps)
    exact = correct(model, x, sigma, noise, strength=0.25, hold=hold)
    guess = model(x, x.new_full((8,), sigma)) if guessed else None
    errors = []
    for sweeps in (1, 2, 3, 6, 9):
        evaluator = PairEvaluator(model)
        end = correct_parallel(evaluator, x, sigma, noise, sweeps=sweeps, strength=0.25, hold=hold, denoised=guess)
        made = min(sweeps, steps)
        assert evaluator.rounds == evaluator.calls == made
        assert evaluator.evaluations == 8 * sum(steps - j for j in range(made))
        errors.append(
            (end - exact).abs().max().item() if sweeps >= steps else (end - exact).square().mean().sqrt().item()
        )
    assert errors[3] < 1e-9
    assert errors[4] == errors[3]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]


def test_strength_zero_and_no_substeps_leave_x_alone():
    model = gaussian()
    x = start(model, 3, 1.0)
    assert torch.equal(correct(model, x, 0.5, noise_for(x, 0)), x)
    assert torch.equal(correct_parallel(PairEvaluator(model), x, 0.5, noise_for(x, 0), sweeps=1), x)
    assert model.calls == 0
    assert torch.allclose(correct(model, x, 0.5, noise_for(x, 4), strength=0.0), x, atol=1e-14)


def test_flow_at_pure_noise_is_finite():
    model = gaussian(kind="flow")
    x = start(model, 3, 1.0)
    for hold in HOLDS:
        a = correct(model, x, 1.0, noise_for(x, 3), hold=hold)
        b = correct_parallel(PairEvaluator(model), x, 1.0, noise_for(x, 3), sweeps=3, hold=hold)
        assert torch.isfinite(a).all()
        assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_and_shape_are_kept(dtype):
    model = Mixture(torch.zeros(1, 8), 0.5)
    x = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    for end in (
        correct(model, x, 0.5, noise_for(x, 2)),
        correct_parallel(PairEvaluator(model), x, 0.5, noise_for(x, 2), sweeps=2),
    ):
        assert end.dtype == dtype
        assert end.shape == x.shape
        assert torch.isfinite(end).all()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"strength": -0.1}, "strength is -0.1"),
        ({"strength": 2.5}, "strength is 2.5"),
        ({"hold": "x"}, "hold is 'x'; allowed: denoised, score"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"noise": torch.zeros(4, 3, 2)}, r"noise has shape \(4, 3, 2\)"),
    ],
)
def test_bad_options_are_named_before_any_call(options, complaint):
    model = gaussian()
    x = start(model, 3, 1.0)
    arguments = {"sigma": 0.5, "noise": noise_for(x, 2), **options}
    with pytest.raises(ValueError, match=complaint):
        correct(model, x, **arguments)
    with pytest.raises(ValueError, match=complaint):
        correct_parallel(PairEvaluator(model), x, **arguments, sweeps=1)
    with pytest.raises(ValueError, match="sweeps is 0"):
        correct_parallel(PairEvaluator(model), x, 0.5, noise_for(x, 2), sweeps=0)
    assert model.calls == 0
