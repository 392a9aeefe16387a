"""What each sampler owes its host: k-diffusion's signature, callback, seeding, dtype, shape, no wait for the GPU."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from contract_tools import HostSyncWatch, UnitGaussian

from restart_art.samplers import sample_parallel_midpoint, sample_randomized_midpoint, sample_restart
from restart_art.samplers.finite import FiniteWatch
from restart_art.samplers.solvers import host_namespace, resolve_solver

SAMPLERS = {
    "restart": (sample_restart, {"segments": ((3, 2, 0.1, 0.5), (4, 1, 0.5, 2.0))}),
    "restart within": (
        sample_restart,
        {"segments": ((3, 1, 0.1, 0.5),), "budget": "within steps", "solver": "euler", "churn": 0.1},
    ),
    "randomized": (sample_randomized_midpoint, {}),
    "randomized paper": (sample_randomized_midpoint, {"preset": "paper"}),
    "randomized corrector": (sample_randomized_midpoint, {"corrector_steps": 2}),
    "parallel": (sample_parallel_midpoint, {"midpoints": 3, "jitter": 1.0}),
    "parallel cold": (sample_parallel_midpoint, {"midpoints": 2, "jitter": 1.0, "sweeps": 2, "warm_start": False}),
    "parallel corrector": (sample_parallel_midpoint, {"midpoints": 2, "corrector_steps": 2}),
}
KINDS = ("ve", "flow")
SHAPES = {"audio": (2, 3, 16), "picture": (2, 4, 4, 4), "video": (2, 3, 2, 4, 4)}

every_sampler = pytest.mark.parametrize("name", SAMPLERS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def grid(kind: str, dtype=torch.float64) -> torch.Tensor:
    ve = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.03, 0.0], dtype=torch.float64)
    return (ve if kind == "ve" else ve / (1 + ve)).to(dtype)


def latent(shape, dtype=torch.float64, seed=0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def start(kind: str, shape=SHAPES["picture"], dtype=torch.float64) -> torch.Tensor:
    """A draw of the process at the first sigma, for data N(0, I)."""
    first = float(grid(kind)[0])
    return latent(shape, dtype) * math.sqrt(1 + first**2 if kind == "ve" else (1 - first) ** 2 + first**2)


def run(name: str, kind: str, x=None, extra_args=None, *, model=None, sigmas=None, callback=None, **options):
    sampler, own = SAMPLERS[name]
    model = UnitGaussian(kind) if model is None else model
    x = start(kind) if x is None else x
    sigmas = grid(kind) if sigmas is None else sigmas
    return sampler(model, x, sigmas, extra_args, callback, True, **{**own, **options})


@pytest.mark.parametrize("sampler", [sample_restart, sample_randomized_midpoint, sample_parallel_midpoint])
def test_signature_is_k_diffusions(sampler):
    """The six arguments of every k-diffusion sampler, by name, place and default; all others by keyword, optional."""
    theirs = list(inspect.signature(host_namespace().sample_euler).parameters.values())[:6]
    ours = list(inspect.signature(sampler).parameters.values())
    assert [(p.name, p.default, p.kind) for p in ours[:6]] == [(p.name, p.default, p.kind) for p in theirs]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in ours[6:])


@every_kind
@every_sampler
def test_callback_reports_as_k_diffusions_samplers_do(name, kind):
    """The host's keys; i starts at 0, never falls, ends at steps - 1; pictures of x's shape, as ComfyUI previews."""
    x, steps, seen = start(kind), len(grid(kind)) - 1, []
    theirs = []
    resolve_solver("euler")(UnitGaussian(kind), x, grid(kind), callback=theirs.append, disable=True)
    run(name, kind, x, {"seed": 1}, callback=seen.append)
    numbers = [info["i"] for info in seen]
    assert set(theirs[0]) <= set(seen[0])
    assert all(type(i) is int for i in numbers)
    assert (numbers[0], numbers[-1]) == (0, steps - 1)
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(steps))
    for info in seen:
        assert info["x"].shape == info["denoised"].shape == x.shape
        assert float(info["sigma"]) == float(info["sigma_hat"]) > 0
        assert float(info["sigma"]) <= float(grid(kind)[0]) * (1 + 1e-6)
    assert torch.isfinite(seen[-1]["denoised"]).all()


@every_kind
@every_sampler
def test_the_seed_alone_decides(name, kind):
    """Whatever torch's global generator holds, which is left as it was; without a seed it is what counts."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    run(name, kind, extra_args={"seed": 7}, **own_code_only(name))
    assert torch.equal(torch.get_rng_state(), state)
    first = run(name, kind, extra_args={"seed": 7})
    torch.manual_seed(2)
    assert torch.equal(run(name, kind, extra_args={"seed": 7}), first)
    assert not torch.allclose(run(name, kind, extra_args={"seed": 8}), first)
    torch.manual_seed(3)
    unseeded = run(name, kind)
    torch.manual_seed(3)
    assert torch.equal(run(name, kind), unseeded)
    assert not torch.allclose(run(name, kind), unseeded)


@every_kind
@every_sampler
@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_dtype_and_shape_are_kept(name, kind, layout, dtype):
    """Every latent layout and precision gives the float64 picture to that precision."""
    shape = SHAPES[layout]
    end = run(name, kind, start(kind, shape, dtype), {"seed": 1}, sigmas=grid(kind, torch.float32))
    exact = run(name, kind, start(kind, shape, dtype).double(), {"seed": 1}, sigmas=grid(kind, torch.float32))
    assert (end.dtype, end.shape) == (dtype, torch.Size(shape))
    # The last model call reads x at sigma .03; until then the grid's few dozen roundings add up.
    assert (end.double() - exact).abs().max() < 64 * torch.finfo(dtype).eps * exact.abs().max()


@every_sampler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sigmas_may_have_another_dtype(name, dtype):
    end = run(name, "ve", start("ve", dtype=dtype), {"seed": 1}, sigmas=grid("ve", torch.float64))
    same = run(name, "ve", start("ve", dtype=dtype), {"seed": 1}, sigmas=grid("ve", torch.float32))
    assert end.dtype == same.dtype == dtype
    assert torch.allclose(end, same, rtol=1e-4, atol=1e-5)


@every_kind
@every_sampler
def test_inputs_are_left_alone_and_handed_on(name, kind):
    """x, sigmas and extra_args unchanged; the model gets every extra argument, one sigma a sample, and no grad."""
    x, sigmas = start(kind).requires_grad_(), grid(kind)
    args = {"seed": 3, "cond": object(), "scale": 2.5}
    before, model = (x.detach().clone(), sigmas.clone(), dict(args)), UnitGaussian(kind)
    end = run(name, kind, x, args, model=model, sigmas=sigmas)
    assert torch.equal(x, before[0])
    assert torch.equal(sigmas, before[1])
    assert args == before[2]
    assert not end.requires_grad
    assert end.grad_fn is None
    for shape, sigma_shape, extra, grad in model.calls:
        assert shape[1:] == x.shape[1:]
        assert sigma_shape == shape[:1]
        assert shape[0] % x.shape[0] == 0
        assert not grad
        assert extra == args


@every_sampler
def test_progress_bar_only_where_it_is_wanted(name, capsys):
    sampler, own = SAMPLERS[name]
    for disable, shown in ((True, False), (False, True)):
        sampler(UnitGaussian(), start("ve"), grid("ve"), {"seed": 1}, None, disable, **own)
        err = capsys.readouterr().err
        assert bool(err.strip()) == shown
        assert not shown or "100%" in err


@every_kind
@every_sampler
def test_each_item_of_a_batch_is_its_single_run(name, kind):
    """One seed: item 0 is the single run of that seed, the others differ. A list of seeds: every item is."""
    x = start(kind, (4, 3, 4, 4))
    singles = [run(name, kind, x[i : i + 1], {"seed": seed}) for i, seed in enumerate((11, 12, 13, 11))]
    listed = run(name, kind, x, {"seed": [11, 12, 13, 11]})
    assert torch.allclose(listed, torch.cat(singles), rtol=0, atol=1e-12)
    batch = run(name, kind, x, {"seed": 11})
    assert torch.allclose(batch[:1], singles[0], rtol=0, atol=1e-12)
    assert torch.allclose(run(name, kind, x[:2], {"seed": 11}), batch[:2], rtol=0, atol=1e-12)
    same_start = run(name, kind, x[:1].expand(3, -1, -1, -1), {"seed": 11})
    assert not torch.allclose(same_start[0], same_start[1])
    assert not torch.allclose(same_start[1], same_start[2])


@every_sampler
def test_a_list_of_seeds_of_another_length_is_refused(name):
    model = UnitGaussian()
    with pytest.raises(ValueError, match="seed has 3 values"):
        run(name, "ve", extra_args={"seed": [1, 2, 3]}, model=model)
    assert not model.calls


@every_sampler
@pytest.mark.parametrize(
    ("sigmas", "complaint"),
    [
        (torch.tensor([1.0]), "at least two values"),
        (torch.tensor([[1.0, 0.0]]), "one dimension"),
        (torch.tensor([1.0, 2.0, 0.0]), r"strictly descending, but sigmas\[0\] = 1 is followed by sigmas\[1\] = 2"),
        (torch.tensor([1.0, float("nan"), 0.0]), r"sigmas\[1\] is nan"),
        (torch.tensor([1.0, -0.5]), r"sigmas\[1\] is -0.5"),
    ],
)
def test_bad_sigmas_are_named_before_any_call(name, sigmas, complaint):
    model = UnitGaussian()
    with pytest.raises(ValueError, match=complaint):
        run(name, "ve", model=model, sigmas=sigmas)
    assert not model.calls


class Cancelled(Exception):
    pass


@every_kind
@every_sampler
@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt, RuntimeError])
def test_cancel_stops_at_once_and_the_next_run_is_right(name, kind, at, error):
    """What the model or the callback raises comes out as it is, and no further call is made."""
    expected = run(name, kind, extra_args={"seed": 1})

    def cancel(call):
        if call == at:
            raise error("stop")

    model = UnitGaussian(kind, cancel)
    with pytest.raises(error, match="stop"):
        run(name, kind, extra_args={"seed": 1}, model=model)
    assert len(model.calls) == at
    with pytest.raises(error, match="stop"):
        run(name, kind, extra_args={"seed": 1}, callback=lambda info: cancel(info["i"] + 1))
    assert torch.equal(run(name, kind, extra_args={"seed": 1}), expected)


def plain_euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A piece solver that never reads a tensor and draws no noise: k-diffusion's own Heun does both, at every step."""
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i].to(x) * x.new_ones(len(x)), **(extra_args or {}))
        if callback is not None:
            callback({"i": i, "x": x, "denoised": denoised, "sigma": sigmas[i], "sigma_hat": sigmas[i]})
        x = x + (x - denoised) / sigmas[i].to(x) * (sigmas[i + 1] - sigmas[i]).to(x)
    return x


def own_code_only(name):
    """Restart without the host's solvers."""
    return {"solver": plain_euler} if name.startswith("restart") else {}


WAITS = {
    "number": lambda x: x.sum().item(),
    "truth": lambda x: bool(x[0] > 0),
    "list": lambda x: x.tolist(),
    "mask": lambda x: x[x > 0],
    "to the CPU": lambda x: x.cpu(),
    "from numbers": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "new from numbers": lambda x: x.new_tensor([1.0]),
    "from the CPU": lambda x: torch.ones(3).to(x),
    "copied in": lambda x: x.copy_(torch.ones(3)),
    "picked by the CPU": lambda x: x[torch.tensor([0, 2])],
}


@pytest.mark.parametrize("wait", WAITS)
def test_the_watch_sees_every_wait(wait):
    watch, x = HostSyncWatch(), torch.empty(3, device="meta")
    with watch:
        torch.ones(3).to(x)  # before the first model call nothing counts
        watch.arm(1)
        try:
            WAITS[wait](x)
        except (RuntimeError, NotImplementedError) as error:
            watch.waits.append(str(error))
        assert len(watch.waits) == 1
        x * 2 + torch.ones(3).to(x.device, non_blocking=True) * torch.tensor(2.0) + x.new_full((3,), 1.0)
        assert len(watch.waits) == 1


@every_kind
@every_sampler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_wait_for_the_device_by_code_path(name, kind, dtype):
    """From the first model call on nothing reads numbers or waits for a copy, but one read at the end: test_finite."""
    watch = HostSyncWatch()
    x = torch.empty(2, 4, 8, 8, dtype=dtype, device="meta")
    with watch:
        model = UnitGaussian(kind, watch.arm)
        end = run(name, kind, x, {"seed": 1}, model=model, callback=lambda info: None, **own_code_only(name))
    assert watch.armed
    assert watch.waits == []
    assert (end.device, end.dtype) == (x.device, dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the code-path test above stands in")
@every_kind
@every_sampler
def test_no_wait_for_the_device_on_cuda(name, kind, monkeypatch):
    monkeypatch.setattr(FiniteWatch, "check", lambda watch, x: None)  # the one read at the end
    x = start(kind, dtype=torch.float32).cuda()
    expected = run(name, kind, x.cpu(), {"seed": 1}, **own_code_only(name))
    model = UnitGaussian(kind, lambda call: torch.cuda.set_sync_debug_mode("error"))
    try:
        end = run(name, kind, x, {"seed": 1}, model=model, sigmas=grid(kind).cuda(), **own_code_only(name))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.allclose(end.cpu(), expected, rtol=1e-3, atol=1e-4)
