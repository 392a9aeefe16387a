"""Latents alive at once beyond what the host's own samplers keep. (Parallel midpoint: see its own tests.)"""

from __future__ import annotations

import pytest
import torch
from contract_tools import LiveMemory, UnitGaussian

from restart_art.samplers import sample_randomized_midpoint, sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.solvers import resolve_solver

ALLOWED = 3.05  # latents beyond the host's; the .05 is for weights and sigmas
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
@pytest.mark.parametrize("measure", ["sigma", "inverse_sigma", "ou"])
def test_randomized_midpoint_needs_little_more_than_the_hosts_euler(kind, measure):
    assert peak(sample_randomized_midpoint, kind, measure=measure) - peak(resolve_solver("euler"), kind) < ALLOWED


@every_kind
def test_memory_does_not_grow_with_the_steps(kind):
    for sampler, options in ((sample_restart, {"segments": SEGMENTS}), (sample_randomized_midpoint, {})):
        short, long = (peak(sampler, kind, steps, **options) for steps in (6, 30))
        assert long == pytest.approx(short, abs=0.1)
