"""Every help page: what it does, a picture, when to use it, every input, what it costs, its limits, its source."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "web" / "docs"
NODES = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
NO_PAPER = {"RestART_PlotSigmas"}
LARGEST = 60_000  # bytes; the registry's package holds all of them


def test_every_node_has_a_page_and_every_page_a_node() -> None:
    assert {path.stem for path in DOCS.glob("*.md")} == set(NODES)


@pytest.mark.parametrize("node", NODES)
def test_page_says_what_an_artist_asks(node: str) -> None:
    text = (DOCS / f"{node}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {NODES[node]['display_name']}\n\n"), "the title, then what it does"
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    places = [headings.index(h) for h in ("When to use it", "Inputs", "What it costs", "Honest limits")]
    assert places == sorted(places)
    inputs = text.split("## Inputs\n")[1].split("\n## ")[0]
    for name in NODES[node]["inputs"]:
        assert f"**{name}**" in inputs, f"{name} is not explained"
    assert re.search(r"^Paper: .*arxiv\.org/abs/\d{4}\.\d{5}", text, re.MULTILINE) or node in NO_PAPER


def test_pictures_are_small_and_all_are_shown() -> None:
    shown = set()
    for path in DOCS.glob("*.md"):
        found = re.findall(r"!\[(.*?)\]\((.+?)\)", path.read_text(encoding="utf-8"))
        assert found, f"{path.name} has no picture"
        for words, file in found:
            assert words, f"{file} is not described for those who cannot see it"
            with Image.open(DOCS / file) as picture:
                assert picture.width <= 720
            assert (DOCS / file).stat().st_size <= LARGEST
            shown.add((DOCS / file).resolve())
    assert shown == {path.resolve() for path in (DOCS / "pictures").iterdir()}
