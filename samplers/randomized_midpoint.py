"""Randomized midpoint sampling (Gupta, Cai, Chen, ICLR 2025, "Faster Diffusion Sampling with Randomized
Midpoints: Sequential and Parallel", arXiv 2406.00924)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import trange

from .finite import FiniteWatch, Watched
from .grid import check_choice, check_count, check_range, check_sigmas
from .langevin import MAX_STRENGTH, STRENGTH, correct
from .noise import item_generators, item_noise, item_uniform, seeded_generator
from .noise_process import NoiseProcess

MEASURES = ("sigma", "inverse_sigma", "ou")

# On a flow model near pure noise the OU time of a step is unbounded (sigma 1 is VE level infinity) and its
# straight step overshoots; steps that start above this VE level (flow sigma 0.99) use "sigma" instead.
OU_CEILING = 100.0

_CORRECTOR_STREAM = 0x1A9E  # of the seed; midpoints are stream 0


@dataclass(frozen=True)
class Variant:
    """What a preset decides. hold: what the corrector's substeps keep fixed (see langevin.py)."""

    measure: str = "sigma"
    spread: float = 0.6
    antithetic: bool = True
    corrector_steps: int = 0
    hold: str = "denoised"


# The paper's draws, and its corrector, whose substeps freeze the whole score.
PRESETS = {"paper": Variant("ou", 1.0, False, 1, "score")}


def resolve_preset(preset: str | None, measure: str, spread: float, antithetic: bool, corrector_steps: int) -> Variant:
    """The options of a run.

    A preset sets measure, spread and antithetic: each may only be left at its default or be what the preset says.
    Its corrector_steps count where 0 is given; more stay as they are.

    Raises:
        ValueError: an option out of range, an unknown preset, or an option that contradicts the preset.
    """
    check_choice("measure", measure, MEASURES)
    spread = check_range("spread", spread, 0.0, 1.0)
    corrector_steps = check_count("corrector_steps", corrector_steps, 0, 1000)
    asked, default = Variant(measure, spread, bool(antithetic), corrector_steps), Variant()
    if preset is None:
        return asked
    check_choice("preset", preset, PRESETS)
    chosen = PRESETS[preset]
    for name in ("measure", "spread", "antithetic"):
        value, sets = getattr(asked, name), getattr(chosen, name)
        if value not in (getattr(default, name), sets):
            raise ValueError(
                f"{name} is {value!r}, but preset {preset!r} sets it to {sets!r}; leave {name} out or use no preset"
            )
    return replace(chosen, corrector_steps=corrector_steps or chosen.corrector_steps)


def draw_positions(
    batch: int, steps: int, spread: float, antithetic: bool, generator: torch.Generator | Sequence[torch.Generator]
) -> Tensor:
    """Positions alpha in (0, 1) of the midpoint of every step, each sample its own: (batch, steps), float64.

    Uniform on [0.5 - spread/2, 0.5 + spread/2]; antithetic: every second step uses 1 - alpha of the one before.
    One generator for the batch, read sample by sample (the first sample's positions do not depend on the batch
    size), or one for each sample.
    """
    if isinstance(generator, torch.Generator):
        uniform = torch.rand(batch, steps, generator=generator, dtype=torch.float64)
    else:
        uniform = item_uniform(generator, steps)
    alpha = 0.5 + spread * (uniform - 0.5)
    if antithetic:
        pairs = alpha[:, : 2 * (steps // 2)].unflatten(1, (-1, 2))
        pairs[:, :, 1] = 1.0 - pairs[:, :, 0]
    return alpha


def step_weights(measure: str, s: float, q: float, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Weights of one step s -> q > 0 in VE levels, for positions alpha of any shape.

    Returns (m, a, b, c, d), each like alpha: the midpoint level m, x_m = a x + b D(x, s), and
    x' = carry x + c x_m + d D(x_m, m), with carry() below.
    """
    if measure == "sigma":  # m uniform in [q, s]
        m = s + alpha * (q - s)
        c = (q - s) / m
        return m, m / s, 1 - m / s, c, -c
    if measure == "inverse_sigma":  # 1/m uniform in [1/s, 1/q]
        m = 1 / (1 / s + alpha * (1 / q - 1 / s))
        return m, m / s, 1 - m / s, torch.zeros_like(m), torch.full_like(m, 1 - q / s)
    # "ou": time t = 0.5 ln(1 + sigma^2), uniform
    h = 0.5 * (math.log1p(s * s) - math.log1p(q * q))
    m = torch.sqrt((1 + s * s) ** (1 - alpha) * (1 + q * q) ** alpha - 1)
    b = (1 - torch.exp(-alpha * h)) * (1 + s * s) / (s * s)
    c = -h * (1 + m * m) / (m * m)
    return m, 1 - b, b, c, -c


def carry(measure: str, s: float, q: float) -> float:
    """Factor of the old x in the step's result (see step_weights)."""
    return q / s if measure == "inverse_sigma" else 1.0


@torch.no_grad()
def sample_randomized_midpoint(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    measure: str = "sigma",
    spread: float = 0.6,
    antithetic: bool = True,
    corrector_steps: int = 0,
    corrector_strength: float = STRENGTH,
    preset: str | None = None,
) -> Tensor:
    """Randomized midpoint method, predictor and corrector, of Gupta, Cai, Chen (arXiv 2406.00924).

    Each step s -> q draws a level m between them, goes there with D(x, s) and takes the whole step with
    D(x_m, m). With x_m on the exact path the step is unbiased: errors average out over steps instead of adding.
      sigma:         m uniform in [q, s];  x' = x + (q - s) (x_m - D_m) / m
      inverse_sigma: 1/m uniform;          x' = (q/s) x + (1 - q/s) D_m       (a convex combination)
      ou:            0.5 ln(1 + m^2) uniform, the paper's own time
    The last step to 0 is x' = D(x, s). After each step to q > 0 the corrector, off by default, makes n substeps
    of underdamped Langevin dynamics at level q (see langevin.py).

    Strong order 1.5 (spread 0, or antithetic pairs: 2). 2 N - 1 model calls for N steps to 0, and n (N - 1) more
    with the corrector.
    Also known as the Shen-Lee midpoint. Without the corrector no noise is added, only the evaluation level is
    random. On smooth exact problems a deterministic second-order step has the smaller error of one picture; this
    one's merit is the distribution of pictures at few calls, best on a learned grid with the default spread 0.6 and
    antithetic pairs (measured by us). The corrector draws another picture of the same law: it mends coarse steps of
    the paper's own draws, but as many calls spent on more steps mend them as well.

    Args:
        model, x, sigmas, extra_args, callback, disable: as in k-diffusion. extra_args["seed"] seeds the draws.
        measure: "sigma", "inverse_sigma" or "ou".
        spread: width of the interval around the middle that positions are drawn from, 0 (the middle itself) to 1.
        antithetic: of two consecutive steps the second uses the mirrored position.
        corrector_steps: n, substeps after each step, one model call each. 0: no corrector.
        corrector_strength: length of a substep, 0 (off) to 2: a time of strength * sigma in VE coordinates.
            The law's error grows in proportion to it, and so does what a substep mends.
        preset: None, or "paper": measure "ou", spread 1, antithetic off, corrector_steps 1 unless more are
            given, substeps with the whole score frozen. Contradicting values are refused.

    Returns:
        (batch, ...) sample at sigmas[-1].

    Raises:
        ValueError: bad sigmas or option, or one that contradicts the preset, before any model call; NaN or inf, with
            the step where they came up, at the end.
    """
    levels = check_sigmas(sigmas)
    variant = resolve_preset(preset, measure, spread, antithetic, corrector_steps)
    strength = check_range("corrector_strength", corrector_strength, 0.0, MAX_STRENGTH)
    process = NoiseProcess.of(model)
    steps, batch = len(levels) - 1, x.shape[0]
    alpha = draw_positions(batch, steps, variant.spread, variant.antithetic, _position_generator(extra_args, batch))
    plan = midpoint_plan(levels, alpha, variant.measure, process, x)
    substeps = variant.corrector_steps if strength > 0 else 0
    streams = item_generators(extra_args, batch, _CORRECTOR_STREAM) if substeps else []
    args, ones = dict(extra_args or {}), x.new_ones(batch)
    watch = FiniteWatch(steps, x)
    model = Watched(model, watch)
    for i in trange(steps, disable=disable):
        s, q, watch.step = levels[i], levels[i + 1], i
        denoised = model(x, ones * s, **args)
        if callback is not None:
            callback({"i": i, "x": x, "denoised": denoised, "sigma": sigmas[i], "sigma_hat": sigmas[i]})
        if q == 0:
            x = denoised
            continue
        m, a, b, c, d, k = plan[i]
        middle = a * x + b * denoised
        denoised = model(middle, m, **args)
        x = k * x + c * middle + d * denoised
        if substeps:
            del middle, denoised  # the corrector needs their room
            noise = substeps, partial(item_noise, x, streams)
            x = correct(
                model, x, q, noise, process=process, strength=strength, hold=variant.hold, extra_args=extra_args
            )
    watch.check(x)
    return x


def _position_generator(extra_args: Mapping[str, Any] | None, batch: int) -> torch.Generator | list[torch.Generator]:
    """Where midpoints are drawn from: a seed of its own for each sample if a list is given, else the batch's."""
    seed = (extra_args or {}).get("seed")
    if isinstance(seed, Sequence) or (isinstance(seed, Tensor) and seed.ndim > 0):
        return item_generators(extra_args, batch)
    return seeded_generator(extra_args)


def midpoint_plan(
    levels: list[float], alpha: Tensor, measure: str, process: NoiseProcess, x: Tensor
) -> list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """All steps' weights, computed in float64 on the host and moved to x's device in one go.

    Returns per step (m (batch,), then a, b, c, d, carry shaped to multiply x): the process's own sigma m and
    weights for x in the process's own scale. Steps to 0 have unused entries.
    """
    rows = []
    for i, (s, q) in enumerate(pairwise(levels)):
        position = alpha[:, i]
        if q == 0:
            rows.append(torch.ones(6, len(position), dtype=torch.float64))
            continue
        if measure != "ou" or process.kind == "ve" or process.to_ve(s) > OU_CEILING:
            # "sigma" and "inverse_sigma" hold verbatim on a flow model.
            kind = "sigma" if measure == "ou" and process.kind == "flow" else measure
            m, a, b, c, d = step_weights(kind, s, q, position)
            k = torch.full_like(m, carry(kind, s, q))
        else:  # y = x / (1 - sigma), VE level sigma / (1 - sigma)
            y = (process.signal(s), process.signal(q))
            m, a, b, c, d = step_weights("ou", process.to_ve(s), process.to_ve(q), position)
            m = m / (1 + m)
            middle = 1 - m
            a, b = a * middle / y[0], b * middle
            c, d, k = c * y[1] / middle, d * y[1], torch.full_like(m, y[1] / y[0])
        rows.append(torch.stack([m, a, b, c, d, k]))
    table = torch.stack(rows).to(x.device, x.dtype)
    shape = (-1, *[1] * (x.ndim - 1))
    return [(row[0], *(row[j].reshape(shape) for j in range(1, 6))) for row in table]
