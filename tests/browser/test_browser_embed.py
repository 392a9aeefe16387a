"""The extension: "Embed schedule in workflow", schedule files dropped onto the canvas, and life without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from embed_steps import ART, FIT, LOAD, SAMPLER, choose_entry, direct_fit, has_menu, text_of

from restart_art.schedules import ArtSchedule

from editor_page import EMPTY, Editor


@pytest.fixture(scope="module")
def fitted(editor: Editor) -> Iterator[Editor]:
    editor.open(direct_fit())
    editor.start()
    editor.wait()
    return editor


def test_embed_writes_the_text(fitted: Editor) -> None:
    """A new ART Scheduler with the learned schedule takes the fit's place; it draws the very same pictures."""
    editor = fitted
    editor.errors.clear()
    before = editor.saved_pictures()
    choose_entry(editor, FIT, button=True)
    editor.picture("embedded")
    schedule = ArtSchedule.from_text(text_of(editor))
    assert schedule.steps == (6,)
    graph = editor.serialized()
    kinds = {node["id"]: node["type"] for node in graph["nodes"]}
    arrows = {(kinds[link[1]], kinds[link[3]], link[5]) for link in graph["links"]}
    assert (ART, SAMPLER, "SIGMAS") in arrows
    assert (FIT, SAMPLER, "SIGMAS") not in arrows
    assert ("CheckpointLoaderSimple", ART, "MODEL") in arrows
    (node,) = editor.of_type(ART)
    assert 6 in node["widgets_values"]
    editor.start()
    editor.wait()
    assert editor.saved_pictures() == before
    assert editor.errors == []


def test_the_png_carries_the_text(fitted: Editor) -> None:
    """The picture drawn with the embedded schedule, dropped onto an empty canvas, has the schedule in it."""
    editor = fitted
    text, count = text_of(editor), len(editor.serialized()["nodes"])
    name, picture = editor.saved_file()
    editor.open(EMPTY)
    editor.drop(name, picture, "image/png")
    editor.page.wait_for_function("n => app.graph._nodes.length === n", arg=count)
    assert text_of(editor) == text


def test_embed_goes_to_the_scheduler_that_is_plugged_in(editor: Editor) -> None:
    """No second node: the text goes into the ART Scheduler, and the cable that would win over it is taken out."""
    editor.open(direct_fit())
    editor.page.evaluate(
        "([fit, art]) => { const f = app.graph._nodes.find(n => n.type === fit), a = LiteGraph.createNode(art);"
        " app.graph.add(a); f.connect(0, a, a.inputs.findIndex(i => i.name === 'schedule'));"
        " f.getInputNode(0).connect(0, a, 0) }",
        [FIT, ART],
    )
    editor.start()
    editor.wait()
    choose_entry(editor, FIT, button=not has_menu(editor))
    assert ArtSchedule.from_text(text_of(editor)).steps == (6,)
    (node,) = editor.of_type(ART)
    assert next(entry for entry in node["inputs"] if entry["name"] == "schedule")["link"] is None


def test_schedule_file_dropped(editor: Editor, tmp_path: Any) -> None:
    """A file makes an ART Scheduler; a second one, dropped on that node, changes it; foreign files are not ours."""
    files = {}
    for steps, sigmas in ((4, (1.0, 0.7, 0.4, 0.1)), (5, (1.0, 0.8, 0.6, 0.3, 0.1))):
        schedule = ArtSchedule(curves=((steps, sigmas),), solver="euler", process="flow", sigma_min=0.01, sigma_max=1.0)
        schedule.save(tmp_path / f"{steps}.safetensors")
        files[steps] = (schedule.to_text(), (tmp_path / f"{steps}.safetensors").read_bytes())
    editor.open(EMPTY)
    editor.errors.clear()
    for steps, (text, data) in files.items():
        nodes = editor.of_type(ART)
        place = (700, 500)
        if nodes:
            editor.show(nodes[0]["id"])
            editor.page.evaluate("() => app.canvas.deselectAll()")
            x, y = editor.title_of(nodes[0]["id"])
            place = (x, y)
        editor.drop(f"{steps}.safetensors", data, "", place)
        editor.page.wait_for_function("t => app.graph._nodes.some(n => n.widgets?.some(w => w.value === t))", arg=text)
        assert text_of(editor) == text
        editor.picture(f"dropped-{steps}")
    assert editor.errors == []
    # A safetensors file without a schedule goes to ComfyUI, which opens the workflow in it.
    header = json.dumps({"__metadata__": {"workflow": json.dumps(direct_fit())}}).encode()
    editor.drop("other.safetensors", len(header).to_bytes(8, "little") + header, "", (700, 700))
    editor.page.wait_for_function("() => app.graph._nodes.length > 10")
    assert not editor.of_type(ART)


def test_a_loaded_schedule_is_embedded(editor: Editor) -> None:
    """Load ART Schedule is a source too: a new ART Scheduler beside it, at the step count that was learned."""
    schedule = ArtSchedule(
        curves=((4, (1.0, 0.7, 0.4, 0.1)),), solver="euler", process="flow", sigma_min=0.01, sigma_max=1.0
    )
    folder = editor.server.base / "models" / "art_schedules"
    folder.mkdir(parents=True, exist_ok=True)
    schedule.save(folder / "four.safetensors")
    editor.open(EMPTY)
    editor.page.evaluate(
        "type => { const l = LiteGraph.createNode(type), p = LiteGraph.createNode('PreviewAny'); app.graph.add(l);"
        " app.graph.add(p); p.pos = [500, 0]; l.widgets[0].value = 'four'; l.connect(1, p, 0) }",
        LOAD,
    )
    editor.start()
    editor.wait()
    choose_entry(editor, LOAD, button=True)
    assert text_of(editor) == schedule.to_text()
    (node,) = editor.of_type(ART)
    assert node["widgets_values"][0] == 4


def test_embedding_before_a_run_says_what_to_do(editor: Editor) -> None:
    editor.open(direct_fit())
    editor.page.evaluate("() => { app.nodeOutputs = {} }")
    choose_entry(editor, FIT, button=True)
    editor.page.get_by_text("run the workflow once").first.wait_for()
    assert not editor.of_type(ART)


def test_nothing_deprecated_is_imported(editor: Editor) -> None:
    """The server notes each front-end file that only old extensions ask for; ours asks for none."""
    assert "[DEPRECATION WARNING]" not in editor.server.log()


def test_without_the_extension(chromium: Any, editor_server: Any, tmp_path: Any) -> None:
    """With the script kept from loading the workflow still opens, and nothing but that one request fails."""
    editor = Editor(chromium, editor_server, tmp_path, "classic", without="**/extensions/RestART/js/**")
    try:
        editor.open(direct_fit())
        editor.start()
        editor.wait()
        assert editor.saved_pictures()
        assert [error for error in editor.errors if "restart_art.js" not in error] == []
    finally:
        editor.close()
