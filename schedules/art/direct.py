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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import interp1d
from torch import Tensor

from ..stock import Schedule
from .trajectories import Field, Reference, log_uniform_nodes, propagate, solve_reference

NODES = 40  # of a reference trajectory
STRIDES = (8, 2)  # a trajectory propagates every 8th node's error, on every 2nd node

# Which local error a solver leaves. Euler: one derivative of D. The others interpolate or average D and leave its
# second derivative in lambda = -log sigma too; multistep ones, whose first step is an Euler step, want it short.
OBJECTIVES = {
    "euler": "first order",
    "heun": "second order",
    "dpm_2": "second order",
    "heunpp2": "second order",
    "exp_heun_2_x0": "second order",
    "dpmpp_2m": "second order multistep",
    "res_multistep": "second order multistep",
    "lms": "second order multistep",
    "ipndm": "second order multistep",
    "ipndm_v": "second order multistep",
    "deis": "second order multistep",
    "gradient_estimation": "second order multistep",
}


class Rule(NamedTuple):
    """A node density (E[size gain^power])^exponent, and how many of its increments a grid leaves out at the top.

    derivatives: of D in lambda that are the size: 1, |D'|; 2, |D'| + |D''|. To leading order a solver of order p
    wants derivatives p, gain 1 and exponent 1 / (p + 1); ART's own objective is (1, 0, 1/2) for every solver.
    """

    derivatives: int
    gain: float
    exponent: float
    skip: float = 0.0


# The grids to try for each objective, likeliest first. Leading order is far from true at some ten steps: these did
# best of 64 rules, alone and together, over 8, 12 and 20 steps on exact mixtures (2-D, 16-D, 256-D) and both tiny
# checkpoints. Heun wants first-order curvature rather than its own local error. The gain is that of small errors, and
# where few steps meet a flow that decides between modes errors are not small: its root was best for Euler on nearly
# every mixture, all of it on the tiny checkpoints.
# Starting somewhat below sigma_max (x = sigma_0 noise there too, as the stock ddim_uniform does) shortens every Euler
# step and costs less than it gains; a multistep solver loses by it.
FULL_GAIN = "art_propagated"
VARIANTS = {
    "first order": {
        "art": Rule(1, 0.5, 1 / 2, 0.6),
        FULL_GAIN: Rule(1, 1.0, 0.65, 0.6),
        "art_raw": Rule(1, 0.0, 1 / 2, 0.6),
        "art_from_top": Rule(1, 0.5, 1 / 2),
    },
    "second order": {
        "art": Rule(1, 0.0, 1 / 2),
        "art_late": Rule(1, 0.0, 0.4, 0.3),
        "art_quarter": Rule(1, 0.25, 0.4),
    },
    "second order multistep": {
        "art": Rule(2, 0.5, 1 / 3),
        FULL_GAIN: Rule(1, 1.0, 1 / 3),
        "art_raw": Rule(1, 0.0, 1 / 2),
        "art_full": Rule(2, 1.0, 1 / 3),
    },
}


@dataclass(frozen=True)
class Density:
    """Node density over log sigma: nodes (n,) descending sigmas and values (n,) > 0, both float64 arrays."""

    sigmas: np.ndarray
    values: np.ndarray

    def grid(self, steps: int, skip: float = 0.0) -> list[float]:
        """`steps` descending sigmas at equal increments of the integrated density.

        The first is `skip` increments below the top: 0 is the first node itself. Below the last node the density is
        constant in sigma, and 0 is the end of the last step. Where a node would fall below the last one of `sigmas`,
        the nodes end there instead.
        """
        t, total, end = self._integral()
        wanted = (np.arange(steps) + skip) / (steps + skip) * end
        if wanted[-1] > total[-1]:
            wanted = np.linspace(min(wanted[0], 0.9 * total[-1]), total[-1], steps) if steps > 1 else wanted[:1] * 0
        return [float(v) for v in np.exp(-np.interp(wanted, total, t))]

    def foreseen(self, grid: Tensor, order: int) -> float:
        """End error of a descending grid that ends in 0, up to a factor: the sum of increment^(order + 1).

        To leading order a step of a method of this order adds as much (the gain included, where the density has it
        in full): what tells likely grids from hopeless ones without a model call.
        """
        t, total, end = self._integral()
        passed = np.interp(-np.log(grid[:-1].double().cpu().numpy()), t, total)
        return float((np.diff(np.append(passed, end)) ** (order + 1)).sum())

    def _integral(self) -> tuple[np.ndarray, np.ndarray, float]:
        """-log sigma on a fine axis, the density integrated up to there, and its whole up to sigma 0."""
        coarse = -np.log(self.sigmas)
        t = np.linspace(coarse[0], coarse[-1], 40 * len(coarse))
        density = np.exp(np.interp(t, coarse, np.log(self.values)))  # a density is nearly a power of sigma
        total = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(t))])
        return t, total, float(total[-1] + self.values[-1])


@dataclass(frozen=True)
class Curvature:
    """What fine trajectories tell of local errors and of where the flow carries them.

    sigmas: (nodes,) of the reference, descending. middle: (nodes - 1,) lambda = -log sigma between them. sizes:
    {derivatives: (nodes - 1, rows)} (see Rule). gain: (nodes - 1, rows), how much an error has grown at sigma 0.
    """

    sigmas: Tensor
    middle: Tensor
    sizes: Mapping[int, Tensor]
    gain: Tensor

    def density(self, derivatives: int, gain: float, exponent: float) -> Density:
        """The density of a rule (see Rule). Raises ValueError where the model's output overflows."""
        # Euler: d sigma = sigma |d log sigma|, so sqrt(E|J x''|) sigma = sqrt(E|J D'|).
        weight = (self.sizes[derivatives] * self.gain**gain).mean(1).numpy() ** exponent
        lam = -self.sigmas.log()
        return Density(self.sigmas.cpu().numpy(), _smooth(weight, self.middle.numpy(), lam.numpy()))

    def leading(self, order: int) -> Density:
        """The density that is optimal to leading order for a solver of this order, 1 or 2."""
        return self.density(order, 1.0, 1 / (order + 1))


def measure_curvature(field: Field, rows: list[int], sigma_min: float, sigma_max: float) -> Curvature:
    """Solve some trajectories finely and measure them.

    Cost: NODES evaluations a trajectory for the reference and about twice that for the propagation.
    """
    reference = solve_reference(field, rows, log_uniform_nodes(NODES, sigma_min, sigma_max, field.process))
    return curvature_along(field, reference)


def curvature_along(
    field: Field, reference: Reference, gain_rows: int = 0, strides: tuple[int, int] = STRIDES
) -> Curvature:
    """The curvature along fine trajectories. Cost: the propagation of errors.

    gain_rows: how many of the trajectories propagate errors, the others taking their geometric mean; 0: all do.
    strides: nodes between the sources of a trajectory, and between the steps of the march.
    """
    lam = -reference.sigmas.log()
    first, middle = _slope(reference.denoised, lam)  # D'_lambda, and x''_sigma = D'_lambda / sigma^2
    second, inner = _slope(first, middle)
    size, rows = _size(first), range(first.shape[1])[: gain_rows or None]
    gain = _measure_gains(field, reference.only(rows), first[:, rows], lam, middle, strides)
    if len(rows) < first.shape[1]:
        gain = gain.log().mean(1, keepdim=True).exp()
    return Curvature(reference.sigmas, middle, {1: size, 2: size + _interpolate(_size(second), inner, middle)}, gain)


def order_of(solver: str) -> int:
    """Order of a solver's error: 1 or 2."""
    return 1 if OBJECTIVES[solver] == "first order" else 2


def density_candidates(curvature: Curvature, solver: str, free_start: bool) -> dict[str, Schedule]:
    """The schedules to try for a solver (VARIANTS), likeliest first. free_start False: all start at the top."""
    rules: dict[str, Rule] = {}
    for name, rule in VARIANTS[OBJECTIVES[solver]].items():
        allowed = rule if free_start else rule._replace(skip=0.0)
        if allowed not in rules.values():
            rules[name] = allowed
    return {name: _schedule(curvature.density(*rule[:3]), rule.skip) for name, rule in rules.items()}


def foresee(
    curvature: Curvature, solver: str, favoured: Callable[[str], bool]
) -> Callable[[int, Mapping[str, Tensor]], dict[str, float]]:
    """What a pilot should rather run (pilot.Likely): the favoured by name, the others as the density foresees."""
    order = order_of(solver)
    density = curvature.leading(order)

    def likely(_: int, grids: Mapping[str, Tensor]) -> dict[str, float]:
        foreseen = {name: density.foreseen(grid, order) for name, grid in grids.items()}
        least = min(foreseen.values(), default=0.0)
        return {name: least if favoured(name) else value for name, value in foreseen.items()}

    return likely


def _schedule(density: Density, skip: float) -> Schedule:
    return lambda n: torch.tensor([*density.grid(n, skip), 0.0], dtype=torch.float32)


def _slope(values: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
    """d/d lambda in the middle between neighbours, and those middles."""
    step = lam.diff().to(values.device, values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    return values.diff(dim=0) / step, 0.5 * (lam[1:] + lam[:-1])


def _size(values: Tensor) -> Tensor:
    """(nodes, rows) float64 on the CPU: the length of each vector."""
    return values.flatten(2).norm(dim=2).double().cpu()


def _measure_gains(
    field: Field, reference: Reference, slope: Tensor, lam: Tensor, middle: Tensor, strides: tuple[int, int]
) -> Tensor:
    """Gain at every middle and trajectory, (nodes - 1, rows) float64 on the CPU.

    Each trajectory propagates only the errors of nodes a stride apart, neighbours starting at different nodes: more
    trajectories for the same cost, and what matters is the mean over them.
    """
    apart, march = strides
    nodes, count = len(lam), apart // march
    gains = torch.ones(slope.shape[:2], dtype=torch.float64)
    for group in range(count):
        rows = list(range(group, slope.shape[1], count))
        if rows:
            sources = sorted({*range(group * march, nodes, apart), nodes - 1})
            directions = slope[[min(j, nodes - 2) for j in sources]][:, rows]
            gain = propagate(field, reference.only(rows), sources, directions, march)
            gains[:, rows] = _interpolate(gain.cpu(), lam[sources], middle)
    return gains


def _interpolate(values: Tensor, at: Tensor, wanted: Tensor) -> Tensor:
    """Positive (nodes, rows) interpolated along the first axis, straight in log value, past the ends too."""
    line = interp1d(at.numpy(), np.log(values.numpy().clip(1e-30)), axis=0, fill_value="extrapolate")
    return torch.tensor(np.exp(line(wanted.numpy())))


def _smooth(values: np.ndarray, lam: np.ndarray, wanted: np.ndarray, width: float = 0.15) -> np.ndarray:
    """Local straight lines in log value over lambda (Gaussian weights): a few trajectories' differences are rough.

    Exact for powers of sigma, past the ends too. Raises ValueError for values that are not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("the measured curvature is not finite; the model's output overflows")
    logs = np.log(np.maximum(values, 1e-6 * max(float(values.max()), 1e-30)))
    offset = lam[None] - wanted[:, None]
    weight = np.exp(-0.5 * (offset / width) ** 2)
    s0, s1, s2 = (np.sum(weight * offset**k, axis=1) for k in range(3))
    m0, m1 = (np.sum(weight * offset**k * logs[None], axis=1) for k in range(2))
    line: np.ndarray = (s2 * m0 - s1 * m1) / (s0 * s2 - s1 * s1)
    return np.exp(line)
