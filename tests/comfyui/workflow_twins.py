"""Runs the tiny twins of the shipped workflows on a server, and notes at which levels each sampler asked the model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from workflow_recipes import DIGIT, PICTURES, TINY_EPS, build

from restart_art.tiny.digits import digits

from comfy_server import ComfyServer
from graph import to_prompt

_tags = itertools.count()


@dataclass(frozen=True)
class TwinRun:
    """One run.

    pictures: the saved ones by the title of their node ("" for one without). calls: by the title of the sampling node,
    for each model call the levels in its batch. entry, graph: what the server answered to what. shown: texts asked for.
    """

    pictures: dict[str, list[Image.Image]]
    calls: dict[str, list[list[float]]]
    entry: dict[str, Any]
    graph: dict[str, Any]
    shown: dict[str, str]

    def types(self) -> set[str]:
        return {str(node["class_type"]) for node in self.graph.values()}

    def texts(self, class_type: str) -> str:
        """What a node of that type showed."""
        found = [name for name, node in self.graph.items() if node["class_type"] == class_type]
        return "\n".join(text for name in found for text in self.entry["outputs"][name]["text"])


def a_digit() -> torch.Tensor:
    """The picture that image to image starts from: the first three of the data, (8, 8) in [0, 1]."""
    images, classes = digits()
    return images[classes == DIGIT][0]


def put_photo(server: ComfyServer) -> Path:
    """That digit as the file the twins load, its lower half painted over as the mask editor does (alpha 0)."""
    grey = (a_digit() * 255).round().to(torch.uint8)
    alpha = torch.full((8, 8), 255, dtype=torch.uint8)
    alpha[4:] = 0
    pixels = torch.stack([grey, grey, grey, alpha], -1)
    path = server.base / "input" / TINY_EPS.photo
    Image.fromarray(pixels.numpy()).resize((64, 64), Image.Resampling.NEAREST).save(path)
    return path


def run_twin(
    server: ComfyServer,
    object_info: dict[str, Any],
    name: str,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    shown: Mapping[str, int] | None = None,
) -> TwinRun:
    """Run the twin of a shipped workflow.

    changes: node type -> inputs to set in every node of that type. shown: node type -> output whose text is wanted.
    """
    workflow = build(name, tiny=True)
    titles = {str(node["id"]): node.get("title", "") for node in workflow["nodes"]}
    graph = to_prompt(workflow, object_info)
    for node in graph.values():
        node["inputs"] |= (changes or {}).get(node["class_type"], {})
    samplers = [key for key, node in graph.items() if node["class_type"] == "SamplerCustom"]
    for key in samplers:
        tag = f"{name} {next(_tags)}"
        watch = {"model": graph[key]["inputs"]["model"], "tag": tag}
        graph[f"watch {key}"] = {"class_type": "RestARTTest_WatchSigmas", "inputs": watch}
        graph[key]["inputs"]["model"] = [f"watch {key}", 0]
        told = {"after": [key, 0], "tag": tag}
        graph[f"told {key}"] = {"class_type": "RestARTTest_WatchedSigmas", "inputs": told}
    for class_type, slot in (shown or {}).items():
        (key,) = (key for key, node in graph.items() if node["class_type"] == class_type)
        graph[f"shown {class_type}"] = {"class_type": "PreviewAny", "inputs": {"source": [key, slot]}}
    entry = server.run(graph, 240)
    saves = [key for key, node in graph.items() if node["class_type"] == "SaveImage"]
    pictures = {titles[key]: server.pictures(entry, key) for key in saves}
    calls = {titles[key]: json.loads(entry["outputs"][f"told {key}"]["text"][0]) for key in samplers}
    texts = {class_type: str(entry["outputs"][f"shown {class_type}"]["text"][0]) for class_type in shown or ()}
    return TwinRun(pictures, calls, entry, graph, texts)


def batch_of(name: str) -> int:
    """Pictures that a twin draws: five from empty latents, one from a picture."""
    return PICTURES if any(node["type"].startswith("Empty") for node in build(name, tiny=True)["nodes"]) else 1
