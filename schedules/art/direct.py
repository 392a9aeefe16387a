"""Direct fit: the node density that is optimal to leading order, from measured curvature and its propagation.

One Euler step of size h leaves the error 0.5 h^2 |x''| (x'' = d^2x/dsigma^2 along the flow; the integrand |Q| of
ART, Huang, Tang, Zhou 2026, arXiv 2601.18681), which the flow then carries to sigma = 0 with a gain |J|. A grid
shared by all trajectories that minimises the sum has nodes at equal increments of
    L(sigma) = integral of (E |J x''|)^(1/2) dsigma,
and a method whose step leaves h^(p+1) G has them at equal increments of integral G^(1/(p+1)).
For Gaussian data N(0, c^2) this is exactly sigma_i = c tan(uniform in arctan(sigma / c)) with the gain, and
h ~ (sigma^2 + c^2)^(3/4) without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...samplers.grid import check_choice
from .trajectories import Field, Reference, log_uniform_nodes, propagate, solve_reference

NODES = 40  # of a reference trajectory
SOURCE_STRIDE = 4  # every 4th node's error is propagated
MARCH_STRIDE = 2

# Which local error a solver leaves. Euler: one derivative of D. The others interpolate or average D and leave its
# second derivative in lambda = -log sigma too.
OBJECTIVES = {
    "euler": "first order",
    "ddim": "first order",
    "heun": "second order",
    "dpm_2": "second order",
    "heunpp2": "second order",
    "exp_heun_2_x0": "second order",
    "randomized_midpoint": "second order",
    "parallel_midpoint": "second order",
    "restart": "second order",
    "dpmpp_2m": "second order",
    "res_multistep": "second order",
    "lms": "second order",
    "ipndm": "second order",
    "ipndm_v": "second order",
    "deis": "second order",
    "gradient_estimation": "second order",
}


@dataclass(frozen=True)
class Density:
    """Node density over log sigma: nodes (n,) descending sigmas and values (n,) > 0, both float64 arrays."""

    sigmas: np.ndarray
    values: np.ndarray

    def grid(self, steps: int) -> list[float]:
        """`steps` descending sigmas from the first node at equal increments of the integrated density.

        Below the last node the density is constant in sigma, and 0 is the end of the last step. Where a node
        would fall below the last one of `sigmas`, the nodes end there instead.
        """
        t = -np.log(self.sigmas)
        total = np.concatenate([[0.0], np.cumsum(0.5 * (self.values[1:] + self.values[:-1]) * np.diff(t))])
        wanted = np.arange(steps) / steps * (total[-1] + self.values[-1])
        if wanted[-1] > total[-1]:
            wanted = np.linspace(0.0, total[-1], steps) if steps > 1 else np.zeros(1)
        return [float(v) for v in np.exp(-np.interp(wanted, total, t))]


def fit_densities(
    field: Field, rows: list[int], sigma_min: float, sigma_max: float, solver: str
) -> tuple[dict[str, Density], Reference]:
    """Measure the densities on some trajectories.

    Cost: NODES evaluations a trajectory for the reference and about 4 times that for the propagation.

    Returns:
        {"art": density with error propagation, "art_raw": without} for the solver's kind of local error, and the
        reference.

    Raises:
        ValueError: the solver's local error is not known; names the allowed ones.
    """
    check_choice("solver", solver, OBJECTIVES)
    nodes = log_uniform_nodes(NODES, sigma_min, sigma_max, field.process)
    reference = solve_reference(field, rows, nodes)
    lam = -nodes.log()
    first = _derivative(reference.denoised, lam)  # D'_lambda, and x''_sigma = D'_lambda / sigma^2
    second = _derivative(first, lam)
    sources = sorted({*range(0, NODES, SOURCE_STRIDE), NODES - 1})
    gain = propagate(field, reference, sources, first[sources], MARCH_STRIDE)
    gains = _fill(gain, lam[sources], lam)
    size1, size2 = (v.flatten(2).norm(dim=2).double().cpu() for v in (first, second))
    found = {}
    for name, g in (("art", gains), ("art_raw", torch.ones_like(gains))):
        if OBJECTIVES[solver] == "first order":
            # d sigma = sigma |d log sigma|: sqrt(E|J x''|) sigma = sqrt(E|J D'|)
            weight = (size1 * g).mean(1).sqrt()
        else:
            weight = ((size1 * g).mean(1) + (size2 * g).mean(1)) ** (1 / 3)
        found[name] = Density(nodes.numpy(), _smooth(weight.numpy(), lam.numpy()))
    return found, reference


def _derivative(values: Tensor, lam: Tensor) -> Tensor:
    """d/d lambda along the first axis, second order on uneven nodes."""
    return torch.gradient(values, spacing=(lam.to(values.device, values.dtype),), dim=0)[0]


def _fill(gain: Tensor, at: Tensor, lam: Tensor) -> Tensor:
    """Gains (sources, rows) interpolated to all nodes, straight in log gain: (nodes, rows) float64 on the CPU."""
    logs = np.log(gain.cpu().numpy().clip(1e-12))
    columns = [np.interp(lam.numpy(), at.numpy(), logs[:, i]) for i in range(logs.shape[1])]
    return torch.tensor(np.exp(np.stack(columns, axis=1)))


def _smooth(values: np.ndarray, lam: np.ndarray, width: float = 0.2) -> np.ndarray:
    """Gaussian average in lambda; differences of a few trajectories are rough. Also keeps the density positive."""
    kernel = np.exp(-0.5 * ((lam[:, None] - lam[None]) / width) ** 2)
    smooth: np.ndarray = kernel @ values / kernel.sum(1)
    floor = 1e-6 * max(float(smooth.max()), 1e-30)
    if not math.isfinite(floor):
        raise ValueError("the measured curvature is not finite; the model's output overflows")
    return np.maximum(smooth, floor)
