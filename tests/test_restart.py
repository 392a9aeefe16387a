"""Restart: published call counts, the paper's algorithm restated, the laws of its noise, its plan of pieces."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from restart_art.samplers import Segment, sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.restart import plan_pieces
from restart_art.samplers.solvers import available_solvers, resolve_solver

from exact import gaussian, grid_5x5, start

A, B, C, E, F = (19.35, 40.79), (1.09, 1.92), (0.59, 1.09), (0.30, 0.59), (0.06, 0.30)


def edm(n, sigma_min=0.002, sigma_max=80.0):
    return torch.tensor([*karras_ramp(n, sigma_max, sigma_min), 0.0], dtype=torch.float64)


def seg(nodes, repeats, levels):
    return (nodes, repeats, *levels)


PUBLISHED = [
    # N, segments, model calls with Heun (Xu et al. 2023)
    (18, [(3, 2, 0.06, 0.30)], 43),
    (18, [(3, 5, 0.06, 0.30)], 55),
    (18, [(3, 10, 0.06, 0.30)], 75),
    (18, [(3, 20, 0.06, 0.30)], 115),
    (20, [(9, 30, 0.06, 0.20)], 519),
    (18, [(3, 2, 0.14, 0.30)], 43),
    (14, [seg(3, 1, A), seg(3, 1, B), seg(3, 1, F)], 39),
    (18, [seg(5, 1, A), seg(5, 1, B), seg(5, 1, C), seg(5, 1, F)], 67),
    (18, [seg(3, 1, A), seg(4, 1, B), seg(4, 4, C), seg(4, 1, E), seg(4, 4, F)], 99),
    (18, [seg(3, 1, A), seg(4, 1, B), seg(4, 5, C), seg(4, 5, E), seg(4, 10, F)], 165),
    (36, [seg(4, 1, A), seg(4, 1, B), seg(4, 5, C), seg(4, 5, E), seg(6, 6, F)], 203),
]


@pytest.mark.parametrize(("steps", "segments", "calls"), PUBLISHED)
def test_published_settings_cost_the_published_calls(steps, segments, calls):
    model = gaussian()
    sample_restart(model, start(model, 1, 80.0), edm(steps), disable=True, segments=segments)
    assert model.calls == calls


@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_equals_the_papers_algorithm_restated(kind):
    """Algorithm 1, written out with Heun for a grid that holds t_min, the same noise; VE or its flow counterpart."""
    model, s_noise = grid_5x5(scale=0.3, kind=kind), 1.003
    to_flow = (lambda s: s / (1 + s)) if kind == "flow" else (lambda s: s)
    grid = [to_flow(s) for s in [*karras_ramp(10, 20.0, 0.3), 0.06, 0.01]] + [0.0]
    draws = [torch.randn(5, 2, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3)]
    x0 = start(model, 5, grid[0])

    def heun(x, s, q):
        sigma = torch.full((5,), s, dtype=torch.float64)
        d = (x - model(x, sigma)) / s
        euler = x + (q - s) * d
        if q == 0:
            return euler
        d2 = (euler - model(euler, torch.full((5,), q, dtype=torch.float64))) / q
        return x + (q - s) * 0.5 * (d + d2)

    x = x0
    for i in range(len(grid) - 1):
        x = heun(x, grid[i], grid[i + 1])
        if grid[i + 1] == to_flow(0.06):
            for k in range(3):
                low, high = to_flow(0.06), to_flow(0.30)
                if kind == "ve":
                    x = x + math.sqrt(0.30**2 - 0.06**2) * s_noise * draws[k]
                else:  # x = (1 - sigma) x0 + sigma n, brought to a higher sigma
                    r = (1 - high) / (1 - low)
                    x = r * x + math.sqrt(high**2 - r**2 * low**2) * s_noise * draws[k]
                levels = [to_flow(s) for s in karras_ramp(4, 0.30, 0.06)]
                for s, q in pairwise(levels):
                    x = heun(x, s, q)
    given = iter(draws)
    ours = sample_restart(
        model,
        x0,
        torch.tensor(grid, dtype=torch.float64),
        disable=True,
        segments=[(4, 3, 0.06, 0.30)],
        s_noise=s_noise,
        noise_sampler=lambda a, b: next(given),
    )
    assert (ours - x).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("noise_scale", [1.0, 0.33])
def test_renoising_reaches_exactly_the_law_of_the_higher_level(kind, noise_scale):
    """For data of variance c^2 the level sigma has variance a^2 c^2 + (noise_scale sigma)^2: exact algebra."""
    process, c = NoiseProcess(kind, noise_scale), 0.7

    def variance(sigma):
        return (process.signal(sigma) * c) ** 2 + (noise_scale * sigma) ** 2

    for low, high in [(0.01, 0.02), (0.057, 0.231), (0.3, 0.95), (0.5, 0.5)]:
        r, std = process.renoise_weights(low, high)
        assert r**2 * variance(low) + std**2 == pytest.approx(variance(high), rel=1e-12)
        assert r * process.signal(low) == pytest.approx(process.signal(high), rel=1e-12)


def test_flow_model_keeps_the_right_share_of_the_signal():
    """The classic bug of restart packs is VE noise on flow models, which leaves the signal scale untouched."""
    process = NoiseProcess("flow")
    low, high = process.from_ve(0.06), process.from_ve(0.30)
    assert (low, high) == pytest.approx((0.0566, 0.2308), abs=1e-4)
    assert process.renoise_weights(low, high)[0] == pytest.approx((1 - high) / (1 - low))


@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_restart_preserves_an_exact_distribution(kind):
    """Data N(0, c^2): a fine solver with a big restart must leave the end's standard deviation at c.

    20,000 values: standard error 0.5 %; margin 2 %. VE noise on the flow model misses by far more (asserted).
    """
    model = gaussian(0.5, dim=1, kind=kind)
    top = 20.0 if kind == "ve" else 20 / 21
    process = NoiseProcess(kind)
    grid = torch.tensor([process.from_ve(s) for s in karras_ramp(60, 20.0, 0.005)] + [0.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    signal = (process.signal(top) * 0.5) ** 2
    x = torch.randn(20_000, 1, generator=generator, dtype=torch.float64) * math.sqrt(signal + top**2)
    run = {"segments": [(30, 2, 0.2, 2.0)], "disable": True, "extra_args": {"seed": 3}}
    assert sample_restart(model, x, grid, **run).std().item() == pytest.approx(0.5, rel=0.02)
    if kind == "flow":
        model.model_sampling = None  # now taken for VE
        assert abs(sample_restart(model, x, grid, **run).std().item() / 0.5 - 1) > 0.1


def test_near_node_is_used_and_far_t_min_is_inserted():
    near = plan_pieces([10.0, 1.0, 0.07, 0.01, 0.0], [(3, 2, 0.06, 0.3)])
    assert [p.sigmas[-1] for p in near] == [0.07, 0.07, 0.07, 0.0]
    far = plan_pieces([10.0, 1.0, 0.01, 0.0], [(3, 1, 0.06, 0.3)])
    assert far[0].sigmas == (10.0, 1.0, 0.06)
    assert far[1].sigmas[0] == 0.3
    assert far[1].sigmas[-1] == 0.06
    assert far[2].sigmas == (0.06, 0.01, 0.0)
    # A node above t_max would need a negative variance: t_min is inserted instead.
    above = plan_pieces([10.0, 1.0, 0.0], [(3, 1, 0.9, 0.95)])
    assert above[1].sigmas[0] == 0.95
    assert above[1].sigmas[-1] == 0.9


def test_segments_sharing_a_node_all_run_in_their_order():
    pieces = plan_pieces([10.0, 1.0, 0.06, 0.0], [(3, 1, 0.06, 0.3), (4, 2, 0.06, 0.2)])
    assert [(p.renoise, p.sigmas[0]) for p in pieces] == [
        (False, 10.0),
        (True, 0.3),
        (True, 0.2),
        (True, 0.2),
        (False, 0.06),
    ]


def test_t_min_below_the_last_node_and_outside_the_run(caplog):
    assert plan_pieces([1.0, 0.5, 0.0], [(3, 1, 0.01, 0.02)])[0].sigmas == (1.0, 0.5, 0.01)
    with caplog.at_level("WARNING"):
        assert len(plan_pieces([1.0, 0.5, 0.2], [(3, 1, 0.06, 0.3)])) == 1  # stops above t_min
        assert len(plan_pieces([0.05, 0.02, 0.0], [(3, 1, 0.06, 0.3)])) == 1  # starts below it
        lowered = plan_pieces([0.2, 0.06, 0.0], [(3, 1, 0.06, 0.3)])
    assert lowered[1].sigmas[0] == 0.2
    assert len(caplog.records) == 3


@pytest.mark.parametrize("solver", ["euler", "heun", "dpm_2", "dpmpp_2m", "lms"])
def test_any_host_solver_runs_the_pieces_and_without_segments_nothing_changes(solver):
    assert solver in available_solvers()
    model = grid_5x5(0.3)
    x = start(model, 3, 80.0)
    plain = resolve_solver(solver)(model, x, edm(12), disable=True)
    assert torch.equal(sample_restart(model, x, edm(12), disable=True, segments=(), solver=solver), plain)
    assert torch.isfinite(sample_restart(model, x, edm(12), disable=True, solver=solver)).all()


def test_seed_decides_the_noise():
    model = grid_5x5(0.3)
    x = start(model, 3, 80.0)

    def run(seed, dtype=torch.float64):
        return sample_restart(model, x.to(dtype), edm(12), disable=True, extra_args={"seed": seed})

    assert torch.equal(run(7), run(7))
    assert not torch.allclose(run(7), run(8))
    single = run(7, torch.float32)
    assert single.dtype == torch.float32
    assert (single - run(7)).abs().max() < 1e-3  # the same noise in another precision


def test_noise_is_not_the_starting_noise_again():
    """The host draws its start from the same seed."""
    from restart_art.samplers.noise import gaussian_noise

    x = torch.zeros(1, 10_000)
    first = torch.randn(x.shape, generator=torch.Generator().manual_seed(11))
    ours = gaussian_noise(x, {"seed": 11})(0.1, 0.2)
    assert abs(torch.corrcoef(torch.stack([first.flatten(), ours.flatten()]))[0, 1]) < 0.05


@pytest.mark.parametrize("steps", [1, 3, 18])
def test_callback_index_never_falls_and_ends_at_the_last_step(steps):
    model, seen = gaussian(), []
    grid = edm(steps) if steps > 1 else torch.tensor([80.0, 0.0])
    sample_restart(
        model,
        start(model, 2, 80.0),
        grid,
        disable=True,
        segments=[(5, 7, 0.06, 0.3)],
        callback=seen.append,
    )
    index = [d["i"] for d in seen]
    assert index == sorted(index)
    assert index[0] == 0
    assert index[-1] == steps - 1
    assert {"i", "x", "denoised", "sigma", "sigma_hat"} <= seen[0].keys()


@pytest.mark.parametrize(
    ("segments", "complaint"),
    [
        ([(3, 2, 0.06)], r"segments\[0\].*N_restart, K, t_min, t_max"),
        ([(3, 1, 0.1, 0.2), (1, 2, 0.06, 0.3)], r"segments\[1\] N_restart is 1"),
        ([(3, 0, 0.06, 0.3)], r"K is 0"),
        ([(3, 2.5, 0.06, 0.3)], r"K is 2.5"),
        ([(3, 2, 0.3, 0.06)], "0 < t_min < t_max"),
        ([(3, 2, 0.0, 0.06)], "0 < t_min < t_max"),
        ([(3, 2, 0.06, float("nan"))], "t_max is nan"),
        (["abcd"], r"segments\[0\]"),
    ],
)
def test_bad_segments_are_named_before_any_call(segments, complaint):
    model = gaussian()
    with pytest.raises(ValueError, match=complaint):
        sample_restart(model, start(model, 1, 80.0), edm(8), disable=True, segments=segments)
    assert model.calls == 0


@pytest.mark.parametrize("solver", ["nonsense", "euler_ancestral", "dpm_adaptive", "restart"])
def test_unknown_or_stochastic_solver_is_refused(solver):
    model = gaussian()
    with pytest.raises(ValueError, match=f"solver is '{solver}'; allowed: .*heun"):
        sample_restart(model, start(model, 1, 80.0), edm(8), disable=True, solver=solver)
    assert model.calls == 0


def test_segment_objects_are_accepted():
    assert Segment.of(Segment(3, 2, 0.06, 0.3)) == Segment(3, 2, 0.06, 0.3)
