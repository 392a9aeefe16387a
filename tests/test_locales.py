"""Node texts in other languages: complete, really translated, and readable for ComfyUI's front end."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "locales"
LANGUAGES = ("de", "es", "fr", "ja", "ko", "ru", "zh")
READ_BY_COMFYUI = {"main.json", "nodeDefs.json", "commands.json", "settings.json"}
SCRIPT = {"ja": "[\u3040-\u30ff]", "ko": "[\uac00-\ud7a3]", "ru": "[\u0400-\u04ff]", "zh": "[\u4e00-\u9fff]"}
# Names that are the same in every language: of solvers, of models, of what ComfyUI calls its sockets.
PROPER = re.compile(
    r"\b(heun|euler|cfg|ou|EDM|ART|JSON|GPU|LoRA|ImageNet|Flux|SD3|Stable Diffusion|AUTOMATIC1111|ancestral|SDE|GUIDER)"
    r"(?![A-Za-z])"
)
# The choices of a list stay English in ComfyUI, so a tooltip must name them as they are ("within steps: ...").
CHOICE = re.compile(r"(?:^|[.;] )([a-z][a-z_ ]*):")
# Numbers, quoted examples, paths, placeholders.
VALUE = re.compile(r"\d+(?:\.\d+)?%?|\"[^\"]+\"|\bart/<name>|models/art_schedules|\(R\)")

Texts = dict[str, Any]


def read(language: str) -> Texts:
    texts = json.loads((FOLDER / language / "nodeDefs.json").read_bytes().decode("utf-8"))
    assert isinstance(texts, dict)
    return texts


def leaves(texts: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(texts, dict):
        for key, value in texts.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, texts


def is_name(path: tuple[str, ...]) -> bool:
    return path[-1] in ("name", "display_name")


def fixed_words(english: str, inputs: set[str]) -> set[str]:
    """What a translation of `english` must hold unchanged: values, choices, proper names, identifiers."""
    identifiers = re.findall(r"\b(?:[a-z]+\d[\w.]*\w|[a-z]+_\w+)", english)
    found = {*VALUE.findall(english), *CHOICE.findall(english), *PROPER.findall(english), *identifiers}
    return found - inputs  # input names are shown translated


@pytest.fixture(scope="module")
def english() -> Texts:
    return read("en")


def test_folders_hold_what_comfyui_reads() -> None:
    assert {folder.name for folder in FOLDER.iterdir()} == {"en", *LANGUAGES}
    for folder in FOLDER.iterdir():
        files = {file.name for file in folder.iterdir()}
        assert "nodeDefs.json" in files
        assert files <= READ_BY_COMFYUI, f"{folder.name}: ComfyUI does not read {files - READ_BY_COMFYUI}"
        assert files == {file.name for file in (FOLDER / "en").iterdir()}, folder.name


@pytest.mark.parametrize("language", LANGUAGES)
def test_menus_and_settings_are_translated(language: str) -> None:
    """The files beside nodeDefs.json: the same keys as in English, each with a text of its own."""
    for file in sorted((FOLDER / "en").iterdir()):
        original = dict(leaves(json.loads(file.read_bytes())))
        texts = dict(leaves(json.loads((FOLDER / language / file.name).read_bytes().decode("utf-8"))))
        assert texts.keys() == original.keys(), file.name
        if file.name != "nodeDefs.json":
            for path, text in texts.items():
                assert text.strip(), path
                assert text != original[path], path
                assert not set("{}@|") & set(text), path


@pytest.mark.parametrize("language", LANGUAGES)
def test_same_nodes_inputs_outputs_and_texts_as_english(language: str, english: Texts) -> None:
    wanted, found = {path for path, _ in leaves(english)}, {path for path, _ in leaves(read(language))}
    assert not wanted - found, f"missing in {language}"
    assert not found - wanted, f"no longer in English, still in {language}"


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_every_text_can_be_shown(language: str) -> None:
    for path, text in leaves(read(language)):
        assert isinstance(text, str), path
        assert text, path
        assert text == text.strip(), path
        # These begin a placeholder, a link or a plural in the front end's message format.
        assert not set("{}@|") & set(text), (path, text)
        assert "\ufffd" not in text, path
        assert text.isprintable(), path


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_translated(language: str, english: Texts) -> None:
    texts = dict(leaves(read(language)))
    for path, original in leaves(english):
        if is_name(path) or len(original) <= 20:
            continue
        assert texts[path] != original, path
        if language in SCRIPT:
            assert re.search(SCRIPT[language], texts[path]), (path, texts[path])
    for node in english:
        assert texts[node, "display_name"] != english[node]["display_name"], node


@pytest.mark.parametrize("language", LANGUAGES)
def test_values_and_names_survive_translation(language: str, english: Texts) -> None:
    inputs = {name for node in english.values() for part in ("inputs", "outputs") for name in names(node, part)}
    texts = dict(leaves(read(language)))
    for path, original in leaves(english):
        if not is_name(path):
            plain = normalize("NFKC", texts[path])  # full-width brackets and colons are the same signs
            lost = {word for word in fixed_words(original, inputs) if word not in plain}
            assert not lost, (path, lost, texts[path])


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_word_for_one_thing(language: str, english: Texts) -> None:
    """The same English text has one translation; two inputs of a node never share a name."""
    texts, translations = read(language), defaultdict(set)
    flat = dict(leaves(texts))
    for path, original in leaves(english):
        translations[original].add(flat[path])
    assert {original: found for original, found in translations.items() if len(found) > 1} == {}
    titles = [node["display_name"] for node in texts.values()]
    assert len(titles) == len(set(titles))
    for title, node in texts.items():
        shown = [text["name"] for text in node["inputs"].values()]
        assert len(shown) == len(set(shown)), title


def names(node: Texts, part: str) -> list[str]:
    """Input ids, or output names, of one node's English texts."""
    return list(node[part]) if part == "inputs" else [text["name"] for text in node[part].values()]


def test_fixed_words_are_found() -> None:
    text = 'within steps: no "8, 12" (R) with sd1.5 and dpmpp_2m at 0.05. warm_start off. models/art_schedules'
    assert fixed_words(text, {"warm_start"}) == {
        "within steps", '"8, 12"', "(R)", "sd1.5", "1.5", "2", "dpmpp_2m", "0.05", "models/art_schedules",
        "art_schedules",
    }  # fmt: skip
