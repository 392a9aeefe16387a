"""A real ComfyUI server in a private folder, and the few HTTP calls that tests need."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch import BOOT
from PIL import Image

from locate import find_python
from workspace import DIGIT_PACK, private_base

START_SECONDS, PROMPT_SECONDS = 180.0, 180.0


class PromptFailed(Exception):
    """The server refused a prompt or one of its nodes raised; `details` is what the server said."""

    def __init__(self, message: str, details: Any) -> None:
        super().__init__(message)
        self.details = details


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ComfyServer:
    """Starts in the constructor; stop() ends it. `base` gets everything that ComfyUI writes."""

    def __init__(self, checkout: Path, python: Path, base: Path, arguments: list[str]) -> None:
        self.base, self.port = base, free_port()
        self.log_file = base / "server.log"
        command = [
            str(python), str(BOOT), str(checkout), "--cpu", "--listen", "127.0.0.1", "--port", str(self.port),
            "--disable-auto-launch", "--disable-api-nodes", "--preview-method", "none", *arguments,
        ]  # fmt: skip
        with self.log_file.open("wb") as log:
            # One thread: the network is tiny, and threads that wait for each other cost more than they bring.
            env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
            env.pop("PYTHONPATH", None)
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=base, env=env)
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise RuntimeError(f"ComfyUI did not start:\n{self.log()[-4000:]}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def raw(self, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def get(self, path: str) -> Any:
        return json.loads(self.raw(path))

    def object_info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.get("/object_info")
        return info

    def submit(self, graph: dict[str, Any]) -> str:
        """Queue an API-format graph; its prompt id. PromptFailed if the server refuses it."""
        try:
            return str(json.loads(self.raw("/prompt", {"prompt": graph}))["prompt_id"])
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            raise PromptFailed(f"refused: {text}", json.loads(text)) from None

    def wait(self, prompt_id: str, seconds: float = PROMPT_SECONDS) -> dict[str, Any]:
        """The history entry of a prompt that ended. PromptFailed if a node raised or it was interrupted."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None and entry.get("status", {}).get("status_str"):
                if entry["status"]["status_str"] != "success":
                    messages = dict(entry["status"]["messages"])
                    reason = messages.get("execution_error", {}).get("exception_message")
                    raise PromptFailed(reason or f"did not finish: {sorted(messages)}", messages)
                return dict(entry)
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended:\n{self.log()[-4000:]}")
            time.sleep(0.1)
        raise TimeoutError(f"prompt not done after {seconds:.0f} s:\n{self.log()[-2000:]}")

    def run(self, graph: dict[str, Any], seconds: float = PROMPT_SECONDS) -> dict[str, Any]:
        return self.wait(self.submit(graph), seconds)

    def interrupt(self) -> None:
        self.raw("/interrupt", {})

    def pictures(self, entry: dict[str, Any], node: str) -> list[Image.Image]:
        """The PNGs that a node of a finished prompt saved or previewed."""
        found = []
        for item in entry["outputs"][node]["images"]:
            query = urllib.parse.urlencode({key: item[key] for key in ("filename", "subfolder", "type")})
            found.append(Image.open(io.BytesIO(self.raw(f"/view?{query}"))))
        return found


def executed_nodes(entry: dict[str, Any]) -> set[str]:
    """Ids of the nodes that were served from the cache are what is missing here."""
    cached = {
        node for kind, body in entry["status"]["messages"] if kind == "execution_cached" for node in body["nodes"]
    }
    return set(entry["prompt"][2]) - cached


@contextmanager
def digit_server(checkout: Path, base: Path) -> Iterator[ComfyServer]:
    """ComfyUI in base with a copy of this pack, the digit pack and the tiny checkpoints; stopped at the end."""
    server = ComfyServer(checkout, find_python(checkout), base, private_base(base, DIGIT_PACK))
    try:
        yield server
    finally:
        server.stop()
