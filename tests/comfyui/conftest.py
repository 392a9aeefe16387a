"""Fixtures that start a real ComfyUI. Without one the tests here are skipped, and say so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # launch.py and probe_host.py run as scripts; their modules are plain
from checkouts import checkout, pytest_generate_tests  # noqa: F401 for pytest
from comfy_server import ComfyServer, digit_server
from locate import find_python


@pytest.fixture(scope="session")
def comfy_python(checkout: Path) -> Path:
    return find_python(checkout)


@pytest.fixture(scope="session")
def server(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI on CPU with a copy of this pack, the digit pack and the tiny checkpoints."""
    with digit_server(checkout, tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(server: ComfyServer) -> dict[str, Any]:
    return server.object_info()
