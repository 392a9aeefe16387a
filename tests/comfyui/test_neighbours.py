"""Beside another pack that copies ComfyUI's lists and wants some of our names: neither breaks the other.

ComfyUI loads packs in the order in which its folder lists them, so either may come first. Both orders are run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import digit_graphs as draw
from comfy_server import ComfyServer
from workspace import DIGIT_PACK, PACK, private_base

FOREIGN_PACK = Path(__file__).with_name("foreign_pack")


@pytest.fixture(scope="module", params=["ours first", "theirs first"])
def neighbours(
    request: pytest.FixtureRequest, checkout: Path, comfy_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, ComfyServer]]:
    """A server with both packs, imported in the order asked for."""
    base = tmp_path_factory.mktemp("neighbours")
    arguments = private_base(base, DIGIT_PACK, FOREIGN_PACK)
    packs = base / "custom_nodes"
    if request.param == "ours first":
        later, earlier = packs / FOREIGN_PACK.name, packs / PACK
    else:
        later, earlier = packs / PACK, packs / FOREIGN_PACK.name
    # ComfyUI takes the folders of several roots in the order of the roots: the later pack moves to a second one.
    second = base / "more"
    second.mkdir()
    later.rename(second / later.name)
    config = base / "paths.yaml"
    config.write_text(json.dumps({"more": {"custom_nodes": str(second)}}))
    assert earlier.is_dir()
    running = ComfyServer(checkout, comfy_python, base, [*arguments, "--extra-model-paths-config", str(config)])
    yield request.param, running
    running.stop()


def test_both_work(neighbours: tuple[str, ComfyServer]) -> None:
    order, server = neighbours
    assert "IMPORT FAILED" not in server.log()
    graph, model = draw.model_nodes("flow")
    listed = "edm" if order == "ours first" else "karras"  # a copy made before "edm" was added does not have it
    graph["names"] = draw.node("RestARTTest_ForeignNames", sampler_name="euler", scheduler=listed, model=model)
    seen: dict[str, Any] = json.loads(server.run(graph)["outputs"]["names"]["text"][0])
    assert seen["loaded before"] == (order == "ours first")
    assert seen["counts"] == [1, 1, 1]
    assert seen["edm count"] == 1
    assert seen["samplers"] == (["randomized_midpoint", "parallel_midpoint"] if order == "ours first" else [])
    if order == "theirs first":
        assert "is already taken" in server.log() or "is already in the host's list" in server.log()
    for sampler in ("restart", "randomized_midpoint"):  # whoever's "restart" it is
        shown, _ = draw.judge(server.pictures(server.run(draw.ksampler_graph("flow", sampler, "edm", digit=2)), "save"))
        assert shown.count(2) >= 3, (sampler, shown)
    # Our own node is ours, whoever has the name.
    restart = draw.node("RestART_SamplerRestart", segments="3, 1, 0.06, 0.3", solver="euler")
    edm = draw.node("RestART_EDMScheduler", model="MODEL", steps=12, rho=7.0, denoise=1.0)
    shown, _ = draw.judge(server.pictures(server.run(draw.custom_graph("flow", restart, edm, digit=7)), "save"))
    assert shown.count(7) >= 3, shown


def test_a_copy_made_after_ours_was_loaded_runs_our_names(neighbours: tuple[str, ComfyServer]) -> None:
    order, server = neighbours
    if order == "theirs first":
        pytest.skip("a copy made before our pack was imported cannot hold its names")
    graph, model = draw.model_nodes("flow")
    graph["names"] = draw.node(
        "RestARTTest_ForeignNames", sampler_name="parallel_midpoint", scheduler="edm", model=model
    )
    seen = json.loads(server.run(graph)["outputs"]["names"]["text"][0])
    assert (seen["sampler"], seen["sigmas"]) == ("KSAMPLER", 7)
