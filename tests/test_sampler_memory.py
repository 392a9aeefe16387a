"""What the samplers cost beyond their model calls: latents alive at once beside the host's own samplers, and operators
launched a call. (Memory of parallel midpoint: see its own tests.)"""

from __future__ import annotations

import pytest
import torch
from contract_tools import LiveMemory, OperatorCount, UnitGaussian

from restart_art.samplers import sample_parallel_midpoint, sample_randomized_midpoint, sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.solvers import resolve_solver

ALLOWED = 3.05  # latents beyond the host's; the .05 is for weights and sigmas
OPERATORS = 50  # a model call; at 10 microseconds a launch they are 1 % of a 50 ms model
SEGMENTS = ((4, 3, 0.1, 0.5), (3, 2, 0.5, 2.0))
every_kind = pytest.mark.parametrize("kind", ["ve", "flow"])


def peak(sampler, kind, steps=10, **options) -> float:
    """Most latents alive at once, made by the sampler and its model, on a small video latent."""
    ve = torch.tensor([*karras_ramp(steps, 10.0, 0.02), 0.0])
    x = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    meter = LiveMemory(x)
    with meter:
        sampler(UnitGaussian(kind), x, ve if kind == "ve" else ve / (1 + ve), {"seed": 1}, disable=True, **options)
    return meter.peak


@every_kind
def test_the_meter_counts_latents(kind):
    """Held latents are counted, dropped ones are not."""

    def holding(count):
        def sampler(model, x, sigmas, extra_args, disable):
            held = [x + i for i in range(count)]
            for i in range(5):
                x = x * i
            return x, held

        return sampler

    assert peak(holding(4), kind) - peak(holding(1), kind) == pytest.approx(3, abs=0.01)


@every_kind
@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_restart_needs_little_more_than_its_solver(kind, solver):
    plain = peak(resolve_solver(solver), kind)
    assert peak(sample_restart, kind, segments=SEGMENTS, solver=solver) - plain < ALLOWED


@every_kind
def test_restart_needs_little_more_than_the_hosts_euler(kind):
    plain = peak(resolve_solver("euler"), kind)
    assert peak(sample_restart, kind, segments=SEGMENTS, solver="euler") - plain < ALLOWED
    assert peak(sample_restart, kind, segments=SEGMENTS, solver="dpmpp_2m") - plain < ALLOWED


@every_kind
@pytest.mark.parametrize("options", [{}, {"measure": "ou"}, {"corrector_steps": 2}, {"preset": "paper"}], ids=str)
def test_randomized_midpoint_needs_little_more_than_the_hosts_euler(kind, options):
    assert peak(sample_randomized_midpoint, kind, **options) - peak(resolve_solver("euler"), kind) < ALLOWED


@every_kind
def test_memory_does_not_grow_with_the_steps(kind):
    for sampler, options in ((sample_restart, {"segments": SEGMENTS}), (sample_randomized_midpoint, {})):
        short, long = (peak(sampler, kind, steps, **options) for steps in (6, 30))
        assert long == pytest.approx(short, abs=0.1)


def operators(sampler, kind, **options) -> tuple[float, float]:
    """Operators a model call, the model's own left out: (between the calls, with the set-up before the first too)."""
    ve = torch.tensor([*karras_ramp(30, 10.0, 0.02), 0.0])
    sigmas = ve if kind == "ve" else ve / (1 + ve)
    x, one = torch.zeros(1, 4, 8, 8), torch.ones(1)
    count, alone = OperatorCount(), OperatorCount()
    with alone:
        UnitGaussian(kind)(x, one)
    with count:
        sampler(UnitGaussian(kind, count.before_call), x, sigmas, {"seed": 1}, disable=True, **options)
    return count.after / count.calls - alone.all, count.all / count.calls - alone.all


@every_kind
def test_the_counter_counts_operators(kind):
    def sampler(model, x, sigmas, extra_args, disable):
        x + 1
        for _ in range(4):
            model(x, torch.ones(1))  # torch.ones is one more
            x * 2 + 1
        return x

    between, everything = operators(sampler, kind)
    assert everything == pytest.approx(3.25)
    assert between == pytest.approx(3 - 1 / 4)


@every_kind
@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_restart_launches_little_more_than_its_solver(kind, solver):
    between, everything = operators(sample_restart, kind, segments=SEGMENTS, solver=solver)
    plain, _ = operators(resolve_solver(solver), kind)
    assert between <= everything < OPERATORS
    assert between - plain < 5


@every_kind
@pytest.mark.parametrize("options", [{}, {"measure": "ou"}, {"corrector_steps": 2}, {"preset": "paper"}], ids=str)
def test_randomized_midpoint_launches_few_operators(kind, options):
    between, everything = operators(sample_randomized_midpoint, kind, **options)
    assert between <= everything < OPERATORS


@every_kind
@pytest.mark.parametrize("midpoints", [2, 8])
def test_parallel_midpoint_launches_few_operators_between_calls(kind, midpoints):
    assert operators(sample_parallel_midpoint, kind, midpoints=midpoints)[0] < OPERATORS
