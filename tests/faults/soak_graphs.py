"""Random small prompts over all nodes of the pack and both tiny checkpoints, for the soak."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from restart_art.schedules import ArtSchedule

import digit_graphs as draw

Graph = dict[str, Any]
SAMPLERS = ("restart", "randomized_midpoint", "parallel_midpoint")
STOCK = ("edm", "karras", "simple", "beta", "normal")
SOLVERS = ("euler", "heun", "dpmpp_2m")
SEEDS = {  # schedules that lie in models/art_schedules from the start
    "eps": ArtSchedule(((6, (14.0, 4.0, 1.5, 0.6, 0.2, 0.06)),), "dpmpp_2m", "ve", 0.0292, 14.6146),
    "flow": ArtSchedule(((6, (1.0, 0.9, 0.75, 0.55, 0.3, 0.1)),), "euler", "flow", 0.003, 1.0),
}
NODES = {  # every node of the pack is in some prompt
    "RestART_SamplerRestart", "RestART_SamplerRandomizedMidpoint", "RestART_SamplerParallelMidpoint",
    "RestART_EDMScheduler", "RestART_ARTScheduler", "RestART_FitARTSchedule", "RestART_FitARTScheduleAdvanced",
    "RestART_SaveARTSchedule", "RestART_LoadARTSchedule", "RestART_PlotSigmas", "RestART_CompareSchedules",
}  # fmt: skip


def named(rng: random.Random, kind: str) -> Graph:
    """A stock KSampler with one of our samplers and any scheduler, a saved one included."""
    return draw.ksampler_graph(
        kind, rng.choice(SAMPLERS), rng.choice((*STOCK, f"art/seed_{kind}")), digit=rng.randrange(10),
        batch=rng.randint(1, 2), steps=rng.randint(2, 6), seed=rng.randrange(2**32),
    )  # fmt: skip


def _sigmas(rng: random.Random, kind: str) -> Graph:
    steps, denoise = rng.randint(3, 6), rng.choice((1.0, 1.0, 0.6))
    if rng.random() < 0.5:
        return draw.node("RestART_EDMScheduler", model="MODEL", steps=steps, rho=rng.uniform(3, 9), denoise=denoise)
    text = SEEDS[rng.choice((kind, kind, "eps", "flow"))].to_text()  # now and then the other model's: a warning
    return draw.node("RestART_ARTScheduler", model="MODEL", steps=steps, denoise=denoise, schedule_text=text)


def restart(rng: random.Random, kind: str) -> Graph:
    segments = rng.choice(("3, 2, 0.06, 0.30", "3, 1, 60%, 20%", "2, 1, #3, #1", "3, 1, 0.1, 0.5\n2, 2, 0.5, 2"))
    sampler = draw.node(
        "RestART_SamplerRestart", segments=segments, solver=rng.choice(SOLVERS), s_noise=1.0,
        preset=rng.choice(("custom (segments)", "custom (segments)", "auto", "a1111")),
        budget=rng.choice(("on top of steps", "within steps")), churn=rng.choice((0.0, 0.1)),
    )  # fmt: skip
    sigmas = draw.node("RestART_EDMScheduler", model="MODEL", steps=rng.randint(6, 8), rho=7.0, denoise=1.0)
    return draw.custom_graph(kind, sampler, sigmas, digit=rng.randrange(10), batch=1, seed=rng.randrange(2**32))


def randomized(rng: random.Random, kind: str) -> Graph:
    sampler = draw.node(
        "RestART_SamplerRandomizedMidpoint", measure=rng.choice(("sigma", "inverse_sigma", "ou")), spread=rng.random(),
        antithetic=rng.random() < 0.5, preset=rng.choice(("custom", "paper")), corrector_steps=rng.randint(0, 2),
    )  # fmt: skip
    batch = rng.randint(1, 3)
    return draw.custom_graph(kind, sampler, _sigmas(rng, kind), digit=5, batch=batch, seed=rng.randrange(2**32))


def parallel(rng: random.Random, kind: str) -> Graph:
    sampler = draw.node(
        "RestART_SamplerParallelMidpoint", midpoints=rng.randint(1, 5), sweeps=rng.randint(1, 3),
        warm_start=rng.random() < 0.5, jitter=rng.random(), tolerance=rng.choice((0.0, 0.01)),
        measure=rng.choice(("sigma", "inverse_sigma", "ou")), corrector_steps=rng.randint(0, 2),
        preset=rng.choice(("custom", "paper")),
    )  # fmt: skip
    batch = rng.randint(1, 3)
    return draw.custom_graph(kind, sampler, _sigmas(rng, kind), digit=8, batch=batch, seed=rng.randrange(2**32))


def fit(rng: random.Random, kind: str, method: str = "direct") -> Graph:
    """Learn, save over, read off what was learned."""
    graph = draw.fit_graph(
        kind, digit=rng.randrange(10), steps="3", seed=rng.randrange(2**32), trajectories=4,
        solver=rng.choice(SOLVERS), cfg=rng.choice((1.0, 2.0)), free_start=rng.random() < 0.5,
        method=method,
    )  # fmt: skip
    _, model = draw.model_nodes(kind)
    graph |= {
        "kept": draw.node(
            "RestART_SaveARTSchedule", schedule=["fit", 0], name=f"soak/{rng.randrange(5)}", if_exists="overwrite"
        ),
        "art": draw.node("RestART_ARTScheduler", model=model, steps=4, denoise=1.0, schedule=["fit", 0]),
        "show": draw.node("PreviewAny", source=["art", 1]),
    }  # fmt: skip
    return graph


def fit_advanced(rng: random.Random, kind: str) -> Graph:
    graph = fit(rng, kind)
    asked = graph["fit"]["inputs"]
    guided = {key: asked.pop(key) for key in ("model", "positive", "negative", "cfg")}
    graph["guider"] = draw.node("CFGGuider", **guided)
    graph["fit"] = draw.node("RestART_FitARTScheduleAdvanced", guider=["guider", 0], **asked)
    return graph


def fit_refined(rng: random.Random, kind: str) -> Graph:
    return fit(rng, kind, "refined")


def files(rng: random.Random, kind: str) -> Graph:
    """Load, save again under another name, plot beside others."""
    nodes, model = draw.model_nodes(kind)
    return {
        **nodes,
        "load": draw.node("RestART_LoadARTSchedule", name=f"seed_{kind}"),
        "kept": draw.node(
            "RestART_SaveARTSchedule", schedule=["load", 0], name=f"copies/{kind}{rng.randrange(20)}",
            if_exists=rng.choice(("keep both", "overwrite")),
        ),
        "art": draw.node(
            "RestART_ARTScheduler", model=model, steps=rng.randint(1, 40), denoise=1.0, schedule=["load", 0]
        ),
        "edm": draw.node("RestART_EDMScheduler", model=model, steps=rng.randint(1, 40), rho=7.0, denoise=1.0),
        "plot": draw.node(
            "RestART_PlotSigmas", log_axis=rng.random() < 0.5, labels="learned", sigmas_1=["art", 0],
            sigmas_5=["edm", 0],
        ),
        "image": draw.node("PreviewImage", images=["plot", 0]),
    }  # fmt: skip


def compare(rng: random.Random, kind: str) -> Graph:
    nodes, model = draw.model_nodes(kind)
    return {
        **nodes,
        **draw.digit_nodes(rng.randrange(10), 1),
        "compare": draw.node(
            "RestART_CompareSchedules", model=model, positive=["positive", 0], negative=["negative", 0],
            latent_image=["latent", 0], cfg=rng.choice((1.0, 2.0)), seed=rng.randrange(2**32), samplers="euler",
            schedules=f"simple\nart/seed_{kind}", steps="3", trajectories=1, reference_steps=16, vae=["loader", 2],
        ),
        "verdict": draw.node("PreviewAny", source=["compare", 0]),
        "sheet": draw.node("PreviewImage", images=["compare", 3]),
    }  # fmt: skip


RECIPES: dict[str, tuple[Callable[[random.Random, str], Graph], int]] = {
    "named": (named, 20), "restart": (restart, 16), "randomized": (randomized, 16), "parallel": (parallel, 16),
    "files": (files, 8), "compare": (compare, 4), "fit": (fit, 4), "fit advanced": (fit_advanced, 2),
    "fit refined": (fit_refined, 1),
}  # fmt: skip


def deck(rng: random.Random, count: int) -> list[tuple[str, Graph]]:
    """`count` >= 8 prompts: each recipe once, with the checkpoints in turn, then others by their weights.

    The refined fits, which take seconds each, are in a deck of 100 and more; a smaller one has each fit once.
    """
    names = [name for name in RECIPES if count >= 100 or name != "fit refined"]
    drawn = [(name, draw.KINDS[number % 2]) for number, name in enumerate(names)]
    weights = [RECIPES[name][1] if count >= 100 or "fit" not in name else 0 for name in names]
    while len(drawn) < count:
        drawn.append((rng.choices(names, weights)[0], rng.choice(draw.KINDS)))
    return [(f"{name} {kind}", RECIPES[name][0](rng, kind)) for name, kind in drawn]
