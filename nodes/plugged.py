"""A SAMPLER that the user plugs into another sampler node: the solver inside it, tried out first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from ..samplers.solver_probe import UntriedSolverError, check_deterministic
from . import host


def solver_in(sampler: Any) -> Callable[..., Tensor]:
    """The solver inside a SAMPLER, its options bound, with k-diffusion's signature.

    One that cannot be tried without its model is tried again when the model is there, before the first step.

    Raises:
        ValueError: not an ordinary SAMPLER (one function from noise to picture), so it cannot run a part of the
            way; or it adds noise of its own or chooses its own steps.
    """
    function = getattr(sampler, "sampler_function", None)
    if not callable(function) or type(sampler).sample is not type(host.sampler(function)).sample:
        raise ValueError(
            f"sampler is a {type(sampler).__name__}, which is not a plain function from one noise level to another; "
            "plug in one from KSamplerSelect or a Sampler... node"
        )
    options = dict(sampler.extra_options)

    def solve(model: Any, x: Tensor, sigmas: Tensor, **keywords: Any) -> Tensor:
        result: Tensor = function(model, x, sigmas, **keywords, **options)
        return result

    name = f"sampler ({getattr(function, '__name__', '?').removeprefix('sample_')})"
    solve.display_name = name  # type: ignore[attr-defined]
    with contextlib.suppress(UntriedSolverError):
        check_deterministic(solve, name, _nowhere())
    return solve


def _nowhere() -> Any:
    """What solvers look up on a model, without one: a plain Stable-Diffusion-like noise process."""

    def noise_scaling(sigma: Any, noise: Tensor, latent: Tensor, max_denoise: bool = False) -> Tensor:
        noised: Tensor = latent + sigma * noise
        return noised

    sampling = SimpleNamespace(noise_scale=1.0, noise_scaling=noise_scaling)
    core = SimpleNamespace(model_sampling=sampling)
    patcher = SimpleNamespace(model=core, get_model_object=lambda name: sampling)
    return SimpleNamespace(inner_model=SimpleNamespace(inner_model=core, model_patcher=patcher))
