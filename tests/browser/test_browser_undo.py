"""Ctrl+Z takes back what the extension did to the graph, nothing else, and Ctrl+Y brings it again."""

from __future__ import annotations

from typing import Any

import pytest
from embed_steps import ART, FIT, choose_entry, direct_fit, has_menu, text_of

from restart_art.schedules import ArtSchedule

from editor_page import EMPTY, Editor

OLD_TEXT = "what stood here before"


def schedule(steps: int) -> ArtSchedule:
    levels = tuple(1.0 - index / steps for index in range(steps))
    return ArtSchedule(curves=((steps, levels),), solver="euler", process="flow", sigma_min=0.01, sigma_max=1.0)


def dropped(editor: Editor, tmp_path: Any, steps: int, at: tuple[int, int]) -> str:
    """Drop a file with a schedule; its text, once a node holds it."""
    text = schedule(steps).to_text()
    schedule(steps).save(tmp_path / f"{steps}.safetensors")
    editor.drop(f"{steps}.safetensors", (tmp_path / f"{steps}.safetensors").read_bytes(), "", at)
    editor.page.wait_for_function("t => app.graph._nodes.some(n => n.widgets?.some(w => w.value === t))", arg=text)
    return text


def press(editor: Editor, keys: str) -> None:
    editor.page.keyboard.press(keys)
    editor.page.wait_for_timeout(700)


def measures_new_nodes(editor: Editor) -> bool:
    """Nodes 2.0 of ComfyUI 0.8.0 may count the measured size of a new node as a step of its own."""
    return editor.style == "nodes2" and editor.version.startswith("0.8.")


def what_matters(editor: Editor) -> tuple[dict[str, Any], list[Any]]:
    """Each node's own values, and the links; not sizes and places, nor what the editor adds to show a result."""
    values: dict[str, Any] = editor.page.evaluate(
        "() => Object.fromEntries(app.graph._nodes.filter(n => n.type !== 'PreviewAny').map(n => [n.id,"
        " [n.type, (n.widgets ?? []).filter(w => !w.name.startsWith('$$')).map(w => [w.name, w.value])]]))"
    )
    return values, sorted(link[1:] for link in editor.serialized()["links"])


def with_scheduler(text: str) -> dict[str, Any]:
    """direct_fit() with an ART Scheduler plugged in: the graph as the editor would save it."""
    workflow = direct_fit()
    fit = next(node for node in workflow["nodes"] if node["type"] == FIT)
    new, link = workflow["last_node_id"] + 1, workflow["last_link_id"] + 1
    model = next(entry for entry in workflow["links"] if entry[3] == fit["id"] and entry[5] == "MODEL")
    workflow["nodes"].append(
        {
            "id": new, "type": ART, "pos": [fit["pos"][0] + 500, fit["pos"][1] + 700], "size": [300, 240], "flags": {},
            "order": 99, "mode": 0, "properties": {}, "widgets_values": [6, 1.0, text, 0.0],
            "inputs": [
                {"name": "model", "type": "MODEL", "link": link},
                {"name": "schedule", "type": "ART_SCHEDULE", "link": link + 1},
            ],
            "outputs": [{"name": "SIGMAS", "type": "SIGMAS", "links": []}],
        }
    )  # fmt: skip
    workflow["links"] += [[link, *model[1:3], new, 0, "MODEL"], [link + 1, fit["id"], 0, new, 1, "ART_SCHEDULE"]]
    for node in workflow["nodes"]:
        if node["id"] == model[1]:
            node["outputs"][model[2]]["links"].append(link)
        if node["id"] == fit["id"]:
            node["outputs"][0]["links"] = [*(node["outputs"][0]["links"] or []), link + 1]
    workflow.update(last_node_id=new, last_link_id=link + 1)
    return workflow


def test_a_new_scheduler_is_taken_back(editor: Editor) -> None:
    """The button: a node and its cables come and go as one step; and after undo it works again."""
    editor.open(direct_fit())
    editor.start()
    editor.wait()
    before = what_matters(editor)
    for _ in range(2):
        choose_entry(editor, FIT, button=True)
        after = what_matters(editor)
        assert len(editor.of_type(ART)) == 1
        press(editor, "Control+z")
        if measures_new_nodes(editor) and what_matters(editor) != before:
            press(editor, "Control+z")
        assert what_matters(editor) == before
    press(editor, "Control+y")
    assert what_matters(editor) == after


def test_the_former_text_comes_back(editor: Editor) -> None:
    """The text, and the cable that was taken out, in the scheduler that was there; by menu where there is one."""
    editor.open(with_scheduler(OLD_TEXT))
    assert text_of(editor) == OLD_TEXT
    editor.start()
    editor.wait()
    before = what_matters(editor)
    choose_entry(editor, FIT, button=not has_menu(editor))
    assert ArtSchedule.from_text(text_of(editor)).steps == (6,)
    assert what_matters(editor) != before
    press(editor, "Control+z")
    assert text_of(editor) == OLD_TEXT
    assert what_matters(editor) == before


def test_dropped_files_are_taken_back_one_by_one(editor: Editor, tmp_path: Any) -> None:
    editor.open(EMPTY)
    first = dropped(editor, tmp_path, 4, (700, 500))
    editor.show(editor.of_type(ART)[0]["id"])
    second = dropped(editor, tmp_path, 5, (700, 850))  # into the selected one
    assert text_of(editor) == second
    press(editor, "Control+z")
    assert text_of(editor) == first
    press(editor, "Control+z")
    if measures_new_nodes(editor) and editor.of_type(ART):
        press(editor, "Control+z")
    assert editor.of_type(ART) == []
    press(editor, "Control+y")
    assert text_of(editor) == first


def test_what_the_user_did_before_stays(editor: Editor, tmp_path: Any) -> None:
    """A change that the editor has not noticed yet is no part of our step."""
    editor.open(EMPTY)
    dropped(editor, tmp_path, 4, (700, 500))
    node = editor.of_type(ART)[0]["id"]
    editor.page.evaluate("id => { app.graph.getNodeById(id).widgets[0].value = 33 }", node)
    editor.show(node)
    dropped(editor, tmp_path, 5, (700, 850))
    press(editor, "Control+z")
    (back,) = editor.of_type(ART)
    assert back["widgets_values"][0] == 33


@pytest.fixture(autouse=True)
def no_errors(editor: Editor) -> Any:
    editor.errors.clear()
    yield
    assert editor.errors == []
