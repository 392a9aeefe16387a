"""What `make bench-gpu` would run, in words: said before it runs, and all that is said where there is no GPU."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_specs import GLYPH, MEGABYTES, OURS, SAMPLERS, SPECS, Size

PARTS = {
    "a": "the models: parameters, class that ComfyUI detects, work of one call",
    "b": "one batched evaluation of R levels against R single calls",
    "c": "every sampler at equal model calls: seconds, memory, overhead, host synchronisations",
    "d": "parallel midpoint against sequential solvers and ParaDiGMS: seconds to the same error",
    "e": "fit_schedule: seconds and peak memory",
    "f": "a model trained on glyphs of free fonts: Frechet distance by schedule, sampler and calls",
}
RATE = 150.0  # teraflops a second that half-precision networks are assumed to reach
LEAST = 0.02  # seconds that any call of a network takes at least
START = 40  # seconds to import ComfyUI and to fill a model with random weights
SMALL_RATE = 40.0  # of the glyph network


def call_seconds(key: str, pixels: int, samples: int = 1) -> float:
    """One call of a model with a positive and a negative prompt."""
    return max(LEAST, 2 * samples * SPECS[key].teraflops[pixels] / RATE)


def memory(key: str, pixels: int, samples: int) -> float:
    """GiB: weights in half precision, and ComfyUI's own estimate of a call with two prompts."""
    return 2 * SPECS[key].parameters / 2**30 + 2 * samples * MEGABYTES[key] * (pixels / 512) ** 2 / 2**10


def pairs(sizes: dict[str, int], models: Sequence[str]) -> list[tuple[str, int]]:
    return [(key, pixels) for key, pixels in sizes.items() if key in models]


def estimate(part: str, size: Size, models: Sequence[str]) -> float:
    """Seconds that a part is expected to take on one H100-class GPU at full size."""
    seconds = float(START)
    if part == "b":
        for key in models:
            for pixels in size.latents:
                work = sum(call_seconds(key, pixels, r) + r * call_seconds(key, pixels) for r in size.levels)
                seconds += work * (size.repeats + 2)
    elif part == "c":
        evaluations = size.calls * (len(SAMPLERS) + 3)  # parallel midpoint sends four samples in a call
        seconds += sum((size.repeats + 3) * evaluations * call_seconds(k, p) for k, p in pairs(size.runs, models))
    elif part == "d":
        # Euler, Heun (two calls a step) and DPM++ 2M; two grids; a window's passes are about half the steps.
        ladder = 2 * sum(size.ladder) * (4 + sum(r * k for r, k in size.shapes))
        peers = len(size.windows) * len(size.tolerances) * size.sequential // 2 * max(size.windows)
        evaluations = ladder + peers + 3 * size.reference_steps + 3 * size.sequential
        seconds += sum(evaluations * call_seconds(k, p, 8) / 8 for k, p in pairs(size.races, models))
    elif part == "e":
        seconds += sum(5000 * call_seconds(k, p, 4) / 4 for k, p, _ in size.fits if k in models)
    elif part == "f":
        g = size.glyphs
        drawn = g.images * sum(g.calls) * (len(SAMPLERS) + 3) * len(g.schedules)
        seconds += (3 * g.train_steps * g.train_batch + drawn) * GLYPH.teraflops[64] / SMALL_RATE
    return seconds


def details(part: str, size: Size, models: Sequence[str]) -> list[str]:
    """Lines: what a part runs at full size."""
    runs, races = ([f"{SPECS[k].name} at {p}" for k, p in pairs(s, models)] for s in (size.runs, size.races))
    if part == "a":
        return [f"{s.name}: {s.parameters:,} parameters, on the meta device" for s in (*SPECS.values(), GLYPH)]
    if part == "b":
        top = max(size.levels)
        return [f"R = {', '.join(map(str, size.levels))}; {size.repeats} repeats, median"] + [
            f"{SPECS[k].name} at {p} (latent {side} x {side}): about {memory(k, p, 1):.1f} GiB for one picture, "
            f"{memory(k, p, top):.1f} GiB for R = {top}"
            for k in models for p, side in size.latents.items()
        ]  # fmt: skip
    if part == "c":
        return [f"{', '.join(SAMPLERS)}: {size.calls} model calls each, batch 1", *runs]
    if part == "d":
        return [
            f"goals: the errors of DDIM-{size.sequential} and of Heun-{size.sequential // 2}; reference: Heun with "
            f"{size.reference_steps} steps",
            f"parallel midpoint (R, K) {', '.join(map(str, size.shapes))}; Euler, Heun, DPM++ 2M; steps "
            f"{', '.join(map(str, size.ladder))}",
            "ParaDiGMS (diffusers' DDIMParallelScheduler; our own for flow models): windows "
            f"{', '.join(map(str, size.windows))}, "
            f"tolerances {', '.join(f'{t:g}' for t in size.tolerances)}",
            *races,
        ]
    if part == "e":
        return [
            f"{SPECS[k].name} at {p}: {m}, Euler, {', '.join(map(str, size.fit_steps))} steps, {size.trajectories} "
            "trajectories, about 5,000 evaluations"
            for k, p, m in size.fits if k in models
        ]  # fmt: skip
    g = size.glyphs
    return [
        f"{GLYPH.name} ({GLYPH.parameters:,} parameters) at {g.pixels} x {g.pixels} pixels, trained for "
        f"{g.train_steps} steps of {g.train_batch}; a classifier for {g.classifier_steps}",
        f"schedules {', '.join(g.schedules)}; samplers {', '.join(SAMPLERS)}; {', '.join(map(str, g.calls))} calls; "
        f"{g.images} pictures each",
    ]


def plan_text(size: Size, parts: Sequence[str], models: Sequence[str]) -> str:
    """The whole plan, with the time it needs."""
    lines = [
        f"Size {size.name}: random weights (part f: trained on the spot), guidance {size.cfg:g}, so that each call "
        "takes a positive and a negative prompt.",
        "Models: " + "; ".join(f"{SPECS[k].name} {SPECS[k].parameters / 1e9:.2f} B, {SPECS[k].dtype}" for k in models),
    ]
    for part in parts:
        lines += [f"({part}) {PARTS[part]}; about {estimate(part, size, models) / 60:.0f} min on an H100-class GPU"]
        lines += [f"    {line}" for line in details(part, size, models)]
    total = sum(estimate(part, size, models) for part in parts)
    lines += [
        f"In all about {total / 60:.0f} min. Parts can be run one by one (--parts b,c); results are kept and joined.",
        f"Ours among the samplers: {', '.join(OURS)}.",
    ]
    return "\n".join(lines)
