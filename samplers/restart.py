"""Restart sampling (Xu, Deng, Cheng, Tian, Liu, Jaakkola 2023, "Restart Sampling for Improving Generative
Processes", arXiv 2306.14878; settings of the official code)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .finite import FiniteWatch, Watched
from .grid import check_sigmas
from .noise import NoiseSampler, gaussian_noise
from .noise_process import NoiseProcess
from .restart_plan import Piece, plan_pieces
from .restart_presets import PRESETS
from .restart_setup import BUDGETS, ON_TOP, Request, set_up
from .segments import Level, Segment
from .solvers import Solver

__all__ = ["BUDGETS", "PRESETS", "Piece", "Segment", "plan_pieces", "sample_restart"]


@torch.no_grad()
def sample_restart(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    segments: str | Iterable[Segment | Sequence[Level]] = ((3, 2, 0.06, 0.30),),
    solver: str | Solver = "heun",
    s_noise: float | None = None,
    noise_sampler: NoiseSampler | None = None,
    main_solver: str | Solver | None = None,
    budget: str | int = ON_TOP,
    churn: float = 0.0,
    churn_range: tuple[float, float] = (0.01, 1.0),
    report: Callable[[str], None] | None = None,
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
        segments: a preset's name (see PRESETS), or (N_restart, K, t_min, t_max) each, levels as noise-to-signal
            ratios (sigma of a VE model), "75%" of sampling or "#9", a node (see Segment).
        solver: a deterministic host solver's name ("heun", "euler", "dpmpp_2m", ...) or a function with
            k-diffusion's signature, which is first tried out on a stand-in (see solver_probe).
        s_noise: multiplies the injected noise only (1.003 in the paper's ImageNet runs). None: the preset's, else 1.
        noise_sampler: k-diffusion noise sampler to use instead of the seeded noise.
        main_solver: another solver for the main run. None: the preset's (Stable Diffusion: Euler), else `solver`.
        budget: "on top of steps": restarts cost extra. "within steps": the whole run costs at most steps x
            the main solver's calls per step. A number: at most so many model calls. See fit_into for how.
        churn: the official code's restart_gamma: inside restarts each step starts by raising the level by this
            share with fresh noise, at most sqrt(2) - 1. A multistep solver then loses its history at each step.
        churn_range: (lowest, highest) noise-to-signal ratio at which churn acts.
        report: called once before the first model call with a sentence on what will run and each change made to
            what was asked for; the changes are logged too.

    Returns:
        (batch, ...) sample at sigmas[-1].

    Raises:
        ValueError: bad sigmas, segment, preset, solver, s_noise, budget or churn, before any model call; NaN or inf,
            with the step where they came up, at the end.
    """
    levels = check_sigmas(sigmas)
    asked = segments if isinstance(segments, str) else tuple(segments)
    request = Request(asked, solver, main_solver, s_noise, budget, churn, tuple(churn_range))
    run = set_up(request, model, levels, with_calls=report is not None)
    if report is not None:
        report(run.text)
    process, pieces = NoiseProcess.of(model), run.plan.pieces
    # Half-precision levels would merge; a solver may promote x to its levels' precision, hence the .to below.
    dtype, precision = x.dtype, x.dtype if x.dtype in {torch.float32, torch.float64} else torch.float32
    # All levels go to the device at once: a copy between model calls would wait for the device.
    flat = torch.tensor([level for piece in pieces for level in piece.sigmas], dtype=precision, device=x.device)
    grids = flat.split([len(piece.sigmas) for piece in pieces])
    noise = gaussian_noise(x, extra_args, noise_sampler)
    watch = FiniteWatch(len(levels) - 1, x)
    model = Watched(model, watch)
    progress = _Progress(watch, sum(len(p.sigmas) - 1 for p in pieces), callback, disable)
    with progress.bar:
        for piece, grid in zip(pieces, grids, strict=True):
            for low, high in piece.noise:
                x = process.renoise(x, low, high, noise(low, high), run.s_noise)
            solve = run.restarts if piece.restart else run.main
            # A copy, because some solvers write into their sigmas.
            x = solve(model, x, grid.clone(), extra_args=extra_args, callback=progress.start(), disable=True).to(dtype)
    watch.check(x)
    return x


class _Progress:
    """Maps the pieces' own callbacks to one index that never falls and ends at steps - 1."""

    def __init__(
        self, watch: FiniteWatch, units: int, callback: Callable[[dict[str, Any]], None] | None, disable: bool | None
    ):
        self.watch, self.steps, self.units, self.callback = watch, watch.steps, units, callback
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
            self.watch.step = min(self.done * self.steps // self.units, self.steps - 1)
            if self.callback is not None:
                i = self.steps - 1 if self.done >= self.units else (self.done - 1) * self.steps // self.units
                self.callback({**info, "i": i})

        return on_step
