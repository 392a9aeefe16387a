"""A fit, run in the editor: its live curve moves in the node, and the saved picture brings everything back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from editor_page import EMPTY, Editor
from graph import load_workflow
from locate import REPOSITORY

LEARN = REPOSITORY / "workflows" / "RestART - learn a schedule and sample.json"
FIT, SAVE = "RestART_FitARTSchedule", "SaveImage"


def small_fit(seed: int) -> dict[str, Any]:
    """The shipped workflow with a fit of a few seconds, learned anew for each seed."""
    workflow = load_workflow(LEARN)
    for node in workflow["nodes"]:
        if node["type"] == FIT:
            node["widgets_values"] = [1.0, seed, "euler", "6", 8, "refined", True]
    return workflow


def white(picture: np.ndarray) -> float:
    """Share of a node that is a white plot."""
    return float((picture.min(axis=2) > 245).mean())


@pytest.fixture(scope="module")
def fitted(editor: Editor) -> dict[str, Any]:
    """What was seen while the workflow ran: the fit node before, during (different pictures only) and after."""
    editor.errors.clear()
    editor.open(small_fit(100 if editor.style == "classic" else 200))
    (node,) = editor.of_type(FIT)
    editor.show(node["id"])
    seen: dict[str, Any] = {"id": node["id"], "before": editor.picture("fit-before", node["id"]), "during": []}
    seen["graph"] = editor.serialized()  # before texts of the run show up in it
    editor.start()
    while editor.ended() is None and len(seen["during"]) < 200:
        picture = editor.picture(f"fit-{len(seen['during']):03d}", node["id"])
        seen["during"].append(picture)
        editor.page.wait_for_timeout(200)
    editor.wait()
    editor.page.wait_for_timeout(1000)
    seen["after"] = editor.picture("fit-after", node["id"])
    seen["shown"] = editor.page.evaluate(
        "id => { const drawn = document.querySelector(`[data-node-id='${id}']`);"
        " const pictures = drawn ? drawn.querySelectorAll('img') : app.graph.getNodeById(id).imgs;"
        " return [...pictures].map(i => i.naturalWidth) }",
        node["id"],
    )
    seen["saved"] = editor.of_type(FIT)[0]["widgets_values"]
    seen["errors"] = list(editor.errors)
    return seen


def test_the_curve_lives(fitted: dict[str, Any]) -> None:
    """No plot before; while it learns a plot whose curve moves again and again; at the end the finished one."""
    assert white(fitted["before"]) < 0.05
    plots = [picture for picture in fitted["during"] if white(picture) > 0.15]
    assert len(plots) >= 3, f"{len(plots)} of {len(fitted['during'])} pictures show a plot"
    changed = [
        float((np.abs(a.astype(int) - b.astype(int)).max(axis=2) > 40).mean())
        for a, b in pairwise(plots)
        if a.shape == b.shape
    ]
    assert sum(share > 0.002 for share in changed) >= 2, changed
    # The learned curve is orange, the stock one beside it is grey.
    orange = (np.abs(plots[-1].astype(int) - np.array([0xD5, 0x5E, 0x00])).max(axis=2) < 40).sum()
    assert orange > 100
    assert white(fitted["after"]) > 0.1
    assert fitted["errors"] == []


def test_the_finished_curve_shows_once(fitted: dict[str, Any]) -> None:
    """Nodes 2.0 draws the last live picture below the node's own; one of them is enough, and it is a whole picture."""
    assert len(fitted["shown"]) == 1
    assert fitted["shown"][0] >= 512


def test_only_the_inputs_are_saved(fitted: dict[str, Any]) -> None:
    """Not the verdict that the editor writes below them: an input that a later version adds would read it."""
    (before,) = (node["widgets_values"] for node in fitted["graph"]["nodes"] if node["type"] == FIT)
    assert fitted["saved"] == before


def test_saved_png_brings_graph_and_schedule_back(editor: Editor, fitted: dict[str, Any]) -> None:
    """The picture that Save Image wrote, dropped onto an empty canvas: the same graph, node by node."""
    saved = fitted["graph"]
    name, picture = editor.saved_file()
    editor.open(EMPTY)
    editor.drop(name, picture, "image/png")
    editor.page.wait_for_function("n => app.graph._nodes.length === n", arg=len(saved["nodes"]))
    back = editor.serialized()
    values = lambda graph: {
        node["id"]: (node["type"], node["type"] != "PreviewAny" and node.get("widgets_values"))
        for node in graph["nodes"]
    }  # Preview as Text keeps there what it shows, which no user chose
    assert values(back) == values(saved)
    assert len(back["links"]) == len(saved["links"])
