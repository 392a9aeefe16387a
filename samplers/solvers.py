"""The host's own solvers, by name.

Inside ComfyUI the host is comfy.k_diffusion.sampling (set by the registry); elsewhere k_diffusion.sampling.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

from torch import Tensor

Solver = Callable[..., Tensor]

# Solvers that are deterministic and take (model, x, sigmas, ...), with the number of model calls of one step.
CALLS_PER_STEP = {
    "euler": 1,
    "heun": 2,
    "dpm_2": 2,
    "dpmpp_2m": 1,
    "lms": 1,
    "ipndm": 1,
    "ipndm_v": 1,
    "deis": 1,
    "res_multistep": 1,
    "gradient_estimation": 1,
    "heunpp2": 3,
    "exp_heun_2_x0": 2,
}

_host: dict[str, Any] = {}


def set_host(namespace: Any) -> None:
    """Make `namespace` (a module or object with sample_<name> functions) the host of resolve_solver."""
    _host["namespace"] = namespace


def host_namespace() -> Any:
    """The host's sampling module.

    Raises:
        ModuleNotFoundError: no host was registered and k-diffusion is not installed.
    """
    if "namespace" not in _host:
        _host["namespace"] = _load_k_diffusion_sampling()
    return _host["namespace"]


def available_solvers() -> list[str]:
    """Names accepted by resolve_solver on this host."""
    host = host_namespace()
    return [name for name in CALLS_PER_STEP if hasattr(host, f"sample_{name}")]


def resolve_solver(solver: str | Solver) -> Solver:
    """The host's sample_<solver> function; a callable is returned as it is.

    Raises:
        ValueError: the name is unknown to the host, or stochastic (noise would be added twice).
    """
    if callable(solver):
        return solver
    if solver not in available_solvers():
        raise ValueError(f"solver is {solver!r}; allowed: {', '.join(available_solvers())}")
    found: Solver = getattr(host_namespace(), f"sample_{solver}")
    return found


def _load_k_diffusion_sampling() -> types.ModuleType:
    """Import k_diffusion.sampling without the package's __init__, which pulls in training dependencies."""
    if "k_diffusion.sampling" in sys.modules:
        return sys.modules["k_diffusion.sampling"]
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "k-diffusion is not installed; outside ComfyUI the samplers run on its solvers: "
            "pip install 'restart-art[demo]'"
        )
    # A private package on the same folder: the real `k_diffusion` stays importable by others.
    name = f"{__package__}._k_diffusion"
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    utils = types.ModuleType(f"{name}.utils")
    utils.append_dims = _append_dims  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    sys.modules[name], sys.modules[utils.__name__] = package, utils
    return importlib.import_module(f"{name}.sampling")


def _append_dims(x: Tensor, target_dims: int) -> Tensor:
    return x[(...,) + (None,) * (target_dims - x.ndim)]
