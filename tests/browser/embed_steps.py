"""Embedding, step by step: what the tests of it and of its undo share."""

from __future__ import annotations

from typing import Any

from editor_page import Editor
from graph import load_workflow
from locate import REPOSITORY

LEARN = REPOSITORY / "workflows" / "RestART - learn a schedule and sample.json"
ART, FIT, SAMPLER = "RestART_ARTScheduler", "RestART_FitARTSchedule", "SamplerCustom"
LOAD = "RestART_LoadARTSchedule"
ENTRY = "Embed schedule in workflow"


def direct_fit() -> dict[str, Any]:
    """The shipped workflow with the shortest fit; the same for both styles, so that it is learned once."""
    workflow = load_workflow(LEARN)
    for node in workflow["nodes"]:
        if node["type"] == FIT:
            node["widgets_values"] = [1.0, 0, "euler", "6", 4, "direct", False]
    return workflow


def text_of(editor: Editor) -> str:
    """What the one ART Scheduler of the graph holds."""
    (node,) = editor.of_type(ART)
    values = [value for value in node["widgets_values"] if isinstance(value, str)]
    return values[0]


def press_button(editor: Editor) -> None:
    """The mouse on our button; older front ends may float it out of a small window's view, or under its tabs."""
    button = editor.page.locator("button:has(.pi-bookmark)").first
    button.wait_for(state="attached")
    in_reach = button.evaluate(
        "b => { const r = b.getBoundingClientRect();"
        " return b.contains(document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2)) }"
    )
    if in_reach:
        button.click()
    else:
        button.evaluate("button => button.click()")


def choose_entry(editor: Editor, node_type: str, button: bool = False) -> None:
    """Our entry in the node's menu, opened as a user does; or our button above the selected node."""
    (node,) = editor.of_type(node_type)
    editor.show(node["id"])
    if button:
        editor.picture("button")
        press_button(editor)
    else:
        x, y = editor.title_of(node["id"])
        editor.page.mouse.click(x, y, button="right")
        editor.picture("menu")
        editor.page.locator(f':text-is("{ENTRY}"):not(.p-tooltip-text)').first.click()  # our button's hint says it too
    editor.page.wait_for_timeout(500)


def has_menu(editor: Editor) -> bool:
    """Nodes 2.0 of the oldest supported version shows nothing of an extension in its menu; the button it does show."""
    return editor.style == "classic" or tuple(int(part) for part in editor.version.split(".")[:2]) > (0, 8)
