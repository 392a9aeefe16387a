"""Prompts with hostile inputs for every node of the pack, built from the server's own /object_info."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import digit_graphs as draw
from fuzz_schedules import GOOD

PREFIX = "RestART_"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
NOTHING = object()  # the input is left out
DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
HOSTILE: list[Any] = [
    NOTHING, None, True, False, 0, 1, -1, 2, 7.5, -0.0, 1e-9, 1e308, 10**30, -(10**30), float("nan"), float("inf"),
    "", " ", "text", "nan", "1e999", "-5", "\x00", "é😀", "x" * 100_000, "[" * 3000, "9" * 5000, "../../etc", "CON",
    "art/../../x", "0", "3, 2, 0.06, 0.30", "8, 12, 20", "1000", "all", [], {}, [1, 2], [[1], [2]], {"a": [1]}, DEEP,
    ["nowhere", 0], ["loader", 99], ["loader", -1], ["loader", "0"], ["loader", 0], ["latent", 0], ["sigmas", 0],
]  # fmt: skip
LINKS: dict[str, list[Any]] = {
    "MODEL": ["loader", 0], "CLIP": ["loader", 1], "VAE": ["loader", 2], "CONDITIONING": ["positive", 0],
    "LATENT": ["latent", 0], "SIGMAS": ["sigmas", 0], "SAMPLER": ["euler", 0], "GUIDER": ["guider", 0],
    "ART_SCHEDULE": ["learned", 0],
}  # fmt: skip
SMALL = {  # what keeps an accepted prompt short
    "trajectories": 4, "reference_steps": 16, "samplers": "euler", "schedules": "simple", "method": "direct",
}  # fmt: skip


def hosts(saved: str) -> dict[str, Any]:
    """The stock nodes that the pack's nodes are plugged into; `saved` is a schedule in the server's folder."""
    return {
        "loader": draw.node("CheckpointLoaderSimple", ckpt_name="tiny_flow.safetensors"),
        "positive": draw.node("CLIPTextEncode", clip=["loader", 1], text=""),
        "latent": draw.node("EmptySD3LatentImage", width=64, height=64, batch_size=1),
        "euler": draw.node("KSamplerSelect", sampler_name="euler"),
        "sigmas": draw.node("BasicScheduler", model=["loader", 0], scheduler="simple", steps=2, denoise=1.0),
        "guider": draw.node("BasicGuider", model=["loader", 0], conditioning=["positive", 0]),
        "learned": draw.node("RestART_LoadARTSchedule", name=saved),
    }


def sound_inputs(info: dict[str, Any], saved: str) -> dict[str, Any]:
    """Every input of a node with a value it takes."""
    found: dict[str, Any] = {}
    for part in ("required", "optional"):
        for name, (kind, *rest) in info["input"].get(part, {}).items():
            options = rest[0] if rest else {}
            choices = kind if isinstance(kind, list) else options.get("options")
            if kind in LINKS:
                found[name] = LINKS[kind]
            elif name == "name":
                found[name] = saved if choices else "fuzzed/a name"
            elif name == "schedule_text":
                found[name] = GOOD.to_text()
            elif name == "steps" and kind == "STRING":
                found[name] = "2"
            elif name in SMALL:
                found[name] = SMALL[name]
            elif choices:
                found[name] = options.get("default", choices[0])
            else:
                found[name] = options.get("default", "")
    if "schedule_text" in found:
        found.pop("schedule", None)  # plugged in it would win, and the text would never be read
    return found


def graph(name: str, info: dict[str, Any], values: dict[str, Any], saved: str) -> dict[str, Any]:
    """The node with these inputs, and one that uses what it gives."""
    given = {key: value for key, value in values.items() if value is not NOTHING}
    nodes = {**hosts(saved), "node": draw.node(name, **given)}
    if info["output"][:1] == ["SAMPLER"]:
        nodes["sink"] = draw.node(
            "SamplerCustom", model=["loader", 0], add_noise=True, noise_seed=1, cfg=1.0, positive=["positive", 0],
            negative=["positive", 0], sampler=["node", 0], sigmas=["sigmas", 0], latent_image=["latent", 0],
        )  # fmt: skip
        nodes["shown"] = draw.node("PreviewAny", source=["sink", 0])
    elif not info["output_node"]:
        nodes["shown"] = draw.node("PreviewAny", source=["node", 0])
    return nodes


Case = tuple[str, dict[str, Any], str]


def single(known: dict[str, Any], saved: str) -> Iterator[Case]:
    """One hostile value in one input, all of them in turn: node, graph, and what was changed in words."""
    for name in sorted(known):
        sound = sound_inputs(known[name], saved)
        for field in sound:
            for value in HOSTILE:
                yield name, graph(name, known[name], {**sound, field: value}, saved), f"{field}={_brief(value)}"


def several(known: dict[str, Any], saved: str, count: int, random_: random.Random) -> Iterator[Case]:
    """Hostile values in two to four inputs of a node at once."""
    for _ in range(count):
        name = random_.choice(sorted(known))
        sound = sound_inputs(known[name], saved)
        fields = random_.sample(sorted(sound), min(len(sound), random_.randint(2, 4)))
        changes = {field: random_.choice(HOSTILE) for field in fields}
        words = ", ".join(f"{field}={_brief(value)}" for field, value in changes.items())
        yield name, graph(name, known[name], {**sound, **changes}, saved), words


def _brief(value: Any) -> str:
    text = "(left out)" if value is NOTHING else repr(value)
    return text if len(text) < 60 else f"{text[:40]}..."
