"""Fits through ComfyUI's guiders: what the guider does counts, and nothing is learned twice."""

from __future__ import annotations

from typing import Any

import pytest

from restart_art.schedules import ArtSchedule

import digit_graphs as draw
from comfy_server import ComfyServer, PromptFailed, executed_nodes

FIT = {"seed": 3, "solver": "euler", "steps": "6", "trajectories": 8, "method": "direct", "free_start": True}


def guiders() -> dict[str, tuple[str, dict[str, Any]]]:
    model, both = {"model": "MODEL"}, {"positive": ["positive", 0], "negative": ["negative", 0]}
    return {
        "cfg 2": ("CFGGuider", {**model, **both, "cfg": 2.0}),
        "cfg 1": ("CFGGuider", {**model, **both, "cfg": 1.0}),
        "basic": ("BasicGuider", {**model, "conditioning": ["positive", 0]}),
        "dual": (
            "DualCFGGuider",
            {**model, "cond1": ["positive", 0], "cond2": ["other", 0], "negative": ["negative", 0],
             "cfg_conds": 2.0, "cfg_cond2_negative": 1.5, "style": "regular"},
        ),
    }  # fmt: skip


def graph_for(name: str, kind: str = "flow", **changes: Any) -> dict[str, Any]:
    nodes, model = draw.model_nodes(kind)
    class_type, inputs = guiders()[name]
    return {
        **nodes,
        **draw.digit_nodes(3, 1),
        "other": draw.node("RestARTTest_DigitConditioning", digit=8),
        "guider": draw.node(class_type, **{k: model if v == "MODEL" else v for k, v in inputs.items()}),
        "fit": draw.node(
            "RestART_FitARTScheduleAdvanced", guider=["guider", 0], latent_image=["latent", 0], **{**FIT, **changes}
        ),
        "text": draw.node("PreviewAny", source=["fit", 4]),
    }


def learned(server: ComfyServer, graph: dict[str, Any]) -> ArtSchedule:
    return ArtSchedule.from_text(server.run(graph)["outputs"]["text"]["text"][0])


def test_each_guider_is_learned_as_it_guides(server: ComfyServer) -> None:
    found = {name: learned(server, graph_for(name)) for name in guiders()}
    assert {name: s.cfg for name, s in found.items()} == {"cfg 2": 2.0, "cfg 1": 1.0, "basic": 1.0, "dual": None}
    assert found["cfg 1"].curves == found["basic"].curves  # the same field by two ways
    assert len({s.curves for s in found.values()}) == 3  # and another field is another schedule


def test_the_plain_node_is_the_advanced_one_with_a_cfg_guider(server: ComfyServer) -> None:
    plain = draw.fit_graph("flow", digit=3, cfg=2.0, **{k: v for k, v in FIT.items() if k != "steps"}, steps="6")
    assert learned(server, plain).curves == learned(server, graph_for("cfg 2")).curves


def test_nothing_is_learned_again_while_nothing_changes(server: ComfyServer) -> None:
    graph = graph_for("dual", seed=4)
    server.run(graph)
    again = server.run(graph)
    assert "fit" not in executed_nodes(again)
    graph["guider"]["inputs"]["cfg_conds"] = 2.5
    assert "fit" in executed_nodes(server.run(graph))


def test_refined_is_no_worse_than_direct_on_its_own_measure(server: ComfyServer) -> None:
    """Through the guider, both report what they measured on noises they had not learned from."""
    graph = graph_for("cfg 2", method="refined", solver="dpmpp_2m", steps="8", trajectories=20)
    graph["report"] = draw.node("PreviewAny", source=["fit", 3])
    report = server.run(graph)["outputs"]["report"]["text"][0]
    assert "karras" in report
    assert "model evaluations to learn" in report


@pytest.mark.parametrize("change", [{"solver": "euler_ancestral"}, {"method": "magic"}, {"steps": "-3"}])
def test_bad_inputs_are_named(server: ComfyServer, change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(PromptFailed, match=f"{name}.*{value}"):
        server.run(graph_for("cfg 1", **change))
