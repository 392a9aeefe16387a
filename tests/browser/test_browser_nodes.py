"""Our nodes as they come onto the canvas: nothing is cut off, and what is advanced is folded away where that exists."""

from __future__ import annotations

from typing import Any

import pytest

from editor_page import EMPTY, Editor
from locate import REPOSITORY

TYPES = sorted(path.stem for path in (REPOSITORY / "web" / "docs").glob("*.md"))
RESTART, FIT = "RestART_SamplerRestart", "RestART_FitARTSchedule"
FOLDS = "Show advanced inputs"


def add(editor: Editor, types: list[str]) -> list[int]:
    """New nodes, as the editor's search adds them; their ids."""
    editor.open(EMPTY)
    editor.errors.clear()
    made: list[int] = editor.page.evaluate(
        "types => types.map((type, i) => { const n = LiteGraph.createNode(type);"
        " n.pos = [(i % 4) * 500, Math.floor(i / 4) * 700]; app.graph.add(n); return n.id })",
        types,
    )
    editor.page.wait_for_timeout(500)
    return made


def element(editor: Editor, node: int) -> Any:
    return editor.page.locator(f"[data-node-id='{node}']")


def test_text_fields_show_all_that_stands_in_them(editor: Editor) -> None:
    """Every line of a default, in each of our text fields."""
    filled = 0
    for node, name in zip(add(editor, TYPES), TYPES, strict=True):
        editor.show(node)
        editor.picture(f"new-{name}")
        fields = editor.page.evaluate(
            "id => app.graph.getNodeById(id).widgets.filter(w => typeof w.value === 'string' && w.value.includes("
            "'\\n') || w.name === 'segments').map(w => w.value)",
            node,
        )
        for text in fields:
            box = next(b for b in editor.page.locator("textarea").all() if b.input_value() == text)
            needed, given = box.evaluate("b => [b.scrollHeight, b.clientHeight]")
            assert needed <= given + 4, (name, text, needed, given)  # half a line of padding may go
            filled += 1
    assert filled >= 3
    assert editor.errors == []


def test_widgets_and_titles_fit_into_the_node(editor: Editor) -> None:
    """In Nodes 2.0 the page can tell: no label or title is wider than its place."""
    if editor.style == "classic":
        pytest.skip("the classic canvas draws its labels itself")
    for node, name in zip(add(editor, TYPES), TYPES, strict=True):
        editor.show(node)
        cut = element(editor, node).evaluate(
            "n => [...n.querySelectorAll('.truncate, [class*=truncate]')].filter(e => e.scrollWidth > e.clientWidth + 1"
            " && e.innerText.trim()).map(e => e.innerText)"
        )
        assert cut == [], name


def test_advanced_inputs_are_folded_away(editor: Editor) -> None:
    """Nodes 2.0 of newer versions: churn shows once it is asked for; preset shows at once."""
    (node,) = add(editor, [RESTART])
    editor.show(node)
    shown = element(editor, node)
    if editor.style == "classic" or not shown.get_by_text(FOLDS).count():
        version = tuple(int(part) for part in editor.version.split(".")[:2])
        assert editor.style == "classic" or version < (0, 33), "advanced inputs are not folded"
        return
    label = shown.get_by_text("churn", exact=True)
    assert shown.get_by_text("preset", exact=True).is_visible()
    assert not label.is_visible()
    shown.get_by_text(FOLDS).click()
    label.wait_for(state="visible")


def test_the_live_curve_has_room(editor: Editor) -> None:
    """A picture 512 pixels wide is shown in the fit node; at 270, the editor's width, its words cannot be read."""
    (node,) = add(editor, [FIT])
    assert editor.page.evaluate("id => app.graph.getNodeById(id).size[0]", node) >= 400
