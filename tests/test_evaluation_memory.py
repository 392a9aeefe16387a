"""The evaluation room when memory is short, and when a host has several devices."""

from __future__ import annotations

import pytest
import torch

from restart_art.samplers.evaluation import PairEvaluator
from restart_art.samplers.memory import set_memory_probe, set_spreader

from exact import grid_5x5
from pair_tools import Labelled, one_by_one, pairs


def injected(calls, error):
    """A denoiser that runs out of memory in the given calls (0 is the first), whatever their size."""
    inner, seen = Labelled(grid_5x5().means, 0.2), []

    def model(x, sigma, **kw):
        seen.append(len(x))
        if len(seen) - 1 in calls:
            raise error
        return inner(x, sigma, **kw)

    return model, seen


ERRORS = [
    torch.cuda.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: f"{type(e).__name__} {e}"[:24])
@pytest.mark.parametrize("at", range(7))
def test_out_of_memory_at_any_call_changes_nothing(error, at):
    x, sigma, args = pairs()
    expected = one_by_one(Labelled(grid_5x5().means, 0.2), x, sigma, args)
    model, seen = injected({at}, error)
    evaluator = PairEvaluator(model, args, split_rows=True, max_batch=2)
    assert torch.allclose(evaluator.evaluate(x, sigma), expected, atol=1e-12)
    assert evaluator.evaluations == 15
    assert evaluator.calls == len(seen) - 1
    assert seen == [2] * (at + 1) + [1] * (15 - 2 * at)
    assert evaluator.max_batch == 1


def test_out_of_memory_again_and_again():
    x, sigma, args = pairs()
    expected = one_by_one(Labelled(grid_5x5().means, 0.2), x, sigma, args)
    model, seen = injected({0, 1, 2}, ERRORS[0])
    evaluator = PairEvaluator(model, args, split_rows=True)
    assert torch.allclose(evaluator.evaluate(x, sigma), expected, atol=1e-12)
    assert seen == [15, 7, 3] + [1] * 15


@pytest.fixture
def probe():
    """Registers what a host knows of its memory, and takes it back."""
    asked = []

    def register(answer, release=None):
        def fits(model, x):
            asked.append(tuple(x.shape))
            if isinstance(answer, Exception):
                raise answer
            return answer

        set_memory_probe(fits, release)
        return asked

    yield register
    set_memory_probe(None)


@pytest.mark.parametrize(("fits", "calls"), [(100, 1), (15, 1), (14, 2), (6, 3), (3, 5), (1, 5), (None, 1)])
def test_free_memory_sets_the_chunk(probe, fits, calls):
    x, sigma, args = pairs()
    model = Labelled(grid_5x5().means, 0.2)
    asked = probe(fits)
    evaluator = PairEvaluator(model, args)
    evaluator.evaluate(x[:1], sigma[:1])
    assert asked == []  # one level: nothing to decide
    before = evaluator.calls
    assert torch.allclose(evaluator.evaluate(x, sigma), one_by_one(model, x, sigma, args), atol=1e-12)
    assert evaluator.calls - before == calls
    evaluator.evaluate(x, sigma)
    assert asked == [(3, 2)]


def test_a_caller_may_ask_for_less_than_fits(probe):
    probe(12)
    x, sigma, args = pairs()
    evaluator = PairEvaluator(Labelled(grid_5x5().means, 0.2), args, max_batch=6)
    evaluator.evaluate(x, sigma)
    assert evaluator.max_batch == 6
    assert evaluator.calls == 3


def test_a_guess_that_fails_is_no_guess_and_memory_is_released(probe):
    released = []
    probe(ZeroDivisionError("no such device"), lambda: released.append(True))
    x, sigma, args = pairs()
    model = Labelled(grid_5x5().means, 0.2)
    expected = one_by_one(model, x, sigma, args)
    model.limit = 6
    evaluator = PairEvaluator(model, args)
    assert torch.allclose(evaluator.evaluate(x, sigma), expected, atol=1e-12)
    assert released == [True]
    assert evaluator.calls == 3


def test_a_hosts_engine_for_several_devices_is_used_where_nothing_forbids_it():
    x, sigma, args = pairs()
    args["device"] = "one"

    class Two(Labelled):
        devices = ()

        def __call__(self, x, sigma, *, device=None, denoise_mask=None, **kw):
            self.devices = (*self.devices, device)
            return super().__call__(x, sigma, **kw)

    def spread(model, extra_args, batch):
        assert batch == 3
        return {**extra_args, "device": "both"}

    try:
        set_spreader(spread)
        for extra, options, devices in [
            ({}, {}, ("both",)),
            ({}, {"split_rows": True}, ("one",)),
            ({"denoise_mask": torch.ones(3)}, {}, ("one",) * 5),
        ]:
            model = Two(grid_5x5().means, 0.2)
            evaluator = PairEvaluator(model, {**args, **extra}, **options)
            out = evaluator.evaluate(x, sigma)
            assert model.devices == devices
            assert evaluator.spread is (devices == ("both",))
            assert torch.allclose(out, one_by_one(model, x, sigma, args), atol=1e-12)
    finally:
        set_spreader(None)
