"""Every shipped workflow and every help page, opened in the real editor in both node styles."""

from __future__ import annotations

from pathlib import Path

import pytest

from editor_page import EMPTY, Editor
from graph import load_workflow
from locate import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / "workflows").glob("*.json"))
HELP = sorted((REPOSITORY / "web" / "docs").glob("*.md"))


def test_the_style_is_what_it_says(editor: Editor) -> None:
    """Nodes 2.0 draws nodes as elements of the page; the classic canvas does not."""
    editor.open(load_workflow(WORKFLOWS[0]))
    drawn = editor.page.locator("[data-node-id]").count()
    assert (drawn > 0) == (editor.style == "nodes2"), drawn


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_opens(editor: Editor, path: Path) -> None:
    """No missing node, no console error, no dialog; and it is on the screen."""
    workflow = load_workflow(path)
    editor.errors.clear()
    editor.open(workflow, path.stem)
    unknown = editor.page.evaluate(
        "() => app.graph._nodes.filter(n => !LiteGraph.registered_node_types[n.type]).map(n => n.type)"
    )
    assert unknown == []
    red = editor.page.evaluate("() => app.graph._nodes.filter(n => n.has_errors).map(n => n.type)")
    assert red == []
    dialogs = [d.inner_text() for d in editor.page.get_by_role("dialog").all() if d.is_visible()]
    assert dialogs == []
    assert sorted(n["type"] for n in editor.serialized()["nodes"]) == sorted(n["type"] for n in workflow["nodes"])
    picture = editor.picture(f"workflow-{path.stem}")
    assert picture.std() > 5, "an empty canvas"
    assert editor.errors == []


def test_help_renders(editor: Editor) -> None:
    """Each node's help page, through the info button of the selected node: its first and last heading show."""
    editor.open(EMPTY)
    editor.errors.clear()
    page = editor.page
    made = page.evaluate(
        "types => types.map((type, i) => { const n = LiteGraph.createNode(type);"
        " n.pos = [(i % 4) * 500, Math.floor(i / 4) * 700]; app.graph.add(n); return n.id })",
        [path.stem for path in HELP],
    )
    page.wait_for_timeout(500)
    for node, path in zip(made, HELP, strict=True):
        editor.show(node)
        shown = page.locator(".node-help-content")
        if not shown.is_visible():
            page.get_by_test_id("info-button").click()
        lines = path.read_text(encoding="utf-8").splitlines()
        headings = [line.lstrip("# ").strip() for line in lines if line.startswith("#")]
        for heading in (headings[0], headings[-1]):
            shown.get_by_role("heading", name=heading, exact=True).first.wait_for(state="attached", timeout=15000)
        editor.picture(f"help-{path.stem}")
    assert editor.errors == []
