"""What a parallel midpoint step costs beside its model calls: latents alive, tensor operations, host reads."""

from __future__ import annotations

import pytest
import torch
from contract_tools import LiveMemory, UnitGaussian
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from restart_art.samplers import sample_parallel_midpoint
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.randomized_midpoint import MEASURES
from restart_art.samplers.solvers import resolve_solver

aten = torch.ops.aten
STEPS = 10
SMALL = 0.15  # weights and sigmas, in latents


def grid_for(kind):
    ve = torch.tensor([*karras_ramp(STEPS, 10.0, 0.02), 0.0])
    return ve if kind == "ve" else ve / (1 + ve)


def alive_latents(sampler, kind="ve", **options):
    """(most latents alive at once, most alive when the model is called), the starting x counted in both."""
    at_call = []
    meter = LiveMemory(torch.zeros(2, 4, 3, 32, 32))

    def note(call):
        alive = [size for storage, size in meter.alive.values() if not storage.expired()]
        at_call.append(sum(alive) / meter.unit)

    with meter:
        x = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        sampler(UnitGaussian(kind, note), x, grid_for(kind), {"seed": 1}, disable=True, **options)
    return meter.peak, max(at_call)


def retained(info):
    """A host's callback that keeps what it is given, as a preview does."""
    retained.kept = info["denoised"]


OPTIONS = {
    "default": {},
    "sweeps": {"sweeps": 3},
    "jitter": {"sweeps": 2, "jitter": 1.0},
    "cold": {"warm_start": False},
    "tolerance": {"sweeps": 3, "tolerance": 1e-9},
    "callback": {"callback": retained},
}


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("name", OPTIONS)
def test_memory_is_the_midpoints_and_the_models_answers(kind, measure, name):
    """At most R + 3 latents beyond the host's Euler, the model's answers to all midpoints included, up to R = 6.

    The midpoints and the model's answers alone are 2 R; with x, the start and up to two more of working memory that
    is the bound of the second assertion, which holds at every R. When the model is called, which is when a GPU's
    memory peaks, R + 3 is far away.
    """
    euler, euler_at_call = alive_latents(resolve_solver("euler"), kind)
    for midpoints in (1, 2, 4, 6, 12):
        options = {"midpoints": midpoints, "measure": measure, **OPTIONS[name]}
        peak, at_call = alive_latents(sample_parallel_midpoint, kind, **options)
        if midpoints <= 6:
            assert peak - euler <= midpoints + 3 + SMALL, midpoints
        if midpoints > 1:
            assert peak <= 2 * midpoints + (5 if name in {"tolerance", "callback"} else 3) + SMALL, midpoints
        assert at_call - euler_at_call <= max(midpoints - 1, 0) + SMALL, midpoints


def test_memory_does_not_grow_with_the_sweeps():
    peaks = [alive_latents(sample_parallel_midpoint, sweeps=sweeps)[0] for sweeps in (1, 2, 6)]
    assert max(peaks) - min(peaks) < 0.05  # a few numbers a call stay, for the search after NaN


class Counter(TorchDispatchMode):
    """Operations that touch as much as a latent, and reads of a value by the host, between model calls."""

    def __init__(self, latent):
        super().__init__()
        self.numel, self.inside, self.work, self.reads = latent, False, [], []

    def model(self, x, sigma, **extra):
        self.inside = True
        out = x * 0.5
        self.inside = False
        self.work.append(0)
        self.reads.append(0)
        return out

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not self.inside and self.work:
            big = any(isinstance(t, torch.Tensor) and t.numel() >= self.numel for t in tree_leaves((args, out)))
            self.work[-1] += big and not func.is_view
            self.reads[-1] += func in {aten._local_scalar_dense.default, aten.item.default, aten.nonzero.default}
        return out


def counted(**options):
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    counter = Counter(x.numel())
    with counter:
        sample_parallel_midpoint(counter.model, x, grid_for("ve"), {"seed": 1}, disable=True, **options)
    return counter


@pytest.mark.parametrize(("measure", "field"), [("inverse_sigma", 0), ("sigma", 1), ("ou", 1)])
def test_a_steps_own_work_is_a_handful_of_operations_whatever_r(measure, field):
    """Two for the result, two for the next midpoints, a copy of what they start from, a sum to find NaN by; one to
    form the integrand."""
    for midpoints in (2, 8, 32):
        work = counted(midpoints=midpoints, measure=measure).work
        assert work[0] == 2 + 1  # after the first cold call: the first midpoints
        assert set(work[1:-2]) == {5 + field + 1}
        assert work[-1] == 1 + 1  # and of the result
        swept = counted(midpoints=midpoints, measure=measure, sweeps=4).work
        assert swept[1:4] == [2 + field + 1] * 3  # between sweeps: the next midpoints


def test_draws_of_its_own_for_each_sample_cost_one_operation_a_midpoint():
    for midpoints in (2, 8):
        assert set(counted(midpoints=midpoints, jitter=1.0).work[1:-2]) == {1 + midpoints + 1 + 2 + 1 + 1}


def test_only_a_tolerance_reads_from_the_device():
    """One read a sweep but the last allowed one; without a tolerance none but the run's last (test_finite.py)."""
    for options in ({}, {"sweeps": 3}, {"jitter": 1.0, "measure": "ou"}, {"corrector_steps": 2}, {"warm_start": False}):
        assert counted(**options).reads == [*[0] * (len(counted(**options).reads) - 1), 1]
    inner = STEPS - 1
    assert sum(counted(sweeps=3, tolerance=1e-30).reads) == 2 * inner + 1
    assert sum(counted(sweeps=1, tolerance=1e-30).reads) == 1
    assert sum(counted(sweeps=3, tolerance=1e30).reads) == inner + 1
