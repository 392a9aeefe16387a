"""The editor in another language: our texts reach the nodes, and every one of them passes its message compiler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from editor_page import Editor
from locate import REPOSITORY

LOCALES = REPOSITORY / "locales"
# The editor's menu has no German yet; that folder waits for it.
OFFERED = sorted(folder.name for folder in LOCALES.iterdir() if folder.name != "de")


def flat(path: str, texts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, text), as in nodeDefs.RestART_ARTScheduler.inputs.model.tooltip."""
    for key, value in texts.items():
        if isinstance(value, dict):
            yield from flat(f"{path}.{key}", value)
        else:
            yield f"{path}.{key}", value


def texts_of(language: str) -> dict[str, Any]:
    texts: dict[str, Any] = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    return texts


@pytest.fixture(scope="module")
def chinese(chromium: Any, editor_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    editor_server.raw("/settings/Comfy.Locale", "zh")
    opened = Editor(chromium, editor_server, tmp_path_factory.mktemp("pictures-zh"), "classic")
    yield opened
    opened.close()
    editor_server.raw("/settings/Comfy.Locale", "en")


def test_nodes_speak_the_language_of_the_editor(chinese: Editor) -> None:
    found = chinese.page.evaluate(
        "types => types.map(type => { const n = LiteGraph.createNode(type); return {title: n.title,"
        " inputs: Object.fromEntries(n.inputs.map(i => [i.name, i.label ?? i.localized_name])),"
        " outputs: n.outputs.map(o => o.label ?? o.localized_name ?? o.name)} })",
        list(texts_of("zh")),
    )
    for shown, texts in zip(found, texts_of("zh").values(), strict=True):
        assert shown["title"] == texts["display_name"]
        inputs = {name: text["name"] for name, text in texts["inputs"].items()}
        assert shown["inputs"].items() <= inputs.items()
        named = {text["name"] for text in texts["outputs"].values() if "tooltip" in text}
        assert named <= set(shown["outputs"])


@pytest.mark.parametrize("language", OFFERED)
def test_every_text_is_shown_as_it_stands(chinese: Editor, language: str) -> None:
    """Through the editor's own $t, which reads braces, bars and at signs as commands."""
    page, wanted = chinese.page, dict(flat("nodeDefs", texts_of(language)))
    page.evaluate("language => app.extensionManager.setting.set('Comfy.Locale', language)", language)
    first = next(iter(wanted))
    translate = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$t"
    page.wait_for_function(f"([key, text]) => {translate}(key) === text", arg=[first, wanted[first]])
    shown = page.evaluate(f"keys => keys.map(key => {translate}(key))", list(wanted))
    assert dict(zip(wanted, shown, strict=True)) == wanted
