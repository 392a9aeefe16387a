"""Restart settings by name: the paper's, the official Stable Diffusion ones, AUTOMATIC1111's rule, and `auto`.

Sources: Xu et al. 2023 (arXiv 2306.14878) and its official code; AUTOMATIC1111's web UI for its one-click rule. All
levels are noise-to-signal ratios (sigma of a VE model) and are mapped for flow models like any other segment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .grid import check_choice
from .noise_process import NoiseProcess, find_model_sampling
from .segments import Segment

_A, _B, _C, _E, _F = (19.35, 40.79), (1.09, 1.92), (0.59, 1.09), (0.30, 0.59), (0.06, 0.30)

# auto's rule, see auto_segments.
AUTO_FEWEST_STEPS = 20  # as AUTOMATIC1111; with 14 steps it lost to the plain solver on exact mixtures, with 40 it won
AUTO_DEPTH = 0.3
AUTO_WIDTH = 5.0
AUTO_HIGHEST_RATIO = 80.0


@dataclass(frozen=True)
class Preset:
    """Settings of one name.

    segments: the restarts. steps: main steps that they were published with (None: any). s_noise: multiplies the
    injected noise. main_solver: solver of the main run, None for the same as in the restarts. within_steps: the
    restarts always share the user's steps instead of coming on top.
    """

    segments: tuple[Segment, ...] = ()
    steps: int | None = None
    s_noise: float = 1.0
    main_solver: str | None = None
    within_steps: bool = False


def _rows(*rows: tuple[int, int, tuple[float, float]]) -> tuple[Segment, ...]:
    return tuple(Segment(nodes, repeats, *levels) for nodes, repeats, levels in rows)


def _cifar10(nodes: int, repeats: int, low: float, high: float, steps: int = 18) -> Preset:
    return Preset(_rows((nodes, repeats, (low, high))), steps)


def _imagenet64(steps: int, *rows: tuple[int, int, tuple[float, float]]) -> Preset:
    return Preset(_rows(*rows), steps, s_noise=1.003)


def _sd15(*rows: tuple[int, int, tuple[float, float]]) -> Preset:
    return Preset(_rows(*rows), 30, main_solver="euler")  # DDIM without noise is Euler in sigma


# "... 43 calls": model calls with Heun at the published number of steps.
PRESETS: dict[str, Preset] = {
    "auto": Preset(),
    "a1111": Preset(within_steps=True),
    "sd1.5 cfg 2": _sd15((5, 2, (5.0, 10.0)), (5, 2, (1.0, 9.0))),
    "sd1.5 cfg 3": _sd15((10, 2, (0.1, 3.0))),
    "sd1.5 cfg 5": _sd15((10, 2, (0.1, 2.0))),
    "sd1.5 cfg 8": _sd15((10, 2, (0.1, 2.0))),
    "cifar10 vp 43 calls": _cifar10(3, 2, 0.06, 0.30),
    "cifar10 vp 55 calls": _cifar10(3, 5, 0.06, 0.30),
    "cifar10 vp 75 calls": _cifar10(3, 10, 0.06, 0.30),
    "cifar10 vp 115 calls": _cifar10(3, 20, 0.06, 0.30),
    "cifar10 vp 519 calls": _cifar10(9, 30, 0.06, 0.20, steps=20),
    "cifar10 edm 43 calls": _cifar10(3, 2, 0.14, 0.30),
    "imagenet64 39 calls": _imagenet64(14, (3, 1, _A), (3, 1, _B), (3, 1, _F)),
    "imagenet64 67 calls": _imagenet64(18, (5, 1, _A), (5, 1, _B), (5, 1, _C), (5, 1, _F)),
    "imagenet64 99 calls": _imagenet64(18, (3, 1, _A), (4, 1, _B), (4, 4, _C), (4, 1, _E), (4, 4, _F)),
    "imagenet64 165 calls": _imagenet64(18, (3, 1, _A), (4, 1, _B), (4, 5, _C), (4, 5, _E), (4, 10, _F)),
    "imagenet64 203 calls": _imagenet64(36, (4, 1, _A), (4, 1, _B), (4, 5, _C), (4, 5, _E), (6, 6, _F)),
}


@dataclass(frozen=True)
class Chosen:
    """A preset made concrete for one run. notes: what the user should know about it."""

    preset: Preset
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()


def resolve_preset(name: str, sigmas: Sequence[float], process: NoiseProcess, model: Any, extra_steps: int) -> Chosen:
    """The restarts of a preset for this run.

    Args:
        name: one of PRESETS. sigmas: the run's own levels. process: the model's noise process.
        model: the denoiser, whose model_sampling says its sigma range (`auto`).
        extra_steps: solver steps that `auto` may spend on restarts.

    Raises:
        ValueError: unknown name.
    """
    check_choice("preset", name, PRESETS)
    preset, steps = PRESETS[name], len(sigmas) - 1
    if name == "a1111":
        segments = a1111_segments(steps)
        notes = [] if segments else [f"preset a1111 makes no restart below 20 steps (this run has {steps})"]
    elif name == "auto":
        low, high = sigma_range(model, sigmas, process)
        segments = auto_segments(low, high, extra_steps if steps >= AUTO_FEWEST_STEPS else 0)
        notes = (
            [] if segments else [f"preset auto makes no restart here ({steps} steps, levels {low:.3g} to {high:.3g})"]
        )
    else:
        segments = preset.segments
        published = preset.steps in (None, steps)
        notes = [] if published else [f"preset {name} was published for {preset.steps} steps (this run has {steps})"]
    return Chosen(preset, segments, tuple(notes))


def a1111_segments(steps: int) -> tuple[Segment, ...]:
    """AUTOMATIC1111's rule: none below 20 steps, 9 restart steps from 2 to 0.1; from 36 steps on twice steps // 4.

    Its restarts come out of the steps (Preset.within_steps), so a run has as many steps as asked for.
    """
    if steps < 20:
        return ()
    return (Segment(10, 1, 0.1, 2.0),) if steps < 36 else (Segment(steps // 4 + 1, 2, 0.1, 2.0),)


def auto_segments(low: float, high: float, extra_steps: int) -> tuple[Segment, ...]:
    """One restart in the lower part of the range of levels, where published settings have theirs.

    t_min lies at 30 % of the way from the lowest to the highest level in log (0.05 for 0.002..80, as CIFAR-10's
    0.06), t_max = 5 t_min (0.06 .. 0.30), inside the range. N_restart is 3 up to 7 steps, 4 up to 15, else 6, and K
    as many as `extra_steps` allow. None without a step to spend, or if the range is narrower than a factor 2.

    Args:
        low, high: lowest and highest noise-to-signal ratio of the run and the model.
        extra_steps: solver steps to spend.
    """
    nodes = 3 if extra_steps < 8 else 4 if extra_steps < 16 else 6
    repeats = extra_steps // (nodes - 1)
    t_min = low * (high / low) ** AUTO_DEPTH
    t_max = min(AUTO_WIDTH * t_min, high)
    if repeats < 1 or t_max / t_min < 2:
        return ()
    return (Segment(nodes, repeats, t_min, t_max),)


def auto_extra_steps(steps: int, calls_per_step: int, budget: int | None) -> int:
    """Solver steps that auto spends on restarts.

    On top of the steps (budget None): half as many again. Inside a budget of model calls: what the main run leaves
    over, but at least a third of the whole.
    """
    if budget is None:
        return steps // 2
    total = budget // max(1, calls_per_step)
    return max(total // 3, total - steps)


def sigma_range(model: Any, sigmas: Sequence[float], process: NoiseProcess) -> tuple[float, float]:
    """Lowest and highest noise-to-signal ratio that both the model (if it says so) and this run know."""
    sampling = find_model_sampling(model)
    positive = [s for s in sigmas if s > 0]
    # A run to 0 may go below its own last node; one that stops above 0 may not.
    low = positive[-1] if sigmas[-1] > 0 else min(positive[-1], _bound(sampling, "sigma_min", positive[-1]))
    high = min(positive[0], _bound(sampling, "sigma_max", positive[0]))
    return process.to_ve(low), min(process.to_ve(high), AUTO_HIGHEST_RATIO)


def _bound(sampling: Any, name: str, default: float) -> float:
    value = float(getattr(sampling, name, default))
    return value if math.isfinite(value) and value > 0 else default
