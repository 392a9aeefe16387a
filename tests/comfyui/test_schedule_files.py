"""Saved schedules in a running ComfyUI: files, scheduler names, sharing as text."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest

from restart_art.schedules import ArtSchedule

import digit_graphs as draw
from comfy_server import ComfyServer, PromptFailed

CURVE = (13.0, 5.1, 2.6, 1.3, 0.7, 0.34, 0.15, 0.05)


def learned(**changes: Any) -> ArtSchedule:
    fields = {"solver": "dpmpp_2m", "process": "ve", "sigma_min": 0.0292, "sigma_max": 14.6146, **changes}
    return ArtSchedule(((8, CURVE),), **fields)


def save_graph(text: str, name: str, if_exists: str = "keep both") -> dict[str, Any]:
    """Save what a text holds: an ART_SCHEDULE comes out of a Load node only, so one file is laid down first."""
    return {
        "load": draw.node("RestART_LoadARTSchedule", name=text),
        "save": draw.node("RestART_SaveARTSchedule", schedule=["load", 0], name=name, if_exists=if_exists),
        "name": draw.node("PreviewAny", source=["save", 1]),
        "text": draw.node("PreviewAny", source=["load", 1]),
    }


@pytest.fixture
def folder(server: ComfyServer) -> Any:
    """The server's models/art_schedules with one schedule called "seed"."""
    found = server.base / "models" / "art_schedules"
    found.mkdir(parents=True, exist_ok=True)
    learned().save(found / "seed.safetensors")
    server.object_info()  # as a refresh does
    return found


def schedulers(server: ComfyServer) -> list[str]:
    kind, *rest = server.object_info()["KSampler"]["input"]["required"]["scheduler"]
    return list(kind if isinstance(kind, list) else rest[0]["options"])


def pixels(server: ComfyServer, entry: dict[str, Any]) -> np.ndarray:
    return np.stack([np.asarray(p) for p in server.pictures(entry, "save")])


def test_save_lists_a_scheduler_that_draws_what_the_node_draws(server: ComfyServer, folder: Any) -> None:
    entry = server.run(save_graph("seed", "group/mine"))
    assert entry["outputs"]["name"]["text"] == ["art/group/mine"]
    assert (folder / "group" / "mine.safetensors").stat().st_size <= 64 * 1024
    names = schedulers(server)
    assert names.count("art/group/mine") == names.count("art/seed") == 1
    by_name = server.run(draw.ksampler_graph("eps", "dpmpp_2m", "art/group/mine", steps=8, seed=5))
    text = entry["outputs"]["text"]["text"][0]
    art = draw.node("RestART_ARTScheduler", model="MODEL", steps=8, denoise=1.0, schedule_text=text)
    by_text = server.run(draw.custom_graph("eps", draw.node("KSamplerSelect", sampler_name="dpmpp_2m"), art, seed=5))
    assert (pixels(server, by_name) == pixels(server, by_text)).all()


def test_keep_both_and_overwrite(server: ComfyServer, folder: Any) -> None:
    learned(sigma_max=14.0, solver="euler").save(folder / "twice.safetensors")
    server.object_info()
    assert server.run(save_graph("seed", "twice"))["outputs"]["name"]["text"] == ["art/twice_2"]
    assert server.run(save_graph("seed", "twice", "overwrite"))["outputs"]["name"]["text"] == ["art/twice"]
    assert ArtSchedule.load(folder / "twice.safetensors") == learned()


def test_a_file_that_goes_leaves_the_list_and_says_so_when_used(server: ComfyServer, folder: Any) -> None:
    learned(cfg=3.0).save(folder / "brief.safetensors")
    server.object_info()
    assert "art/brief" in schedulers(server)
    graph = draw.ksampler_graph("eps", "dpmpp_2m", "art/brief", steps=8)
    server.run(graph)
    os.remove(folder / "brief.safetensors")
    server.object_info()
    assert "art/brief" not in schedulers(server)
    graph["sample"]["inputs"]["seed"] = 77
    with pytest.raises(PromptFailed, match="art/brief"):
        server.run(graph)
    server.run(draw.ksampler_graph("eps", "dpmpp_2m", "art/seed", steps=8))


@pytest.mark.parametrize("name", ["../outside", "/absolute", "con", ""])
def test_names_that_lead_elsewhere_are_refused(server: ComfyServer, folder: Any, name: str) -> None:
    with pytest.raises(PromptFailed, match="name is"):
        server.run(save_graph("seed", name))
    assert not (server.base / "models" / "outside.safetensors").exists()


def test_a_damaged_file_is_named_and_harms_nothing(server: ComfyServer, folder: Any) -> None:
    (folder / "bad.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    server.object_info()
    with pytest.raises(PromptFailed, match=r"bad\.safetensors"):
        server.run(save_graph("bad", "copy"))
    with pytest.raises(PromptFailed, match=r"bad\.safetensors"):
        server.run(draw.ksampler_graph("eps", "euler", "art/bad", steps=8))
    os.remove(folder / "bad.safetensors")


def test_mismatches_are_warned_of_in_the_node(server: ComfyServer, folder: Any) -> None:
    text = learned(cfg=3.0).to_text()
    art = draw.node(
        "RestART_ARTScheduler", model="MODEL", steps=8, denoise=1.0, schedule_text=text,
        sampler=["sampler", 0], cfg=2.0,
    )  # fmt: skip
    graph = draw.custom_graph("flow", draw.node("KSamplerSelect", sampler_name="euler"), art)
    graph["info"] = draw.node("PreviewAny", source=["sigmas", 1])
    info = server.run(graph)["outputs"]["info"]["text"][0]
    for part in ("but this is a flow model", "learned at cfg 3; here cfg is 2", "solver dpmpp_2m; here it is euler"):
        assert part in info, info
    restart = draw.node("RestART_SamplerRestart", segments="3, 1, 0.06, 0.3", solver="dpmpp_2m")
    graph["sampler"] = restart
    assert "for the solver" not in server.run(graph)["outputs"]["info"]["text"][0]


def test_text_in_the_workflow_reproduces_the_sigmas_bit_for_bit(server: ComfyServer, folder: Any) -> None:
    """The file and the text form, on a server that saw neither before, against this process."""
    shared = json.loads(json.dumps(learned().to_text()))
    assert (ArtSchedule.from_text(shared).sigmas(8) == ArtSchedule.load(folder / "seed.safetensors").sigmas(8)).all()
    assert (ArtSchedule.from_text(shared).sigmas(20, 0.6) == learned().sigmas(20, 0.6)).all()
