"""A schedule learned in one ComfyUI and shared inside a picture: another ComfyUI that never saw it draws the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restart_art.schedules import ArtSchedule

import digit_graphs as draw
from comfy_server import ComfyServer, digit_server


@pytest.fixture(scope="module")
def friend(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A second ComfyUI with nothing of the first one's."""
    with digit_server(checkout, tmp_path_factory.mktemp("friend")) as running:
        yield running


def art_graph(text: str) -> dict[str, Any]:
    art = draw.node("RestART_ARTScheduler", model="MODEL", steps=8, denoise=1.0, schedule_text=text)
    sampler = draw.node("KSamplerSelect", sampler_name="dpmpp_2m")
    return draw.custom_graph("flow", sampler, art, digit=6, batch=3, seed=21)


def test_the_picture_a_friend_opens_draws_itself_again(server: ComfyServer, friend: ComfyServer) -> None:
    """Fit, draw, save: the PNG's own workflow, posted to the other server, gives the same pixels, bit for bit."""
    fit = draw.fit_graph("flow", digit=6, steps="8", cfg=2.0, solver="dpmpp_2m", trajectories=8, method="direct")
    text = server.run(fit)["outputs"]["text"]["text"][0]
    mine = server.run(art_graph(text))
    pictures = server.pictures(mine, "save")
    shared = json.loads(pictures[0].text["prompt"])  # what SaveImage writes into a PNG
    assert shared["sigmas"]["inputs"]["schedule_text"] == text
    theirs = friend.pictures(friend.run(shared), "save")
    assert len(theirs) == len(pictures) == 3
    for ours, other in zip(pictures, theirs, strict=True):
        assert (np.asarray(ours) == np.asarray(other)).all()
    assert not list((friend.base / "models").rglob("art_schedules/*"))


def test_the_text_gives_the_same_sigmas_in_any_process(server: ComfyServer) -> None:
    """Every float32 that the node gives equals this process's, at the learned step count and at others."""
    schedule = ArtSchedule(
        ((8, (0.99, 0.93, 0.85, 0.74, 0.6, 0.43, 0.25, 0.09)),), "dpmpp_2m", "flow", 0.002994012087583542, 1.0
    )
    for steps, denoise in ((8, 1.0), (13, 1.0), (8, 0.6)):
        graph, model = draw.model_nodes("flow")
        graph["art"] = draw.node(
            "RestART_ARTScheduler", model=model, steps=steps, denoise=denoise, schedule_text=schedule.to_text()
        )
        graph["show"] = draw.node("RestARTTest_ExactNumbers", sigmas=["art", 0])
        shown = json.loads(server.run(graph)["outputs"]["show"]["text"][0])
        assert shown == schedule.sigmas(steps, denoise).tolist()
