"""Trying a solver out on a tiny stand-in for the model: is it deterministic, and what does it cost?

Restart adds its own noise, so a solver that adds noise too would do it twice. Names cannot tell: a plugged-in
sampler is any function. So it is run on a denoiser of a few numbers, which costs milliseconds and no model call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .grid import karras_ramp
from .noise_process import NoiseProcess
from .solvers import Solver

SHAPE = (1, 4, 8, 8)  # some solvers want a picture
LONGEST_TRIED = 12


class UntriedSolverError(ValueError):
    """The solver failed on the stand-in, so nothing is known about it."""


class StandIn:
    """Denoiser of data N(0, spread^2) bent by a tanh, with the noise process of `model`; counts its calls.

    Everything but calling it is `model`'s own (inner_model, model_sampling ...), as solvers look there.
    """

    def __init__(self, model: Any = None, spread: float = 0.7) -> None:
        self._model, self._spread = model, spread
        self._process = NoiseProcess.of(model) if model is not None else NoiseProcess()
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self._model is None:
            raise AttributeError(name)
        return getattr(self._model, name)

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        self.calls += 1
        s = sigma.reshape(-1, *[1] * (x.ndim - 1)).to(x)
        a = 1 - s if self._process.kind == "flow" else torch.ones_like(s)
        gain = a * self._spread**2 / ((a * self._spread) ** 2 + (s * self._process.noise_scale) ** 2)
        denoised = torch.tanh(gain * x)
        # CFG++ solvers learn the unconditional prediction through a hook that the host calls.
        for hook in extra_args.get("model_options", {}).get("sampler_post_cfg_function", ()):
            denoised = hook(
                {
                    "denoised": denoised, "cond_denoised": denoised, "uncond_denoised": denoised, "input": x,
                    "sigma": sigma, "cond_scale": 1.0, "cond": [], "uncond": [], "model": None,
                    "model_options": extra_args["model_options"],
                }
            )  # fmt: skip
        return denoised


def check_deterministic(solver: Solver, name: str, model: Any = None, sigmas: Sequence[float] | None = None) -> None:
    """Refuse a solver that is not a fixed map from (x, sigmas) to x, before any model call.

    Args:
        solver: function with k-diffusion's signature. name: what to call it in the error text.
        model: the denoiser whose noise process and attributes the stand-in borrows; plain VE without one.
        sigmas: levels to try it on; without them 12 Karras levels over the process's whole range, then 0.

    Raises:
        ValueError: two runs with different seeds differ (it adds noise of its own); the number of model calls
            depends on the picture (it chooses its own steps, so no budget can hold); it changes x's shape.
        UntriedSolverError: it fails on the stand-in.
    """
    grid = list(sigmas) if sigmas is not None else _whole_range(model)
    first, calls = _try(solver, name, grid, StandIn(model), seed=1)
    again, _ = _try(solver, name, grid, StandIn(model), seed=2)
    if not torch.equal(torch.nan_to_num(first), torch.nan_to_num(again)):
        raise ValueError(
            f"{name} adds random noise of its own (two seeds gave two results on a test denoiser); restart adds the "
            "noise itself, so its solver must be deterministic, such as euler, heun or dpmpp_2m (or eta 0)"
        )
    _, other = _try(solver, name, grid, StandIn(model, spread=0.02), seed=1)
    if other != calls:
        raise ValueError(
            f"{name} chooses its own steps (it made {calls} model calls on one test denoiser and {other} on another); "
            "restart needs a solver that follows the given noise levels"
        )


def call_counter(solver: Solver, name: str, model: Any = None) -> Callable[[Sequence[float]], int]:
    """A function: levels of one piece -> the model calls that the solver makes on it.

    Counted on the stand-in, once for each (number of steps, ends at 0). Beyond LONGEST_TRIED steps every further
    one costs what the last tried one did: a solver's start and end are special, its middle is not.

    Raises (on use):
        ValueError: the solver fails on such a piece.
    """
    known: dict[tuple[int, bool], int] = {}

    def tried(sigmas: Sequence[float]) -> int:
        key = (len(sigmas) - 1, sigmas[-1] == 0)
        if key not in known:
            known[key] = _try(solver, name, sigmas, StandIn(model), seed=1)[1]
        return known[key]

    def calls(sigmas: Sequence[float]) -> int:
        beyond = len(sigmas) - 1 - LONGEST_TRIED
        if beyond <= 0:
            return tried(sigmas)
        whole, shorter = tried(sigmas[beyond:]), tried(sigmas[beyond + 1 :])
        return whole + beyond * (whole - shorter)

    return calls


def calls_per_step(solver: Solver, name: str, model: Any = None) -> int:
    """Model calls of one step in the middle of a run (2 for Heun): the difference between 5 and 4 steps."""
    grid = _whole_range(model)
    count = call_counter(solver, name, model)
    return count(grid[2:8]) - count(grid[2:7])


def _whole_range(model: Any) -> list[float]:
    process = NoiseProcess.of(model) if model is not None else NoiseProcess()
    return [*(process.from_ve(level) for level in karras_ramp(12, 14.0, 0.02)), 0.0]


def _try(solver: Solver, name: str, sigmas: Sequence[float], model: StandIn, seed: int) -> tuple[Tensor, int]:
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)) * sigmas[0]
    grid = torch.tensor(sigmas, dtype=torch.float32)
    extra_args: dict[str, Any] = {"seed": seed, "model_options": {}, "denoise_mask": None}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):  # the caller's random numbers stay untouched
        torch.manual_seed(seed)
        try:
            result = solver(model, start, grid, extra_args=extra_args, callback=_ignore, disable=True)
        except Exception as error:
            raise UntriedSolverError(
                f"{name} could not be tried out on {len(sigmas) - 1} steps of a test denoiser, so it cannot run "
                f"inside restart: {type(error).__name__}: {error}"
            ) from error
    if not isinstance(result, Tensor) or result.shape != start.shape:
        shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise ValueError(f"{name} turned a picture of shape {SHAPE} into {shape}; it cannot run inside restart")
    return result, model.calls


def _ignore(info: Any) -> None:
    """A callback, because some samplers call it without asking whether there is one."""
