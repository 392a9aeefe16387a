"""Out of memory at each model call in turn of a parallel midpoint run and a fit: the same result, smaller chunks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from restart_art.samplers import sample_parallel_midpoint
from restart_art.samplers.grid import karras_ramp
from restart_art.schedules import fit_schedule

import figures

BATCH = 2


class Bent:
    """A denoiser of any shape in IEEE basic operations only, so that a result is the same to the bit in any chunks.

    Raises out-of-memory at call number `at` (every later call too, down to `fits` samples, if `lasting`).
    sizes: samples of every call that was asked for.
    """

    def __init__(self, at: int = 0, lasting: bool = False, fits: int = 1, error: type[Exception] | None = None):
        self.at, self.lasting, self.fits, self.sizes = at, lasting, fits, list[int]()
        self.error = error or torch.OutOfMemoryError

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **_: object) -> torch.Tensor:
        self.sizes.append(len(x))
        number = len(self.sizes)
        if self.at and (number == self.at or (self.lasting and number > self.at and len(x) > self.fits)):
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        s = sigma.reshape(-1, *[1] * (x.ndim - 1))
        gain = 1 / (1 + s * s)
        y = 3 * gain * x
        return gain * x + 0.5 * y / (1 + y * y)


def parallel(model: Bent, **options: object) -> torch.Tensor:
    x = 10 * torch.randn(BATCH, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    sigmas = torch.tensor([*karras_ramp(8, 10.0, 0.03), 0.0])
    return sample_parallel_midpoint(model, x, sigmas, {"seed": 1}, None, True, **options)


OPTIONS = {
    "default": {"midpoints": 4},
    "sweeps": {"midpoints": 3, "sweeps": 3, "jitter": 1.0},
    "tolerance": {"midpoints": 5, "sweeps": 4, "tolerance": 0.003},
    "corrector": {"midpoints": 4, "sweeps": 2, "corrector_steps": 3},
    "paper": {"midpoints": 4, "sweeps": 2, "preset": "paper"},
}


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_parallel_midpoint_out_of_memory_at_each_call(name: str, lasting: bool) -> None:
    whole = Bent()
    expected = parallel(whole, **OPTIONS[name])
    injected = smallest = 0
    for at, size in enumerate(whole.sizes, 1):
        model, report = Bent(at, lasting, fits=BATCH), dict[str, object]()
        if size == BATCH:  # one level of the whole batch cannot be cut
            with pytest.raises(torch.OutOfMemoryError):
                parallel(model, **OPTIONS[name])
            smallest += 1
            continue
        assert torch.equal(parallel(model, **OPTIONS[name], report=report), expected), at
        assert len(model.sizes) > len(whole.sizes)
        assert report["evaluations"] == sum(whole.sizes)
        assert report["mode"] == "chunks"
        if lasting:
            assert max(model.sizes[at:]) <= size // 2 + BATCH
            assert min(model.sizes[at:]) == BATCH
        injected += 1
    assert injected > 5
    figures.record("out_of_memory", **{f"parallel_{name}_{'lasting' if lasting else 'once'}": injected})


def fitted(model: Bent, method: str) -> tuple[object, dict[str, object]]:
    noise = torch.randn(4, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    schedule = fit_schedule(model, noise, sigma_min=0.03, sigma_max=10.0, steps=(5,), method=method, solver="heun")
    report = {key: value for key, value in schedule.report.items() if "seconds" not in key}
    return schedule, report


@pytest.mark.parametrize("method", ["direct", "refined"] if figures.FULL else ["direct"])
def test_fit_out_of_memory_at_each_call(method: str) -> None:
    """Every call of a direct fit in a full run (of a refined one, which takes seconds, every eighth), some of them
    in a short one; calls of one sample cannot be cut."""
    whole = Bent()
    schedule, report = fitted(whole, method)
    calls = [at for at, size in enumerate(whole.sizes, 1) if size > 1]
    assert len(calls) > 50
    every = 1 if method == "direct" else 8
    taken = calls[::every] if figures.FULL else calls[:: len(calls) // 12]
    for count, at in enumerate(taken):
        lasting = count % 2 == 1
        model = Bent(at, lasting)
        again, told = fitted(model, method)
        assert again == schedule, at
        assert told == report, at
        assert len(model.sizes) > len(whole.sizes)
    figures.record("out_of_memory", **{f"fit_{method}": len(taken)})


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_one_sample_that_does_not_fit_is_the_hosts_own_error(error: type[Exception]) -> None:
    model = Bent(20, lasting=True, fits=0, error=error)
    with pytest.raises(error, match="out of memory"):
        fitted(model, "direct")
    assert model.sizes[-1] == 1


def test_another_error_is_not_taken_for_out_of_memory() -> None:
    model = Bent(4)
    model.error = ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        parallel(model, midpoints=4)
    assert len(model.sizes) == 4


def test_no_tensor_of_a_failed_call_is_alive_when_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    from restart_art.samplers import evaluation

    seen, held = list[bool](), SimpleNamespace(ref=lambda: None)

    class Holding(Bent):
        def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **extra: object) -> torch.Tensor:
            activations = x * 2
            held.ref = weakref.ref(activations)
            return super().__call__(x, sigma, **extra)

    monkeypatch.setattr(evaluation, "release_memory", lambda: seen.append(held.ref() is None))
    parallel(Holding(3, lasting=True, fits=BATCH), midpoints=4)
    assert seen
    assert all(seen)
