"""The shipped workflows are what their descriptions say, and their tiny twins draw the digit asked for on a server."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from make_workflows import FOLDER, path_of, text_of
from PIL import Image
from workflow_recipes import DIGIT, LEARN, RECIPES, SHARED, build
from workflow_sheet import NODES
from workflow_thumbnails import LARGEST
from workflow_twins import TwinRun, a_digit, batch_of, put_photo, run_twin

from restart_art.schedules import ArtSchedule

import digit_graphs as draw
from comfy_server import ComfyServer
from graph import WIDGET_TYPES

HAND_MADE = {"RestART - learn a schedule and sample"}
NAMES = list(RECIPES)


@pytest.fixture(scope="module")
def ready(server: ComfyServer) -> Iterator[ComfyServer]:
    """The server with the picture that image to image starts from; what twins save in models/ is removed."""
    photo = put_photo(server)
    yield server
    photo.unlink()
    for path in (server.base / "models" / "art_schedules").glob("my model*"):
        path.unlink()


def test_files_are_what_the_descriptions_say() -> None:
    """`python tests/comfyui/make_workflows.py` writes them."""
    assert {path.stem for path in FOLDER.glob("*.json")} == {*NAMES, *HAND_MADE}
    for name in NAMES:
        assert path_of(name).read_text(encoding="utf-8") == text_of(build(name)), name


def test_each_has_a_small_thumbnail() -> None:
    assert {path.stem for path in FOLDER.glob("*.jpg")} == {*NAMES, *HAND_MADE}
    for path in FOLDER.glob("*.jpg"):
        assert path.stat().st_size <= LARGEST, path.name
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) >= 300, path.name


@pytest.mark.parametrize("name", NAMES)
def test_notes_explain_the_checkpoint(name: str) -> None:
    """The note names the file that the loader names, and says what to change; no test node is shipped."""
    workflow = build(name)
    (note,) = (node for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    (loader,) = (node for node in workflow["nodes"] if node["type"] == "CheckpointLoaderSimple")
    text = note["widgets_values"][0]
    assert f"**{loader['widgets_values'][0]}**" in text
    assert "### What to change" in text
    assert "### Your own checkpoint" in text
    assert not any(node["type"].startswith("RestARTTest") for node in workflow["nodes"])


@pytest.mark.parametrize("tiny", [False, True], ids=["real", "tiny"])
@pytest.mark.parametrize("name", NAMES)
def test_groups_hold_their_nodes(name: str, tiny: bool) -> None:
    """Groups lie apart; every node but the note is in exactly one."""
    workflow = build(name, tiny)
    frames = [group["bounding"] for group in workflow["groups"]]
    for i, (ax, ay, aw, ah) in enumerate(frames):
        for bx, by, bw, bh in frames[i + 1 :]:
            assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay, "groups overlap"
    for node in workflow["nodes"]:
        (x, y), (w, h) = node["pos"], node["size"]
        inside = [fx <= x and fy <= y - 30 and x + w <= fx + fw and y + h <= fy + fh for fx, fy, fw, fh in frames]
        assert sum(inside) == (node["type"] != "MarkdownNote"), f"{node['type']} is in {sum(inside)} groups"


def test_node_table_is_the_servers(object_info: dict[str, Any]) -> None:
    """Names, order and types of the inputs and outputs that workflows are built with."""
    for kind, (wanted, given) in NODES.items():
        info = object_info[kind]
        theirs = [
            (name, spec[0]) for part in ("required", "optional") for name, spec in info["input"].get(part, {}).items()
        ]
        words = [word.partition(":") for word in wanted.split()]
        for ours, is_socket in ((True, True), (False, False)):
            mine = [(name.rstrip("!~"), kind_) for name, _, kind_ in words if bool(kind_) == ours]
            widget = [(n, k) for n, k in theirs if (isinstance(k, list) or k in WIDGET_TYPES) != is_socket]
            assert [n for n, _ in mine] == [n for n, _ in widget][: len(mine)], kind
            if is_socket:
                assert mine == widget, kind
        if given:
            named = list(zip(info["output_name"], info["output"], strict=True))
            assert [":".join(pair) for pair in named] == given.split(), kind


def assert_drawn(run: TwinRun, name: str) -> None:
    for title, pictures in run.pictures.items():
        assert len(pictures) == batch_of(name)
        seen, sure = draw.judge(pictures)
        assert seen.count(DIGIT) >= 0.8 * len(seen), f"{title}: seen {seen}, confidence {sure}"


# Of every sampling node: model calls and returns to a higher noise level. heun makes 2 N - 1 calls, with a1111 the
# same; 10 steps of randomized midpoint 19; parallel midpoint 12 + 1 rounds; auto 15 calls on top of 30, or within 30.
CALLS = {
    "RestART - Restart in one click": [(39, 1)],
    "RestART - Restart against the plain solver": [(39, 0), (39, 1)],
    "RestART - randomized midpoint": [(19, 0)],
    "RestART - parallel midpoint": [(13, 0)],
    LEARN: [(12, 0)],
    "RestART - use a shared schedule": [(12, 0)],
    "RestART - image to image with Restart": [(39, 1)],
    "RestART - inpaint with Restart": [(45, 5)],
    "RestART - flow model with Restart": [(30, 3)],
}


@pytest.mark.parametrize("name", NAMES)
def test_twin_draws_the_digit(ready: ComfyServer, object_info: dict[str, Any], name: str) -> None:
    """As many model calls as its note says, and the digit asked for."""
    run = run_twin(ready, object_info, name)
    made = []
    for calls in run.calls.values():
        highest = [max(levels) for levels in calls]
        made.append((len(calls), sum(after > before for before, after in pairwise(highest))))
    assert made == CALLS[name]
    assert_drawn(run, name)
    if name == LEARN:
        report, text = run.texts("PreviewAny").rsplit("\n", 1)
        assert "model evaluations to learn" in report
        assert ArtSchedule.from_text(text).steps == (12,)
        assert "Saved as my model" in run.texts("RestART_SaveARTSchedule")
        assert [file.name for file in (ready.base / "models" / "art_schedules").glob("my model*")]


def test_shared_schedule_is_the_one_used(ready: ComfyServer, object_info: dict[str, Any]) -> None:
    """The shipped line was learned on this very model, solver and cfg: no warning; its levels are asked."""
    text = SHARED.read_text(encoding="utf-8").strip()
    assert len(text.encode()) < 2000
    run = run_twin(ready, object_info, "RestART - use a shared schedule")
    info = run.texts("PreviewAny")
    assert "Learned on" in info
    assert "Warning" not in info
    (calls,) = run.calls.values()
    wanted = ArtSchedule.from_text(text).sigmas(12)[:-1].tolist()
    assert [levels[0] for levels in calls] == pytest.approx(wanted, rel=1e-5)
    other = run_twin(ready, object_info, "RestART - use a shared schedule", {"RestART_ARTScheduler": {"cfg": 7.0}})
    assert "Warning" in other.texts("PreviewAny")


def test_compared_pictures_start_from_the_same_noise(ready: ComfyServer, object_info: dict[str, Any]) -> None:
    """Plain and Restart: other pictures, but of one noise; with no step to restart from they are the same."""
    name = "RestART - Restart against the plain solver"
    many = run_twin(ready, object_info, name)
    assert pixels(many, "Plain") != pixels(many, "Restart")
    few = run_twin(ready, object_info, name, {"BasicScheduler": {"steps": 10}})
    assert pixels(few, "Plain") == pixels(few, "Restart")


def pixels(run: TwinRun, title: str) -> list[bytes]:
    return [picture.tobytes() for picture in run.pictures[title]]


def test_inpainting_keeps_what_is_not_painted(ready: ComfyServer, object_info: dict[str, Any]) -> None:
    """The upper half to the last grey level; the lower half is drawn anew. Image to image changes all of it."""
    before = a_digit()
    (painted,) = draw.as_digits(run_twin(ready, object_info, "RestART - inpaint with Restart").pictures[""])
    assert (painted[:4] - before[:4]).abs().max() <= 1.5 / 255
    assert (painted[4:] - before[4:]).abs().mean() > 0.03
    (whole,) = draw.as_digits(run_twin(ready, object_info, "RestART - image to image with Restart").pictures[""])
    assert (whole[:4] - before[:4]).abs().mean() > 0.03
