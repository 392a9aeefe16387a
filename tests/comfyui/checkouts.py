"""The ComfyUI that a test runs in: each of COMFYUI_PATHS, or the one found. Shared by every room that drives one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from locate import HOW_TO_INSTALL, find_checkouts, version_of

REQUIRED = os.environ.get("RESTART_ART_REQUIRE_COMFYUI") == "1"


def parametrize(metafunc: pytest.Metafunc, fixture: str) -> None:
    """Run a test that asks for `fixture` once in every checkout; ids name the version."""
    if fixture in metafunc.fixturenames:
        found = find_checkouts()
        names = [f"ComfyUI-{version_of(folder)}" for folder in found] or ["no-ComfyUI"]
        metafunc.parametrize(fixture, found or [None], ids=names, scope="session", indirect=True)


def given(request: pytest.FixtureRequest) -> Path:
    """The checkout at hand; without one the test skips, or fails where one is required."""
    if request.param is None:
        if REQUIRED:
            pytest.fail(f"RESTART_ART_REQUIRE_COMFYUI=1, but {HOW_TO_INSTALL}", pytrace=False)
        pytest.skip("ComfyUI was not found (COMFYUI_PATH, ~/comfy/ComfyUI); see README, 'Tests'")
    found: Path = request.param
    return found
