"""A model that returns NaN or inf: a clear error at the end of the run, for one host read and a sum a model call."""

from __future__ import annotations

import copy

import pytest
import torch
from contract_tools import UnitGaussian
from torch.utils._python_dispatch import TorchDispatchMode

from restart_art.samplers import sample_parallel_midpoint, sample_randomized_midpoint, sample_restart
from restart_art.samplers.finite import FiniteWatch, Watched
from restart_art.samplers.grid import karras_ramp

SAMPLERS = {
    "restart": (sample_restart, {"segments": ((3, 2, 0.1, 0.5),), "solver": "euler"}),
    "restart heun": (sample_restart, {"segments": ()}),
    "restart dpmpp_2m": (sample_restart, {"segments": ((3, 2, 0.1, 0.5),), "solver": "dpmpp_2m"}),
    "randomized": (sample_randomized_midpoint, {}),
    "randomized corrector": (sample_randomized_midpoint, {"corrector_steps": 2}),
    "parallel": (sample_parallel_midpoint, {"midpoints": 3}),
    "parallel tolerance": (sample_parallel_midpoint, {"midpoints": 3, "sweeps": 3, "tolerance": 1e-3}),
    "parallel corrector": (sample_parallel_midpoint, {"midpoints": 2, "corrector_steps": 2}),
}
STEPS, BATCH = 8, 3
every_sampler = pytest.mark.parametrize("name", SAMPLERS)
every_kind = pytest.mark.parametrize("kind", ["ve", "flow"])


class Breaking(UnitGaussian):
    """From call `at` on sample `row` of the batch holds one `value`; notes the sigma of that sample."""

    def __init__(self, kind, at, row=1, value=float("nan"), once=False):
        super().__init__(kind)
        self.at, self.row, self.value, self.once, self.sigma = at, row, value, once, None

    def __call__(self, x, sigma, **extra):
        out = super().__call__(x, sigma, **extra)
        if len(self.calls) == self.at or (len(self.calls) > self.at and not self.once):
            out[self.row, 0, 0, 0] = self.value
            self.sigma = float(sigma[self.row]) if self.sigma is None else self.sigma
        return out


def grid(kind):
    ve = torch.tensor([*karras_ramp(STEPS, 10.0, 0.02), 0.0])
    return ve if kind == "ve" else ve / (1 + ve)


def run(name, kind, model, x=None, callback=None, dtype=torch.float32):
    sampler, options = SAMPLERS[name]
    if x is None:
        x = torch.randn(BATCH, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype) * float(grid(kind)[0])
    return sampler(model, x, grid(kind), {"seed": 1}, callback, True, **options)


def calls_of(name, kind):
    model = UnitGaussian(kind)
    run(name, kind, model)
    return len(model.calls)


@every_kind
@every_sampler
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_bad_call_is_named_whichever_it_is(name, kind, value):
    """Its sigma exactly, its picture, and a step that the progress bar was at."""
    for at in range(1, calls_of(name, kind) + 1):
        model, seen = Breaking(kind, at, value=value), [-1]
        reached = [None]

        def note(info, model=model, seen=seen, reached=reached):
            if model.sigma is not None and reached[0] is None:
                reached[0] = info["i"]
            seen.append(info["i"])

        with pytest.raises(ValueError, match="the model returned NaN or inf at step") as failure:
            run(name, kind, model, callback=note)
        text = str(failure.value)
        step = int(text.partition("at step ")[2].partition(" ")[0])
        assert f"of {STEPS}, sigma {model.sigma:g}, picture 2 of {BATCH}; " in text
        assert 1 <= step <= STEPS
        if reached[0] is not None:
            assert abs(step - 1 - reached[0]) <= 1, (at, text, reached)


@every_sampler
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_in_every_precision(name, dtype):
    with pytest.raises(ValueError, match="NaN or inf at step"):
        run(name, "ve", Breaking("ve", 2), dtype=dtype)
    assert run(name, "ve", UnitGaussian("ve"), dtype=dtype).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_large_latent_does_not_overflow_the_sum(dtype):
    """A sum of 65 thousand values of 100 is beyond half precision's range."""
    watch = FiniteWatch(1, torch.full((2, 4, 128, 128), 100.0, dtype=dtype))
    watch.check(torch.full((2, 4, 128, 128), 100.0, dtype=dtype))


@every_sampler
def test_noise_that_is_not_finite_is_not_blamed_on_the_model(name):
    x = torch.randn(BATCH, 4, 8, 8)
    x[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="sampling starts from holds NaN"):
        run(name, "ve", UnitGaussian("ve"), x)


def test_a_model_that_heals_is_left_alone():
    """A network that clamps what overflowed inside it, as some do in half precision, gives a picture and no error."""

    def healing(x, sigma, **_):
        return torch.nan_to_num(UnitGaussian()(x, sigma), nan=0.0, posinf=1e4, neginf=-1e4)

    x = torch.randn(BATCH, 4, 8, 8)
    x[0, 0, 0, 0] = float("inf")
    for sampler, options in (SAMPLERS["parallel"], SAMPLERS["randomized"]):
        last = sampler(healing, x, grid("ve"), {"seed": 1}, None, True, **options)
        assert last.isfinite().all()


def test_overflow_between_finite_answers_says_so():
    watch = FiniteWatch(4, torch.zeros(1, 4))
    watch.note(torch.ones(1), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="although all the model's answers were finite"):
        watch.check(torch.full((1, 4), float("inf")))


class Reads(TorchDispatchMode):
    """Host reads after the last model call, and those between model calls (those before the first are of the CPU)."""

    def __init__(self):
        super().__init__()
        self.between, self.after = 0, 0

    def before_call(self, call):
        self.between, self.after = (self.between + self.after if call > 1 else 0), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.after += func in {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}
        return out


@every_kind
@pytest.mark.parametrize("name", [name for name in SAMPLERS if not name.startswith(("restart", "parallel tol"))])
def test_one_host_read_at_the_end_of_a_run(name, kind):
    reads = Reads()
    with reads:
        run(name, kind, UnitGaussian(kind, reads.before_call))
    assert (reads.between, reads.after) == (0, 1)


@pytest.mark.parametrize("solver", ["heun", "dpmpp_2m"])
def test_restart_reads_once_more_than_its_solver_does(solver):
    """Host solvers read their sigmas; from one segment-free run to the solver alone the difference is the one read."""
    from restart_art.samplers.solvers import resolve_solver

    counts = []
    for sampler, options in ((sample_restart, {"segments": (), "solver": solver}), (resolve_solver(solver), {})):
        reads = Reads()
        with reads:
            sampler(
                UnitGaussian("ve", reads.before_call), torch.ones(1, 4, 8, 8), grid("ve"), {"seed": 1}, None, True,
                **options,
            )  # fmt: skip
        counts.append(reads.after)
    assert counts[0] == counts[1] + 1


def test_a_watched_model_is_the_model_to_whoever_looks():
    model = UnitGaussian("flow")
    watched = Watched(model, FiniteWatch(1, torch.zeros(1, 4)))
    assert watched.model_sampling is model.model_sampling
    assert copy.copy(watched).kind == "flow"
    with pytest.raises(AttributeError):
        watched.no_such_thing  # noqa: B018
