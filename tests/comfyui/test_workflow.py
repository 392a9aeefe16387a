"""Every shipped workflow is sound; the one for the tiny checkpoint draws what it should, on a real server.

The others' tiny twins are drawn in test_workflow_twins.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from restart_art.tiny import digit_classifier

import digit_graphs as draw
from comfy_server import ComfyServer
from graph import load_workflow, to_prompt
from locate import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / "workflows").glob("*.json"))
FILES = {("CheckpointLoaderSimple", "ckpt_name"), ("LoadImage", "image")}  # lists of what lies on the user's disk
LEARN = REPOSITORY / "workflows" / "RestART - learn a schedule and sample.json"


def by_type(graph: dict[str, Any], class_type: str) -> str:
    (found,) = (name for name, node in graph.items() if node["class_type"] == class_type)
    return str(found)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_is_laid_out_and_known(path: Path, object_info: dict[str, Any]) -> None:
    """No node overlaps another, every node type exists, every value is one the server takes."""
    workflow = load_workflow(path)
    boxes = [(n["id"], *n["pos"], *n["size"]) for n in workflow["nodes"]]
    for i, (a, ax, ay, aw, ah) in enumerate(boxes):
        for b, bx, by, bw, bh in boxes[i + 1 :]:
            title = 30  # drawn above a node's position
            apart = ax + aw <= bx or bx + bw <= ax or ay + ah <= by - title or by + bh <= ay - title
            assert apart, f"nodes {a} and {b} overlap"
    for node in to_prompt(workflow, object_info).values():
        info = object_info[node["class_type"]]["input"]
        missing = set(info.get("required", {})) - set(node["inputs"])
        assert not missing, f"{node['class_type']} lacks {missing}"
        for name, value in node["inputs"].items():
            kind, *rest = {**info.get("required", {}), **info.get("optional", {})}[name]
            limits = rest[0] if rest else {}
            if kind in ("INT", "FLOAT") and not isinstance(value, list):
                assert limits.get("min", value) <= value <= limits.get("max", value), f"{node['class_type']} {name}"
            choices = kind if isinstance(kind, list) else limits.get("options") if kind == "COMBO" else None
            if choices is not None and (node["class_type"], name) not in FILES:
                assert value in choices, f"{node['class_type']} {name}: {value!r}"


def test_learn_and_sample_as_shipped(server: ComfyServer, object_info: dict[str, Any]) -> None:
    """As it stands: five pictures, a report, a curve; and the pictures are what the model means.

    The toy's text encoder says nothing, so it draws whichever digits come, many of them blends of two. How digit-like
    they may be is the model's business; that the learned sigmas bring out what it means is the schedule's: closer to
    the same noise solved in 120 steps than Karras sigmas come in as many steps, and as digit-like.
    """
    graph = to_prompt(load_workflow(LEARN), object_info)
    save, sampler = by_type(graph, "SaveImage"), by_type(graph, "SamplerCustom")
    entry = server.run(graph, 240)
    shipped = draw.as_digits(server.pictures(entry, save))
    assert shipped.shape == (5, 8, 8)
    report = entry["outputs"][by_type(graph, "PreviewAny")]["text"][0]
    assert "model evaluations to learn" in report
    assert entry["outputs"][by_type(graph, "RestART_FitARTSchedule")]["images"], "no curve in the node"

    # Forty pictures each way, the schedule from the node cache.
    graph["many"] = draw.node("EmptySD3LatentImage", width=draw.PIXELS, height=draw.PIXELS, batch_size=40)
    graph[sampler]["inputs"]["latent_image"] = ["many", 0]
    drawn = {"learned": draw.as_digits(server.pictures(server.run(graph), save))}
    for name, steps in (("karras", 12), ("simple", 120)):
        model = graph[sampler]["inputs"]["model"]
        graph["stock"] = draw.node("BasicScheduler", model=model, scheduler=name, steps=steps, denoise=1.0)
        graph[sampler]["inputs"]["sigmas"] = ["stock", 0]
        drawn[name] = draw.as_digits(server.pictures(server.run(graph), save))
    off = {name: float((images - drawn["simple"]).abs().mean()) for name, images in drawn.items()}
    sure = {name: float(digit_classifier().confidence(images).mean()) for name, images in drawn.items()}
    print(f"mean pixel error {off}, mean confidence {sure}")
    assert off["learned"] < 0.7 * off["karras"], off
    assert sure["learned"] > 0.8 * sure["simple"], sure
    noise = torch.rand(40, 8, 8, generator=torch.Generator().manual_seed(0))
    assert sure["learned"] > 2 * float(digit_classifier().confidence(noise).mean()), sure
    assert len(set(digit_classifier().predict(drawn["learned"]).tolist())) >= 6


def test_learned_sigmas_draw_the_digits_asked_for(server: ComfyServer, object_info: dict[str, Any]) -> None:
    """The same learned schedule (from the node cache), each digit asked for in turn: accuracy >= 0.95."""
    graph = to_prompt(load_workflow(LEARN), object_info)
    sampler, save = by_type(graph, "SamplerCustom"), by_type(graph, "SaveImage")
    # Ten at once. The fit takes its size from a latent of its own, unchanged, and so comes from the cache.
    graph["ten"] = draw.node("EmptySD3LatentImage", width=draw.PIXELS, height=draw.PIXELS, batch_size=10)
    graph[sampler]["inputs"]["latent_image"] = ["ten", 0]
    right = total = 0
    for digit in range(10):
        graph["digit"] = draw.node("RestARTTest_DigitConditioning", digit=digit)
        graph[sampler]["inputs"] |= {"positive": ["digit", 0], "noise_seed": 100 + digit}
        seen, _ = draw.judge(server.pictures(server.run(graph, 240), save))
        right += seen.count(digit)
        total += len(seen)
    print(f"{right} of {total} right")
    assert right / total >= 0.95, f"{right} of {total}"
