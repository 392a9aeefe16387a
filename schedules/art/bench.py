"""The bench a refinement works on: reference trajectories, and every real run's model calls kept as secants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...samplers.solvers import resolve_solver
from .direct import Curvature, curvature_along
from .span import TrajectorySpan
from .surrogate import ReferencePath, Surrogate
from .tau import TauAxis, discrete_levels
from .trajectories import Field, FieldRows, Reference, end_errors, solve_reference

GAIN_ROWS, GAIN_STRIDES = 3, (16, 4)  # trajectories that gains are measured on; nodes between sources, between steps
MAX_PAIRS = 160  # secants a surrogate is made of: they set what it costs


@dataclass(frozen=True)
class Run:
    """A grid that was really run. sigmas: (steps + 1,) float64, ending in 0. errors: end error a trajectory."""

    solver: str
    sigmas: Tensor
    errors: tuple[float, ...]
    name: str = ""

    @property
    def steps(self) -> int:
        """Steps it takes."""
        return len(self.sigmas) - 1

    @property
    def mean(self) -> float:
        """Mean end error."""
        return sum(self.errors) / len(self.errors)


class Bench:
    """Reference trajectories of a field, and what every run on them has taught.

    One bench serves any number of solvers and step counts: a secant says something about the model, not about the
    solver that met it. Costs `nodes` evaluations a row when made, and then what its runs cost.
    """

    def __init__(
        self,
        field: Field,
        rows: Sequence[int],
        sigma_min: float,
        sigma_max: float,
        nodes: int = 64,
        *,
        projected: bool = True,
    ):
        self.field, self.rows = field, list(rows)
        self.axis = TauAxis.of(field.process, sigma_min, sigma_max, discrete_levels(field.model))
        sigmas = self.axis.nodes(nodes)
        if self.axis.levels is not None and len(self.axis.levels) > nodes:
            sigmas = self.axis.levels[torch.unique(self.axis.nearest(sigmas)).flip(0)]
        reference = solve_reference(field, self.rows, sigmas)
        self.ends = reference.end
        self._reference: Reference | None = reference
        noise = field.start(self.rows, 1.0)
        self.span = TrajectorySpan(len(self.rows), tuple(noise.shape[1:]), noise.dtype, exact=not projected)
        self.runs: list[Run] = []
        self._pairs: list[list[int]] = []  # of each run: where its secants are
        self._taus = torch.zeros(0, dtype=torch.float64)
        with torch.inference_mode(False):
            first = self.span.flat(torch.cat([noise[None], reference.denoised]))
            self.span.grow(first)
            known = self.span.coefficients(torch.cat([first, self.span.flat(reference.x)], dim=1))
            self._known = known
            self.nodes = sigmas.clone()
            self._x = self._denoised = known[:, :0]

    @property
    def path(self) -> ReferencePath:
        """The reference in today's coefficients."""
        known, count = self.span.pad(self._known), len(self.nodes)
        return ReferencePath.of(
            self.axis, self.nodes, known[:, 0], known[:, 1 + count :], known[:, 1 : 1 + count], known[:, count],
            self.span.values,
        )  # fmt: skip

    def run(self, solver: str, sigmas: Tensor, name: str = "") -> Run:
        """Run a grid for real on all rows, keep its secants and its errors.

        sigmas: (steps + 1,), descending to 0, the first at most sigma_max.
        """
        recorder = _Recorder(self.field, self.rows)
        grid = sigmas.to(self.field.noise.device, self.field.noise.dtype)
        end = resolve_solver(solver)(recorder, self.field.start(self.rows, float(grid[0])), grid, disable=True)
        errors = tuple(end_errors(end, self.ends))
        with torch.inference_mode(False):
            self._learn(recorder)
        run = Run(solver, sigmas.detach().double().cpu().clone(), errors, name)
        self.runs.append(run)
        return run

    def _learn(self, recorder: _Recorder) -> None:
        inside = [i for i, s in enumerate(recorder.sigmas) if self.axis.sigma_min * 0.5 <= s]
        outputs = self.span.flat(torch.stack([recorder.denoised[i] for i in inside]))
        self.span.grow(outputs)
        states = self.span.flat(torch.stack([recorder.x[i] for i in inside]))
        levels = torch.tensor([recorder.sigmas[i] for i in inside], dtype=torch.float64)
        seen = len(self._taus)
        self._pairs.append(list(range(seen, seen + len(inside))))
        self._taus = torch.cat([self._taus, self.axis.taus(levels.clamp_max(self.axis.sigma_max))])
        self._x = torch.cat([self.span.pad(self._x), self.span.coefficients(states)], dim=1)
        self._denoised = torch.cat([self.span.pad(self._denoised), self.span.coefficients(outputs)], dim=1)

    def surrogate(self, solver: str = "", steps: int = 0) -> Surrogate:
        """The stand-in learned from the runs so far; of more than MAX_PAIRS secants, those likeliest of use.

        Runs with this solver and step count come first, then better ones and later ones.
        """
        order = sorted(
            range(len(self.runs)),
            key=lambda i: (self.runs[i].solver != solver or self.runs[i].steps != steps, self.runs[i].mean, -i),
        )
        chosen: list[int] = []
        for i in order:
            pairs = self._pairs[i]
            if not chosen or len(chosen) + len(pairs) <= MAX_PAIRS:
                chosen += pairs
        chosen.sort()
        with torch.inference_mode(False):
            x, denoised = self.span.pad(self._x), self.span.pad(self._denoised)
            return Surrogate(self.path, self._taus[chosen], x[:, chosen], denoised[:, chosen])

    def best(self, solver: str, steps: int) -> Run:
        """The measured run with the least mean error at this step count."""
        return min((r for r in self.runs if r.solver == solver and r.steps == steps), key=lambda r: r.mean)

    def curvature(self) -> Curvature:
        """What the direct method's densities are made of (direct.py), with the gains of GAIN_ROWS trajectories.

        To be asked once: the full reference is then let go.
        """
        assert self._reference is not None
        reference, self._reference = self._reference, None
        return curvature_along(self.field, reference, GAIN_ROWS, GAIN_STRIDES)


class _Recorder(FieldRows):
    """Keeps what the model was asked and what it said, on the CPU."""

    def __init__(self, field: Field, rows: Sequence[int]):
        super().__init__(field, rows)
        self.sigmas: list[float] = []
        self.x: list[Tensor] = []
        self.denoised: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        out = super().__call__(x, sigma, **kwargs)
        self.sigmas.append(float(sigma.flatten()[0]))
        self.x.append(x.detach().cpu())
        self.denoised.append(out.detach().cpu())
        return out
