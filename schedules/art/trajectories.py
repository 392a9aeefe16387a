"""The model along its own sampling paths: counted evaluations, reference trajectories, error propagation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...samplers.evaluation import PairEvaluator
from ...samplers.noise_process import NoiseProcess
from ...samplers.solvers import CALLS_PER_STEP, resolve_solver
from .tau import TauAxis

if TYPE_CHECKING:
    from .ranks import Ranks


class Field:
    """A denoiser together with its starting noise, one trajectory a row, counting what it spends.

    Rows of `extra_args` tensors whose first size is the number of trajectories belong to the trajectories. One
    evaluation is one sample sent through the model once. After out-of-memory the batch is halved and stays so.
    """

    def __init__(
        self,
        model: Any,
        noise: Tensor,
        extra_args: Mapping[str, Any] | None,
        on_spent: Callable[[int], None],
        ranks: Ranks | None = None,
    ):
        """ranks: the processes that share each batch (see ranks.py); None: this one alone."""
        self.model, self.noise, self.extra_args = model, noise, dict(extra_args or {})
        self.process = NoiseProcess.of(model)
        self.on_spent, self.ranks = on_spent, ranks
        self.max_batch: int | None = None
        self.seconds = 0.0  # spent in the model so far
        self.spent = 0  # evaluations so far

    def start(self, rows: Sequence[int], sigma: float) -> Tensor:
        """(len(rows), ...) pure noise at level sigma."""
        return self.noise[list(rows)] * (sigma * self.process.noise_scale)

    def solve(self, solver: str, rows: Sequence[int], sigmas: Tensor) -> Tensor:
        """End points of the host's solver on a grid, from the rows' noise: (len(rows), ...)."""
        model = FieldRows(self, rows)
        grid = sigmas.to(self.noise.device, self.noise.dtype)
        return resolve_solver(solver)(model, self.start(rows, float(sigmas[0])), grid, disable=True)


class FieldRows:
    """The field's denoiser for some rows, with k-diffusion's signature; a batch may hold the rows several times."""

    def __init__(self, field: Field, rows: Sequence[int]):
        self.field, self.rows = field, list(rows)
        count = field.noise.shape[0]
        self.args = {
            k: v[self.rows] if isinstance(v, Tensor) and v.ndim and v.shape[0] == count else v
            for k, v in field.extra_args.items()
        }
        # What a solver reads off its model must be found here too.
        self.inner_model = field.model

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        """x: (n len(rows), ...), level-major; sigma: (n len(rows),)."""
        levels = x.shape[0] // len(self.rows)
        shape = (levels, len(self.rows))
        return self.evaluate(x.unflatten(0, shape), sigma.expand(x.shape[0]).reshape(shape)).flatten(0, 1)

    def evaluate(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised at several levels: x (levels, rows, ...), sigma (levels, rows)."""
        began = time.monotonic()
        if self.field.ranks is not None:
            out = self._over_ranks(x, sigma)
        else:
            evaluator = PairEvaluator(self.field.model, self.args, max_batch=self.field.max_batch, split_rows=True)
            out = evaluator.evaluate(x, sigma)
            self.field.max_batch = evaluator.max_batch
        finite = torch.isfinite(out).flatten(2).all(-1)
        if not bool(finite.all()):
            raise ValueError(
                f"the model returned NaN or inf at sigma {float(sigma[~finite].max()):g}; a schedule cannot be learned "
                "from it (half precision overflow or a broken checkpoint are the usual causes)"
            )
        self.field.seconds += time.monotonic() - began
        self.field.spent += sigma.numel()
        self.field.on_spent(sigma.numel())
        return out

    def _over_ranks(self, x: Tensor, sigma: Tensor) -> Tensor:
        from .ranks import Job

        field = self.field
        assert field.ranks is not None
        job = Job(x.flatten(0, 1), sigma.flatten(), torch.tensor(self.rows).repeat(x.shape[0]))
        return field.ranks.evaluate(field.model, field.extra_args, job, field.noise.shape[0]).unflatten(0, x.shape[:2])


@dataclass(frozen=True)
class Reference:
    """Fine solutions: sigmas (nodes,) float64 descending; x, denoised (nodes, rows, ...); end (rows, ...)."""

    rows: tuple[int, ...]
    sigmas: Tensor
    x: Tensor
    denoised: Tensor
    end: Tensor

    def only(self, columns: Sequence[int]) -> Reference:
        """The reference of some of its trajectories."""
        rows = tuple(self.rows[i] for i in columns)
        return Reference(rows, self.sigmas, self.x[:, columns], self.denoised[:, columns], self.end[columns])


def end_errors(end: Tensor, reference: Tensor) -> list[float]:
    """End error of each trajectory: root mean square over a sample's values of end - reference (rows, ...)."""
    difference = (end - reference).flatten(1).double()
    return [float(v) for v in difference.square().mean(1).sqrt()]


def run_cost(solver: str, steps: int, rows: int) -> int:
    """Evaluations of one run: the last step, to sigma 0, takes one call with every solver."""
    return rows * (CALLS_PER_STEP.get(solver, 2) * (steps - 1) + 1)


def log_uniform_nodes(nodes: int, sigma_min: float, sigma_max: float, process: NoiseProcess) -> Tensor:
    """Nodes uniform in tau (see tau.py): (nodes,) float64, descending from sigma_max to sigma_min."""
    return TauAxis.of(process, sigma_min, sigma_max).nodes(nodes)


def solve_reference(field: Field, rows: Sequence[int], nodes: Tensor) -> Reference:
    """Third-order exponential Adams march on fine nodes and then to 0, keeping every state.

    DPM++ 2M (Lu et al. 2022, arXiv 2211.01095) with one more past value: D is the parabola in log sigma through
    the last three nodes, integrated exactly (Hochbruck & Ostermann 2010, "Exponential integrators", sec. 2.5).
    One evaluation a node and row.
    """
    model = FieldRows(field, rows)
    x = field.start(rows, float(nodes[0]))
    states, outputs = [], []
    past: list[tuple[Tensor, float]] = []  # (D, log sigma), newest first
    levels = [float(v) for v in nodes] + [0.0]
    for s, q in pairwise(levels):
        denoised = model.evaluate(x[None], x.new_full((1, len(rows)), s))[0]
        states.append(x)
        outputs.append(denoised)
        if q == 0:
            x = denoised
            break
        past = [(denoised, math.log(s)), *past[:2]]
        x = (q / s) * x
        for (value, _), weight in zip(past, adams_weights([t for _, t in past], math.log(q)), strict=True):
            x = x + weight * value
    return Reference(tuple(rows), nodes, torch.stack(states), torch.stack(outputs), x)


def adams_weights(past: Sequence[float], wanted: float) -> list[float]:
    """Weights of the last one to three D (at log sigmas `past`, newest first) in the exact integral to `wanted`.

    x(q) = (q / s) x(s) + sum_k weight_k D_k, with D the polynomial through them; the weights sum to 1 - q / s.
    """
    h = past[0] - wanted
    m0 = -math.expm1(-h)  # m_k = integral of theta^k e^(theta - h) over 0..h, theta = -log sigma from the newest
    m1 = h - m0
    if len(past) == 1:
        return [m0]
    back = past[1] - past[0]
    if len(past) == 2:
        return [m0 + m1 / back, -m1 / back]
    farther = past[2] - past[0]
    bend = (h * h - 2 * m1 + back * m1) / farther  # Newton's theta (theta + back), over the outer distance
    gap = farther - back
    return [m0 + m1 / back + bend / back, -m1 / back - bend / back - bend / gap, bend / gap]


def propagate(field: Field, reference: Reference, sources: Sequence[int], directions: Tensor, stride: int) -> Tensor:
    """How the flow carries small errors to sigma 0: the size of J(0 <- sigma_j) v_j for unit directions v_j.

    The perturbed paths are marched along the reference (exponential multistep on every `stride`-th node), the
    Jacobian's action taken as a difference of denoised values; no gradients.

    Args:
        sources: node indices j, ascending. directions: (len(sources), rows, ...), any length.

    Returns:
        (len(sources), rows) gains |J v| / |v|.
    """
    model = FieldRows(field, reference.rows)
    nodes, last = reference.sigmas, len(reference.sigmas) - 1
    # March on multiples of the stride counted from the end, joined by the sources themselves.
    march = sorted(set(range(last, -1, -stride)) | set(sources))
    v = _unit(directions)
    gain = torch.zeros(directions.shape[:2], dtype=torch.float64, device=v.device)
    size = v[0, 0].numel() ** 0.5
    active: list[int] = []
    before: dict[int, tuple[Tensor, float]] = {}
    for position, k in enumerate(march):
        active += [i for i, j in enumerate(sources) if j == k]
        if not active:
            continue
        s = float(nodes[k])
        q = float(nodes[march[position + 1]]) if position + 1 < len(march) else 0.0
        # Keep the perturbation at a twentieth of the noise level: small, yet far above rounding.
        vs = v[active]
        norm = vs.flatten(2).norm(dim=2)
        step = (0.05 * s * size / norm.clamp_min(1e-30)).reshape(*norm.shape, *[1] * (vs.ndim - 2))
        x = reference.x[k] + step * vs
        change = (model.evaluate(x, x.new_full(x.shape[:2], s)) - reference.denoised[k]) / step
        for row, i in enumerate(active):
            guess = change[row]
            h = math.log(s / q) if q else 0.0
            if q and i in before:
                guess = guess + 0.5 * h / before[i][1] * (guess - before[i][0])
            before[i] = (change[row], h)
            v[i] = (q / s) * v[i] + (1 - q / s) * guess
    gain = v.flatten(2).norm(dim=2).double()
    return gain


def _unit(directions: Tensor) -> Tensor:
    norm = directions.flatten(2).norm(dim=2).clamp_min(1e-30)
    return directions / norm.reshape(*norm.shape, *[1] * (directions.ndim - 2))
