"""A cheap stand-in for the denoiser near its own reference trajectories, learned from runs that were made anyway.

Along a reference trajectory D is known; off it, D(x, tau) = D_ref(tau) + J(tau) (x - x_ref(tau)), with J estimated
from secants. Every model call of a real run gives one: e_j = x_j - x_ref(tau_j), d_j = D_j - D_ref(tau_j), and
J e = a(tau) e + sum_j k(tau, tau_j) (e . e_j) alpha_j: a scalar part plus a Gaussian process over linear maps, whose
covariance is k(tau, tau') = exp(-(tau - tau')^2 / (2 * .8^2)); alpha solves (k (e_j . e_l) + .02) alpha = d - a e.
Broyden's idea (secants in place of derivatives) for a Jacobian that changes along the path; see methods, section 5.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .loops import Denoise, loop_for
from .tau import TauAxis

KERNEL_WIDTH = 0.8
SCALAR_WIDTH = 0.5
NUGGET = 0.02
TINY_SECANT = 1e-4  # of |x_ref|: below it rounding is most of a secant


class CubicPath:
    """Piecewise cubics in tau through values (rows, nodes, dims) with given slopes; tau descending."""

    def __init__(self, taus: Tensor, values: Tensor, slopes: Tensor):
        self.taus, self.rows = taus, len(values)
        self.data = torch.cat([values, slopes], dim=1).transpose(0, 1).flatten(1).contiguous()  # (2 nodes, rows dims)

    def to(self, dtype: torch.dtype) -> CubicPath:
        """A copy in another precision."""
        twin = copy(self)
        twin.taus, twin.data = self.taus.to(dtype), self.data.to(dtype)
        return twin

    def __call__(self, tau: Tensor) -> Tensor:
        """(grids,) -> (rows, grids, dims), differentiable in tau; straight on past the ends.

        Hermite's weights as a matrix: one product instead of a dozen passes over the trajectories.
        """
        count = len(self.taus)
        index = torch.searchsorted(-self.taus, -tau.detach(), right=True).clamp(1, count - 1) - 1
        gap = self.taus[index + 1] - self.taus[index]
        t = (tau - self.taus[index]) / gap
        u = 1 - t
        weights = torch.stack([u * u * (1 + 2 * t), t * t * (1 + 2 * u), t * u * u * gap, -t * t * u * gap], dim=1)
        places = torch.stack([index, index + 1, count + index, count + index + 1], dim=1)
        matrix = weights.new_zeros(len(tau), 2 * count).scatter(1, places, weights)
        return (matrix @ self.data).unflatten(1, (self.rows, -1)).transpose(0, 1)


def centred_slopes(taus: Tensor, values: Tensor) -> Tensor:
    """Catmull-Rom slopes of (rows, nodes, dims): the parabola's through three neighbours, one-sided at the ends."""
    gap = (taus[1:] - taus[:-1])[:, None]
    chord = (values[:, 1:] - values[:, :-1]) / gap
    inner = (gap[1:] * chord[:, :-1] + gap[:-1] * chord[:, 1:]) / (gap[1:] + gap[:-1])
    return torch.cat([chord[:, :1], inner, chord[:, -1:]], dim=1)


@dataclass(frozen=True)
class ReferencePath:
    """Reference trajectories in coefficients: noise, end (rows, dims); x and D as curves of tau."""

    axis: TauAxis
    noise: Tensor
    end: Tensor
    x: CubicPath
    denoised: CubicPath
    values: int

    @classmethod
    def of(
        cls, axis: TauAxis, sigmas: Tensor, noise: Tensor, x: Tensor, denoised: Tensor, end: Tensor, values: int
    ) -> ReferencePath:
        """sigmas (nodes,); x, denoised (rows, nodes, dims). x has the flow's own slope, D that of its neighbours."""
        taus = axis.taus(sigmas)
        slope = axis.speed(sigmas)[:, None] * (x - denoised)
        path = CubicPath(taus, x, slope)
        return cls(axis, noise, end, path, CubicPath(taus, denoised, centred_slopes(taus, denoised)), values)


class Surrogate:
    """The denoiser near some reference trajectories. Works in span coefficients on the CPU, float64."""

    def __init__(self, path: ReferencePath, taus: Tensor, x: Tensor, denoised: Tensor):
        """taus (pairs,), x and denoised (rows, pairs, dims): what was seen at each model call of the real runs."""
        self.path, self.taus = path, taus
        base = path.x(taus)
        e, d = x - base, denoised - path.denoised(taus)
        length = e.norm(dim=2, keepdim=True)
        usable = length > TINY_SECANT * base.norm(dim=2, keepdim=True)
        scale = torch.where(usable, 1 / length.clamp_min(1e-30), 0.0)
        self.e, d = e * scale, d * scale  # (rows, pairs, dims)
        self._along = (self.e * d).sum(dim=2).sum(dim=0)  # over the trajectories
        self._count = usable[..., 0].double().sum(dim=0)
        near = self._near(taus, KERNEL_WIDTH) * (self.e @ self.e.mT)
        near = near + NUGGET * torch.eye(len(taus), dtype=near.dtype)
        self.alpha = torch.linalg.solve(near, d - self._scalar(taus)[:, None] * self.e)

    def _near(self, tau: Tensor, width: float) -> Tensor:
        return torch.exp(-0.5 * ((tau[:, None] - self.taus[None]) / width) ** 2)

    def _scalar(self, tau: Tensor) -> Tensor:
        weight = self._near(tau, SCALAR_WIDTH) + 1e-9
        return (weight * self._along).sum(dim=1) / (weight * self._count).sum(dim=1).clamp_min(1e-12)

    def to(self, dtype: torch.dtype) -> Surrogate:
        """A copy in another precision: single is enough to search with, and twice as fast."""
        twin, path = copy(self), self.path
        twin.path = replace(
            path,
            noise=path.noise.to(dtype),
            end=path.end.to(dtype),
            x=path.x.to(dtype),
            denoised=path.denoised.to(dtype),
        )
        for name in ("taus", "e", "alpha", "_along", "_count"):
            setattr(twin, name, getattr(self, name).to(dtype))
        return twin

    def prepare(self, sigmas: Tensor) -> Denoise:
        """A denoiser at the levels (grids, levels): x (rows, grids, dims), number of the level -> D. Differentiable."""
        grids, levels = sigmas.shape
        tau = self.path.axis.taus(sigmas.t().flatten())  # level by level
        near = self._near(tau, KERNEL_WIDTH).unflatten(0, (levels, grids)).unbind()
        scalar = self._scalar(tau)[:, None].unflatten(0, (levels, grids)).unbind()
        base = self.path.x(tau).unflatten(1, (levels, grids)).unbind(dim=1)
        known = self.path.denoised(tau).unflatten(1, (levels, grids)).unbind(dim=1)

        def denoise(x: Tensor, i: int) -> Tensor:
            e = x - base[i]
            return torch.baddbmm(known[i] + scalar[i] * e, near[i] * (e @ self.e.mT), self.alpha)

        return denoise

    def end_errors(self, solver: str, sigmas: Tensor) -> Tensor:
        """Predicted end errors (root mean square over a sample's values): (rows, grids).

        sigmas: (grids, steps) float64, without the 0 at the end.
        """
        sigmas = sigmas.to(self.taus.dtype)
        x = self.path.noise[:, None] * sigmas[:, 0, None]
        end = loop_for(solver)(self.prepare, x, sigmas)
        return (end - self.path.end[:, None]).norm(dim=2) / self.path.values**0.5

    def mean_error(self, solver: str, sigmas: Tensor) -> Tensor:
        """Mean over the trajectories of end_errors: (grids,)."""
        return self.end_errors(solver, sigmas).mean(dim=0)
