"""Fixtures that start a real ComfyUI. Without one the tests here are skipped, and say so."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # launch.py and probe_host.py run as scripts; their modules are plain
from comfy_server import ComfyServer
from locate import HOW_TO_INSTALL, find_checkouts, find_python, version_of
from workspace import private_base

DIGIT_PACK = Path(__file__).with_name("digit_pack")
REQUIRED = os.environ.get("RESTART_ART_REQUIRE_COMFYUI") == "1"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "checkout" in metafunc.fixturenames:
        found = find_checkouts()
        names = [f"ComfyUI-{version_of(folder)}" for folder in found] or ["no-ComfyUI"]
        metafunc.parametrize("checkout", found or [None], ids=names, scope="session", indirect=True)


@pytest.fixture(scope="session")
def checkout(request: pytest.FixtureRequest) -> Path:
    """A ComfyUI checkout; each one of COMFYUI_PATHS, or the one found."""
    if request.param is None:
        if REQUIRED:
            pytest.fail(f"RESTART_ART_REQUIRE_COMFYUI=1, but {HOW_TO_INSTALL}", pytrace=False)
        pytest.skip("ComfyUI was not found (COMFYUI_PATH, ~/comfy/ComfyUI); see README, 'Tests'")
    found: Path = request.param
    return found


@pytest.fixture(scope="session")
def comfy_python(checkout: Path) -> Path:
    return find_python(checkout)


@pytest.fixture(scope="session")
def server(checkout: Path, comfy_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI on CPU with a copy of this pack, the digit pack and the tiny checkpoints."""
    base = tmp_path_factory.mktemp("comfyui")
    running = ComfyServer(checkout, comfy_python, base, private_base(base, DIGIT_PACK))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def object_info(server: ComfyServer) -> dict[str, Any]:
    return server.object_info()
