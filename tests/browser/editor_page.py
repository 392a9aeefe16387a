"""ComfyUI's editor in a browser page: what a user does with it, and what the tests look at."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from comfy_server import ComfyServer

READY = "() => window.app?.graph && window.app.vueAppReady"
# The editor's own: it asks for files that a new user does not have, and its start page looks for a model on the net.
NOT_OURS = (
    "accessed before initialization", "for graph that was never set up", "Content Security Policy", "huggingface.co",
    "Comfy.AudioWidget",  # 0.8.0: after undo, where a node of the run was served from the cache
)  # fmt: skip
SECONDS = 30
EMPTY: dict[str, Any] = {"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0}


def prepare_user(base: Path, workflows: list[Path]) -> None:
    """A user who has closed the first-run dialogs and has the models and pictures that these workflows name.

    The tiny checkpoint stands in for every model: here workflows are opened, and only the toy ones are run.
    """
    folder = base / "user" / "default"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comfy.settings.json").write_text(json.dumps({"Comfy.TutorialCompleted": True}))
    for path in workflows:
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            if node["type"] == "CheckpointLoaderSimple":
                stand_in = base / "models" / "checkpoints" / node["widgets_values"][0]
                if not stand_in.exists():
                    shutil.copyfile(base / "models" / "checkpoints" / "tiny_flow.safetensors", stand_in)
            elif node["type"] in {"LoadImage", "LoadImageMask"}:
                Image.new("RGB", (64, 64), "grey").save(base / "input" / node["widgets_values"][0])


class Editor:
    """One browser page with the editor, in one node style ("classic" or "nodes2")."""

    def __init__(self, browser: Any, server: ComfyServer, pictures: Path, style: str, without: str = "") -> None:
        """without: a pattern of addresses that the page must not get."""
        self.server, self.pictures, self.style = server, pictures, style
        self.errors: list[str] = []
        server.raw("/settings/Comfy.VueNodes.Enabled", style == "nodes2")
        self.context = browser.new_context(viewport={"width": 1400, "height": 1000})
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        if without:
            self.page.route(without, lambda route: route.abort())
        self.page.goto(server.url)
        self.page.wait_for_function(READY)
        # The start page's own graph comes last; one opened before it would be replaced by it.
        self.page.wait_for_function("() => app.graph._nodes.length > 0")
        self.page.wait_for_timeout(500)

    @property
    def version(self) -> str:
        """ComfyUI's, such as 0.33.0."""
        return str(self.server.get("/system_stats")["system"]["comfyui_version"])

    def close(self) -> None:
        self.context.close()

    def _on_console(self, message: Any) -> None:
        if message.type != "error":
            return
        place = message.location.get("url", "")
        missing = "404" in message.text and "Failed to load resource" in message.text
        ours = "/extensions/RestART/" in place and not place.endswith("/en.md")  # help is asked for by language first
        if any(words in message.text for words in NOT_OURS) or (missing and not ours):
            return
        self.errors.append(f"{message.text} ({place})")

    def open(self, workflow: dict[str, Any], name: str = "test") -> None:
        """Open a workflow as the editor's Open does, and wait until it is drawn; menus are closed, the mouse put by."""
        self.page.mouse.move(1390, 990)
        self.page.evaluate("() => LiteGraph.closeAllContextMenus?.(window)")
        self.page.evaluate("async ([w, name]) => { await app.loadGraphData(w, true, true, name) }", [workflow, name])
        count = len(workflow["nodes"])
        self.page.wait_for_function("n => app.graph._nodes.length === n", arg=count)
        if self.style == "nodes2" and count:
            self.page.wait_for_selector("[data-node-id]")
        self.page.wait_for_timeout(300)

    def serialized(self) -> dict[str, Any]:
        """The graph as it would be saved."""
        found: dict[str, Any] = self.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
        return found

    def of_type(self, node_type: str) -> list[dict[str, Any]]:
        return [node for node in self.serialized()["nodes"] if node["type"] == node_type]

    def show(self, node: int) -> None:
        """Select a node and bring it to the middle of the canvas."""
        self.page.evaluate(
            "id => { const n = app.graph.getNodeById(id); app.canvas.ds.scale = 1; app.canvas.centerOnNode(n);"
            " app.canvas.selectItems([n]); app.canvas.setDirty(true, true) }",
            node,
        )
        self.page.wait_for_timeout(300)

    def picture(self, name: str, node: int | None = None) -> np.ndarray:
        """A screenshot, kept as <name>.png; with `node`, only where that node stands. (height, width, 3) uint8."""
        clip = None
        if node is not None:
            clip = self.page.evaluate(
                "id => { const n = app.graph.getNodeById(id), c = app.canvas, b = n.getBounding();"
                " const r = c.canvas.getBoundingClientRect(), s = c.ds.scale, o = c.ds.offset;"
                " return {x: Math.max(0, r.x + (b[0] + o[0]) * s), y: Math.max(0, r.y + (b[1] + o[1]) * s),"
                " width: b[2] * s, height: b[3] * s} }",
                node,
            )
        data = self.page.screenshot(path=self.pictures / f"{name}.png", clip=clip)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def title_of(self, node: int) -> tuple[float, float]:
        """Where on the page a node's title is."""
        x, y = self.page.evaluate(
            "id => { const n = app.graph.getNodeById(id), c = app.canvas, r = c.canvas.getBoundingClientRect();"
            " const s = c.ds.scale, o = c.ds.offset; return [r.x + (n.pos[0] + o[0] + 90) * s,"
            " r.y + (n.pos[1] + o[1] - 15) * s] }",
            node,
        )
        return float(x), float(y)

    def saved_file(self) -> tuple[str, bytes]:
        """The first picture that the last run saved: its name and the PNG."""
        shown = self.page.evaluate("() => Object.values(app.nodeOutputs).flatMap(o => o?.images ?? [])")
        item = next(entry for entry in shown if entry["type"] == "output")
        query = urllib.parse.urlencode({key: item[key] for key in ("filename", "subfolder", "type")})
        return item["filename"], self.server.raw(f"/view?{query}")

    def saved_pictures(self) -> bytes:
        """The pixels of saved_file."""
        return Image.open(io.BytesIO(self.saved_file()[1])).convert("RGB").tobytes()

    def start(self) -> None:
        """Press Run."""
        self.page.evaluate(
            "() => { window.ended = null; const note = e => { window.ended = e.type };"
            " for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])"
            " app.api.addEventListener(kind, note, {once: true}); return app.queuePrompt(0, 1) }"
        )

    def ended(self) -> str | None:
        """How the run that start() began ended, or None while it goes on."""
        found: str | None = self.page.evaluate("() => window.ended")
        return found

    def wait(self, seconds: float = 120) -> None:
        """Until the run is over; AssertionError if it failed."""
        deadline = time.monotonic() + seconds
        while self.ended() is None:
            assert time.monotonic() < deadline, f"the run took more than {seconds} s: {self.server.log()[-2000:]}"
            self.page.wait_for_timeout(100)
        assert self.ended() == "execution_success", self.server.log()[-3000:]

    def drop(self, name: str, data: bytes, kind: str, at: tuple[int, int] = (700, 850)) -> None:
        """Drop a file onto the canvas at this place of the page."""
        self.page.mouse.move(*at)
        self.page.evaluate(
            """([name, data, kind, x, y]) => {
                const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), carried = new DataTransfer();
                carried.items.add(new File([bytes], name, {type: kind}));
                const target = document.elementFromPoint(x, y);
                for (const event of ['dragenter', 'dragover', 'drop'])
                    target.dispatchEvent(new DragEvent(event, {dataTransfer: carried, bubbles: true,
                        cancelable: true, clientX: x, clientY: y}));
            }""",
            [name, base64.b64encode(data).decode(), kind, *at],
        )
