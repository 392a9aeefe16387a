"""A real ComfyUI and a real headless Chromium, one of each for the session. Without them the tests skip, and say so."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "comfyui"))  # the room where ComfyUI is found and started
sys.path.insert(0, str(Path(__file__).parent))
from checkouts import checkout, pytest_generate_tests  # noqa: F401 for pytest
from comfy_server import ComfyServer
from editor_page import Editor, prepare_user
from locate import REPOSITORY, find_python
from workspace import private_base

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make test installs it)")
STYLES = ("classic", "nodes2")
# No sandbox, because CI runs as root; drawn by software, because there is no GPU.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """Headless Chromium: the system's, else playwright's own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_api.sync_playwright() as playwright:
        if program is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("Chromium was not found: install chromium, or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def editor_server(chromium: object, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI on CPU with a copy of this pack and the tiny checkpoints, and a user who has seen the tutorial."""
    base = tmp_path_factory.mktemp("browser-comfyui")
    arguments = private_base(base)
    prepare_user(base, sorted((REPOSITORY / "workflows").glob("*.json")))
    running = ComfyServer(checkout, find_python(checkout), base, arguments)
    yield running
    running.stop()


@pytest.fixture(scope="session", params=STYLES)
def editor(
    request: pytest.FixtureRequest, chromium: object, editor_server: ComfyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Editor]:  # fmt: skip
    """The editor, open in the browser, in each node style."""
    opened = Editor(chromium, editor_server, tmp_path_factory.mktemp(f"pictures-{request.param}"), request.param)
    yield opened
    opened.close()
