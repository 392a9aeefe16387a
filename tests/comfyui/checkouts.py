"""The ComfyUI that a test runs in: each of COMFYUI_PATHS, or the one found. A room that drives
one has these two in its conftest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from locate import HOW_TO_INSTALL, find_checkouts, version_of

REQUIRED = os.environ.get("RESTART_ART_REQUIRE_COMFYUI") == "1"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `checkout` once in every one found; ids name the version."""
    if "checkout" in metafunc.fixturenames:
        found = find_checkouts()
        names = [f"ComfyUI-{version_of(folder)}" for folder in found] or ["no-ComfyUI"]
        metafunc.parametrize("checkout", found or [None], ids=names, scope="session", indirect=True)


@pytest.fixture(scope="session")
def checkout(request: pytest.FixtureRequest) -> Path:
    """A ComfyUI checkout; each one of COMFYUI_PATHS, or the one found.

    Without one the test skips, or fails where one is required.
    """
    if request.param is None:
        if REQUIRED:
            pytest.fail(f"RESTART_ART_REQUIRE_COMFYUI=1, but {HOW_TO_INSTALL}", pytrace=False)
        pytest.skip("ComfyUI was not found (COMFYUI_PATH, ~/comfy/ComfyUI); see README, 'Tests'")
    found: Path = request.param
    return found
