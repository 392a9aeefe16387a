"""Restart sampling (Xu, Deng, Cheng, Tian, Liu, Jaakkola 2023, "Restart Sampling for Improving Generative
Processes", arXiv 2306.14878; settings of the official code)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .grid import check_count, check_range, check_sigmas, karras_ramp
from .noise import NoiseSampler, gaussian_noise
from .noise_process import NoiseProcess
from .solvers import Solver, resolve_solver

log = logging.getLogger(__name__)

# A node this close to t_min (ratio) stands in for it, as in the official code, whose published settings all
# have one within 1.43; a farther one would restart at another level, so t_min is then inserted.
SNAP_RATIO = 1.5


@dataclass(frozen=True)
class Segment:
    """One restart interval in the paper's order [N_restart, K, t_min, t_max].

    nodes: N_restart >= 2, levels from t_max down to t_min, both included (nodes - 1 solver steps).
    repeats: K >= 1. t_min, t_max: noise-to-signal ratios, i.e. sigma of a VE model; on a flow model the sigma
    with the same ratio, level / (1 + level), is used.
    """

    nodes: int
    repeats: int
    t_min: float
    t_max: float

    @classmethod
    def of(cls, values: Segment | Sequence[float], index: int = 0) -> Segment:
        """Check one segment.

        Raises:
            ValueError: not four numbers, N_restart < 2, K < 1, or not 0 < t_min < t_max; names the segment.
        """
        if isinstance(values, Segment):
            values = (values.nodes, values.repeats, values.t_min, values.t_max)
        name = f"segments[{index}]"
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != 4:
            raise ValueError(f"{name} is {values!r}; it must be (N_restart, K, t_min, t_max)")
        nodes = check_count(f"{name} N_restart", values[0], 2, 1000)  # type: ignore[arg-type]
        repeats = check_count(f"{name} K", values[1], 1, 1000)  # type: ignore[arg-type]
        t_min = check_range(f"{name} t_min", values[2], 0.0, 1e6)
        t_max = check_range(f"{name} t_max", values[3], 0.0, 1e6)
        if not 0 < t_min < t_max:
            raise ValueError(f"{name} has t_min {t_min:g} and t_max {t_max:g}; it must be 0 < t_min < t_max")
        return cls(nodes, repeats, t_min, t_max)


@dataclass(frozen=True)
class Piece:
    """One descending run of the solver. renoise: start by adding noise from the last piece's end level."""

    sigmas: tuple[float, ...]
    renoise: bool


def plan_pieces(
    sigmas: Sequence[float], segments: Iterable[Segment | Sequence[float]], process: NoiseProcess | None = None
) -> list[Piece]:
    """Lay out the whole run: the main grid cut at each restart node, with K restart pieces there.

    Each restart goes from the node up to t_max exactly and back to the same node on N_restart Karras levels
    (rho 7). The node is the main grid's nearest to t_min if within SNAP_RATIO of it, else t_min itself,
    inserted. Restarts outside the run's own range (a partial denoise) are left out with a logged note.

    Args:
        sigmas: main grid, strictly descending.
        segments: Segment or (N_restart, K, t_min, t_max) each; several may share a node, in the given order.
        process: the model's noise process; VE by default.
    """
    process = process or NoiseProcess()
    grid = list(sigmas)
    at_node: dict[float, list[tuple[Segment, float]]] = {}
    for index, values in enumerate(segments):
        segment = Segment.of(values, index)
        t_min, t_max = process.from_ve(segment.t_min), process.from_ve(segment.t_max)
        if t_min >= grid[0] or t_min < sigmas[-1]:
            log.warning(
                "restart segment %d (t_min %g) lies outside this run's sigmas (%g .. %g) and is left out",
                index,
                t_min,
                grid[0],
                sigmas[-1],
            )
            continue
        if t_max > grid[0]:
            log.warning("restart segment %d: t_max %g lowered to this run's first sigma %g", index, t_max, grid[0])
            t_max = grid[0]
        near = min((s for s in sigmas if s > 0), key=lambda s: abs(s - t_min))
        if not (near < t_max and 1 / SNAP_RATIO <= near / t_min <= SNAP_RATIO):
            near = t_min
            if near not in grid:
                grid = sorted([*grid, near], reverse=True)
        at_node.setdefault(near, []).append((segment, t_max))
    pieces, start = [], 0
    for i, node in enumerate(grid):
        if node not in at_node:
            continue
        if i > start:
            pieces.append(Piece(tuple(grid[start : i + 1]), renoise=False))
        for segment, t_max in at_node[node]:
            ramp = _restart_levels(segment.nodes, t_max, node, process)
            pieces += [Piece(ramp, renoise=True)] * segment.repeats
        start = i
    if start < len(grid) - 1:
        pieces.append(Piece(tuple(grid[start:]), renoise=False))
    return pieces


def _restart_levels(nodes: int, top: float, bottom: float, process: NoiseProcess) -> tuple[float, ...]:
    """Karras levels in the noise-to-signal ratio, mapped to the process; both ends exact."""
    levels = karras_ramp(
        nodes, process.to_ve(min(top, 0.9999) if process.kind == "flow" else top), process.to_ve(bottom)
    )
    return (top, *(process.from_ve(level) for level in levels[1:-1]), bottom)


@torch.no_grad()
def sample_restart(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    segments: Iterable[Segment | Sequence[float]] = ((3, 2, 0.06, 0.30),),
    solver: str | Solver = "heun",
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Restart sampling: Algorithm 1 of Xu et al. 2023 (arXiv 2306.14878).

    Whenever the main ODE reaches a segment's t_min, K times: add noise up to t_max, x += sqrt(t_max^2 -
    t_min^2) s_noise n (on a flow model the exact flow counterpart, see NoiseProcess.renoise), and solve back.
    The large injected noise contracts errors gathered so far, which an ODE solver alone cannot.

    Order: the solver's. Model calls with Heun: (2 N - 1) + sum 2 (N_restart - 1) K for N main steps down to 0,
    plus 2 for each t_min that had to be inserted into the grid. A multistep solver starts afresh at each piece.
    Not to be confused with churn (small noise at every step) or "restarts" of optimisers.
    Recommended when calls are plentiful (30 and more) and the network, not the step size, limits quality.

    Args:
        model: k-diffusion denoiser, model(x, sigma, **extra_args) -> denoised.
        x: (batch, ...) start at level sigmas[0]. dtype and device are kept.
        sigmas: (steps + 1,) strictly descending, >= 0.
        extra_args: passed to the model; "seed" seeds the injected noise.
        callback: called after each solver step with i, x, denoised, sigma, sigma_hat; i never falls and ends
            at steps - 1.
        disable: hide the progress bar.
        segments: (N_restart, K, t_min, t_max) each, levels as noise-to-signal ratios (sigma of a VE model).
        solver: a deterministic host solver's name ("heun", "euler", "dpmpp_2m", ...) or a function with
            k-diffusion's signature.
        s_noise: multiplies the injected noise only (1.003 in the paper's ImageNet runs).
        noise_sampler: k-diffusion noise sampler to use instead of the seeded noise.

    Returns:
        (batch, ...) sample at sigmas[-1].

    Raises:
        ValueError: bad sigmas, segment, solver or s_noise, before any model call.
    """
    levels = check_sigmas(sigmas)
    s_noise = check_range("s_noise", s_noise, 0.0, 10.0)
    solve = resolve_solver(solver)
    process = NoiseProcess.of(model)
    pieces = plan_pieces(levels, segments, process)
    # Half-precision levels would merge; a solver may promote x to its levels' precision, hence the .to below.
    dtype, precision = x.dtype, x.dtype if x.dtype in {torch.float32, torch.float64} else torch.float32
    noise = gaussian_noise(x, extra_args, noise_sampler)
    progress = _Progress(len(levels) - 1, sum(len(p.sigmas) - 1 for p in pieces), callback, disable)
    with progress.bar:
        for piece in pieces:
            if piece.renoise:
                node, top = piece.sigmas[-1], piece.sigmas[0]
                x = process.renoise(x, node, top, noise(node, top), s_noise)
            grid = torch.tensor(piece.sigmas, dtype=precision, device=x.device)
            x = solve(model, x, grid, extra_args=extra_args, callback=progress.start(), disable=True).to(dtype)
    return x


class _Progress:
    """Maps the pieces' own callbacks to one index that never falls and ends at steps - 1."""

    def __init__(self, steps: int, units: int, callback: Callable[[dict[str, Any]], None] | None, disable: bool | None):
        self.steps, self.units, self.callback = steps, units, callback
        self.done = 0
        self.bar = tqdm(total=units, disable=disable)

    def start(self) -> Callable[[dict[str, Any]], None]:
        last = -1

        def on_step(info: dict[str, Any]) -> None:
            nonlocal last
            if info["i"] <= last:  # a solver that reports a step twice
                return
            last = info["i"]
            self.done += 1
            self.bar.update()
            if self.callback is not None:
                i = self.steps - 1 if self.done >= self.units else (self.done - 1) * self.steps // self.units
                self.callback({**info, "i": i})

        return on_step
