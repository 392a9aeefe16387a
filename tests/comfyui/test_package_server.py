"""The registry's package, and nothing else of the repository, in a real ComfyUI: nodes, languages, help, templates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from package_files import ROOT, unpack

from comfy_server import ComfyServer
from workspace import FOLDERS, PACK

LANGUAGES = sorted(folder.name for folder in (ROOT / "locales").iterdir())


@pytest.fixture(scope="module")
def packaged(checkout: Path, comfy_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    base = tmp_path_factory.mktemp("packaged")
    for folder in FOLDERS:
        (base / folder).mkdir(parents=True, exist_ok=True)
    unpack(base / "custom_nodes" / PACK)
    arguments = ["--base-directory", str(base), "--database-url", "sqlite:///:memory:"]
    running = ComfyServer(checkout, comfy_python, base, arguments)
    yield running
    running.stop()


def test_package_brings_every_node_and_its_texts(packaged: ComfyServer) -> None:
    english = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    info = packaged.object_info()
    assert set(english) == {node for node in info if node.startswith("RestART_")}
    served = packaged.get("/i18n")
    for language in LANGUAGES:
        texts = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
        assert {node: served[language]["nodeDefs"].get(node) for node in english} == texts, language
    for node in english:
        assert packaged.raw(f"/extensions/{PACK}/docs/{node}.md").startswith(b"# ")
    templates = {file.stem for file in (ROOT / "workflows").glob("*.json")}
    assert set(packaged.get("/workflow_templates")[PACK]) == templates
    samplers = info["KSampler"]["input"]["required"]
    assert {"restart", "randomized_midpoint", "parallel_midpoint"} <= set(samplers["sampler_name"][0])
    assert "edm" in samplers["scheduler"][0]
