"""Churn inside restarts, a main solver of its own, and the forms of a level: against the paper written out again."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from restart_art.samplers import Segment, sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.restart import plan_pieces
from restart_art.samplers.restart_plan import Churn, lay_out
from restart_art.samplers.segments import level_at, resolve_segment

from exact import gaussian, grid_5x5, start


def karras(steps, low=0.002, high=80.0):
    return torch.tensor([*karras_ramp(steps, high, low), 0.0], dtype=torch.float64)


class Draws:
    """The same stream of noise for both sides; counts how much was drawn."""

    def __init__(self, like):
        self.like, self.count, self.generator = like, 0, torch.Generator().manual_seed(3)

    def __call__(self, *_):
        self.count += 1
        return torch.randn(self.like.shape, generator=self.generator, dtype=torch.float64)


def restated(model, x, grid, segments, randn, s_noise=1.0, gamma=0.0, s_min=0.01, s_max=1.0, main="heun"):
    """Xu et al. 2023, Algorithm 1 with the churn of its experiments, VE, written from the paper.

    grid: levels t_0 > ... > t_N = 0. segments: {level of the grid: (N_restart, K, t_max)}.
    """

    def denoise(x, t):
        return model(x, torch.full((len(x),), t, dtype=torch.float64))

    def step(x, t, t_next, solver):
        d = (x - denoise(x, t)) / t
        x_next = x + (t_next - t) * d
        if solver == "heun" and t_next > 0:
            d_next = (x_next - denoise(x_next, t_next)) / t_next
            x_next = x + (t_next - t) * (d + d_next) / 2
        return x_next

    for t, t_next in pairwise(grid):
        x = step(x, t, t_next, main)
        if t_next not in segments:
            continue
        nodes, repeats, t_max = segments[t_next]
        rho = 7
        ramp = [
            (t_max ** (1 / rho) + j / (nodes - 1) * (t_next ** (1 / rho) - t_max ** (1 / rho))) ** rho
            for j in range(nodes)
        ]
        for _ in range(repeats):
            x = x + math.sqrt(t_max**2 - t_next**2) * s_noise * randn()
            for r, r_next in pairwise(ramp):
                r_hat = r
                if gamma and s_min <= r <= s_max:
                    r_hat = r * (1 + gamma)
                    x = x + math.sqrt(r_hat**2 - r**2) * s_noise * randn()
                x = step(x, r_hat, r_next, "heun")
    return x


GRID = [*karras_ramp(9, 20.0, 0.6), 0.3, 0.06, 0.01, 0.0]


@pytest.mark.parametrize("gamma", [0.0, 0.05, math.sqrt(2) - 1])
@pytest.mark.parametrize(("s_noise", "main"), [(1.0, "heun"), (1.003, "heun"), (1.0, "euler")])
def test_equals_the_algorithm_with_churn(gamma, s_noise, main):
    """Two segments, one partly above S_max = 1: same noise, same picture to 1e-9."""
    model = grid_5x5(0.3)
    x0 = start(model, 4, GRID[0])
    theirs, ours = Draws(x0), Draws(x0)
    expected = restated(model, x0, GRID, {0.3: (5, 2, 1.9), 0.06: (4, 3, 0.3)}, theirs, s_noise, gamma, main=main)
    x = sample_restart(
        model, x0, torch.tensor(GRID, dtype=torch.float64), disable=True, noise_sampler=ours, s_noise=s_noise,
        segments=[(5, 2, 0.3, 1.9), (4, 3, 0.06, 0.3)], churn=gamma, main_solver=main,
    )  # fmt: skip
    assert theirs.count == ours.count
    assert ours.count > 5 if gamma else ours.count == 5
    assert (x - expected).abs().max() < 1e-9


def test_churn_costs_no_call_and_keeps_the_distribution():
    """Data N(0, c^2): standard deviation c at the end, VE and flow (8,000 values: 0.8 %; margin 3 %)."""
    for kind in ("ve", "flow"):
        process, model = NoiseProcess(kind), gaussian(0.5, dim=1, kind=kind)
        levels = [*(process.from_ve(s) for s in karras_ramp(25, 20.0, 0.005)), 0.0]
        top = levels[0]
        std = math.sqrt((process.signal(top) * 0.5) ** 2 + top**2)
        x = torch.randn(8_000, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * std
        options = {"segments": [(12, 1, 0.1, 0.9)], "disable": True, "extra_args": {"seed": 3}}
        grid = torch.tensor(levels, dtype=torch.float64)
        sample_restart(model, x, grid, **options)
        plain, model.calls = model.calls, 0
        end = sample_restart(model, x, grid, **options, churn=0.1)
        assert model.calls == plain
        assert end.std().item() == pytest.approx(0.5, rel=0.03)


def test_churn_leaves_levels_outside_its_range_alone():
    process = NoiseProcess("flow")
    segment = resolve_segment((6, 1, 0.06, 8.0), 0, [0.99, 0.1, 0.0], process)
    pieces = lay_out([0.99, 0.1, 0.0], [segment], process, Churn(0.2, 0.5, 2.0))
    for piece in pieces:
        for low, high in piece.noise:
            if low != piece.sigmas[-1] and not (low == segment.low and high == segment.high):
                assert 0.5 <= process.to_ve(low) <= 2.0
                assert process.to_ve(high) == pytest.approx(1.2 * process.to_ve(low))
    # Only where noise comes in does a new piece begin: a multistep solver keeps its history elsewhere.
    plain = lay_out([0.99, 0.1, 0.0], [segment], process)
    assert sum(p.restart for p in plain) == 1
    assert 1 < sum(p.restart for p in pieces) < 5


def test_too_much_churn_is_lowered_and_said():
    model, said = grid_5x5(0.3), []
    x = start(model, 2, 80.0)
    options = {"disable": True, "extra_args": {"seed": 1}}
    much = sample_restart(model, x, karras(12), **options, churn=5.0, report=said.append)
    most = sample_restart(model, x, karras(12), **options, churn=math.sqrt(2) - 1)
    assert torch.equal(much, most)
    assert "churn 5 is lowered to sqrt(2) - 1" in said[0]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"churn": -0.1}, "churn is -0.1"),
        ({"churn": float("nan")}, "churn is nan"),
        ({"churn_range": (1.0, 0.5)}, "churn_range, highest is 0.5; it must be >= 1"),
        ({"churn_range": (1.0,)}, r"churn_range is \(1.0,\)"),
        ({"main_solver": "dpm_adaptive"}, "solver is 'dpm_adaptive'; allowed"),
        ({"segments": [(3, 1, "101%", "20%")]}, r"segments\[0\] t_min is '101%'; a share of sampling is 0% to 100%"),
        ({"segments": [(3, 1, 0.1, 0.2), (3, 1, "9", "#x")]}, r"segments\[1\] t_max is '#x'; it must be a sigma"),
        ({"segments": [(3, 1, "#3", "#5")]}, "t_min #3 and t_max #5; it must be 0 < t_min < t_max"),
        ({"segments": [(3, 1, "20%", "50%")]}, "t_min 20% and t_max 50%"),
        ({"segments": [(3, 1, "#40", "#2")]}, "t_min is '#40', but this run has nodes #0 to #12"),
        ({"segments": [(3, 1, "#12", "#2")]}, r"t_min #12 \(sigma 0\)"),
        ({"segments": [(3, 1, "#5", 0.0001)]}, r"t_min #5 \(sigma .*\) and t_max 0.0001 \(sigma 0.0001\)"),
    ],
)
def test_bad_options_are_named_before_any_call(options, complaint):
    model = gaussian()
    with pytest.raises(ValueError, match=complaint):
        sample_restart(model, start(model, 1, 80.0), karras(12), disable=True, **options)
    assert model.calls == 0


@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_levels_by_share_and_by_node(kind):
    """They are places in the run itself, so they mean the same on a flow model; sigma numbers are mapped."""
    process = NoiseProcess(kind)
    grid = [0.9, 0.8, 0.4, 0.2, 0.0]
    by_node = resolve_segment((3, 1, "#3", "#1"), 0, grid, process)
    assert (by_node.low, by_node.high) == (0.2, 0.8)
    by_share = resolve_segment((3, 1, "75%", " 25 %"), 0, grid, process)
    assert (by_share.low, by_share.high) == (0.2, 0.8)
    mixed = resolve_segment((3, 1, 0.25, "#0"), 0, grid, process)
    assert (mixed.low, mixed.high) == (process.from_ve(0.25), 0.9)
    assert level_at(grid, 0.375) == pytest.approx(math.sqrt(0.8 * 0.4))  # between nodes: even in log sigma
    assert level_at(grid, 0.875) == pytest.approx(0.1)  # the last step has no log: even in sigma
    assert (level_at(grid, 0.0), level_at(grid, 1.0)) == (0.9, 0.0)
    pieces = plan_pieces(grid, [(3, 2, "#3", "#1")], process)
    assert [(p.sigmas[0], p.sigmas[-1]) for p in pieces] == [(0.9, 0.2), (0.8, 0.2), (0.8, 0.2), (0.2, 0.0)]
    assert Segment.of((3, 2, "75.0%", "#01")) == Segment(3, 2, "75%", "#1")
