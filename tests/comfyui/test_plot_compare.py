"""Plot Sigmas and Compare Schedules in a running ComfyUI."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restart_art.schedules import ArtSchedule

import digit_graphs as draw
from comfy_server import ComfyServer, PromptFailed, executed_nodes

CURVE = (13.0, 5.1, 2.6, 1.3, 0.7, 0.34, 0.15, 0.05)
KARRAS, WARM = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def sigmas_node(scheduler: str, steps: int = 8, denoise: float = 1.0) -> dict[str, Any]:
    return draw.node("BasicScheduler", model=["loader", 0], scheduler=scheduler, steps=steps, denoise=denoise)


def plot_graph(**inputs: Any) -> dict[str, Any]:
    nodes, _ = draw.model_nodes("flow")
    return {
        **nodes,
        "karras": sigmas_node("karras"),
        "simple": sigmas_node("simple", 12),
        "none": sigmas_node("simple", denoise=0.0),
        "plot": draw.node("RestART_PlotSigmas", **{"log_axis": True, "labels": "", **inputs}),
        "image": draw.node("PreviewImage", images=["plot", 0]),
    }


def compare_graph(kind: str = "eps", **inputs: Any) -> dict[str, Any]:
    nodes, model = draw.model_nodes(kind)
    asked = {
        "model": model, "positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0],
        "cfg": draw.CFG, "seed": 5, "samplers": "euler", "schedules": "simple", "steps": "8", "trajectories": 1,
    }  # fmt: skip
    return {
        **nodes,
        **draw.digit_nodes(3, 1),
        "compare": draw.node("RestART_CompareSchedules", **{**asked, **inputs}),
        "verdict": draw.node("PreviewAny", source=["compare", 0]),
        "report": draw.node("PreviewAny", source=["compare", 1]),
    }


def report_of(entry: dict[str, Any]) -> str:
    return str(entry["outputs"]["report"]["text"][0])


def errors_of(report: str) -> dict[tuple[str, str], list[float]]:
    """(sampler, schedule) -> mean end errors, from the report's table; names hold no double space."""
    lines = report.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("sampler "))
    rows = {}
    for line in lines[first + 1 :]:
        solver, rest = line.split(maxsplit=1)
        name, cells = rest.split("  ", maxsplit=1)
        rows[solver, name.strip()] = [float(word.rstrip("*=")) for word in cells.split()[::2]]
    return rows


def colours(picture: Any) -> set[Any]:
    return {colour for _, colour in picture.convert("RGB").getcolors(picture.width * picture.height)}


def test_plot_shows_what_it_hands_on(server: ComfyServer) -> None:
    entry = server.run(plot_graph(sigmas_2=["karras", 0], sigmas_7=["simple", 0], labels="\nkarras\n\n\n\n\nmy ART"))
    (shown,), (image,) = server.pictures(entry, "plot"), server.pictures(entry, "image")
    assert shown.size == (960, 600)
    assert (np.asarray(shown) == np.asarray(image)).all()
    assert {KARRAS, WARM} <= colours(shown)
    plain = server.run(plot_graph(sigmas_2=["karras", 0], sigmas_7=["simple", 0], log_axis=False))
    assert (np.asarray(server.pictures(plain, "plot")[0]) != np.asarray(shown)).any()


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ({}, "sigmas_1 is empty; plug"),
        ({"sigmas_3": ["none", 0]}, "sigmas_3 is empty"),
        ({"sigmas_1": ["karras", 0], "labels": "a\nb\nc\nd\ne\nf\ng\nh\ni"}, "labels has 9 lines"),
        ({"sigmas_1": ["karras", 0], "labels": "x" * 61}, "labels, line 1 is 61 characters"),
    ],
)
def test_plot_names_bad_input(server: ComfyServer, inputs: dict[str, Any], names: str) -> None:
    with pytest.raises(PromptFailed, match=names):
        server.run(plot_graph(**inputs))


@pytest.mark.parametrize("kind", draw.KINDS)
def test_pictures_are_those_that_ksampler_draws(server: ComfyServer, kind: str) -> None:
    """Same seed, sampler, scheduler and steps: the comparison runs what KSampler runs, model's scale and all."""
    graph = compare_graph(kind, vae=["loader", 2])
    graph["pictures"] = draw.node("PreviewImage", images=["compare", 3])
    entry = server.run(graph)
    (sheet,) = server.pictures(entry, "pictures")
    cell, gap, top = 256, 8, 32  # picture_grid's layout: one run and the exact picture, at the right
    left = sheet.width - 2 * (cell + gap)
    seen = [
        np.asarray(sheet.convert("RGB").crop((x, top, x + cell, top + cell)).resize((8, 8), 0), dtype=int)
        for x in (left, left + cell + gap)
    ]
    drawn = server.run(draw.ksampler_graph(kind, "euler", "simple", steps=8, seed=5, batch=1))
    (wanted,) = (np.asarray(p.convert("RGB"), dtype=int) for p in server.pictures(drawn, "save"))
    assert np.abs(seen[0] - wanted).max() <= 2
    assert np.abs(seen[1] - wanted).max() > 2  # the exact one is another


def test_verdict_and_table_agree(server: ComfyServer) -> None:
    entry = server.run(
        compare_graph(samplers="euler\ndpmpp_2m", schedules="simple\nkarras", steps="6, 12", trajectories=4)
    )
    rows = errors_of(report_of(entry))
    assert set(rows) == {(a, b) for a in ("euler", "dpmpp_2m") for b in ("simple", "karras")}
    for column, steps in enumerate((6, 12)):
        solver, name = min(rows, key=lambda row: rows[row][column])
        assert f"At {steps} steps {solver} with {name} lands closest" in entry["outputs"]["verdict"]["text"][0]
    (chart,) = server.pictures(entry, "compare")
    assert chart.width == 960
    assert KARRAS in colours(chart)
    assert report_of(entry) in entry["outputs"]["compare"]["text"][0]


def test_all_is_comfyuis_whole_list(server: ComfyServer) -> None:
    kind, *rest = server.object_info()["KSampler"]["input"]["required"]["scheduler"]
    names = kind if isinstance(kind, list) else rest[0]["options"]
    report = report_of(server.run(compare_graph(schedules="all")))
    measured = {name for _, name in errors_of(report)}
    note = [line for line in report.splitlines() if line.startswith("Left out, as they give no usable steps here: ")]
    left = set(note[0].split(": ")[1].rstrip(".").split(", ")) if note else set()
    assert {name for name in names if not name.startswith("art/")} - left <= measured
    assert "edm" in measured


def test_saved_and_plugged_schedules_and_sigmas(server: ComfyServer) -> None:
    """One schedule by file, by socket and as SIGMAS has one error; a changed file is measured again."""
    folder = server.base / "models" / "art_schedules"
    folder.mkdir(parents=True, exist_ok=True)
    learned = ArtSchedule(((8, CURVE),), solver="euler", process="ve", sigma_min=0.0292, sigma_max=14.6146)
    learned.save(folder / "compared.safetensors")
    server.object_info()
    graph = compare_graph(schedules="simple\nart/compared", schedule=["load", 0], sigmas=["art", 0])
    graph["load"] = draw.node("RestART_LoadARTSchedule", name="compared")
    graph["art"] = draw.node(
        "RestART_ARTScheduler", model=["eps", 0], steps=8, denoise=1.0, schedule_text=learned.to_text()
    )
    entry = server.run(graph)
    rows = errors_of(report_of(entry))
    assert rows["euler", "art/compared"] == rows["euler", "ART schedule"] == rows["euler", "sigmas"]
    del graph["compare"]["inputs"]["schedule"], graph["load"]
    server.run(graph)
    assert "compare" not in executed_nodes(server.run(graph))
    ArtSchedule(((8, (12.0, *CURVE[1:])),), solver="euler", process="ve", sigma_min=0.0292, sigma_max=14.6146).save(
        folder / "compared.safetensors", overwrite=True
    )
    changed = server.run(graph)
    assert "compare" in executed_nodes(changed)
    assert errors_of(report_of(changed))["euler", "art/compared"] != rows["euler", "art/compared"]


def watched(server: ComfyServer, python: Path, graph: dict[str, Any], *cancel_at: str) -> dict[str, Any]:
    """Run a prompt and return what the editor was shown while node "compare" ran."""
    file = server.base / "compared.json"
    file.write_text(json.dumps(graph))
    watcher = Path(__file__).with_name("watch_prompt.py")
    command = [str(python), str(watcher), str(server.port), str(file), "compare", *cancel_at]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    seen: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return seen


def test_progress_is_shown_and_cancel_ends_it(server: ComfyServer, comfy_python: Path) -> None:
    graph = compare_graph(samplers="euler\nheun", schedules="simple\nkarras", steps="6, 9", trajectories=2, seed=7)
    seen = watched(server, comfy_python, graph)
    assert seen["ended"] == "done"
    assert seen["values"] == sorted(seen["values"])
    # two noises: one and a half references of 64, and each run's model calls
    assert seen["values"][-1] == seen["maxima"][-1] == 2 * (96 + 2 * (6 + 9) + 2 * (11 + 17))
    assert seen["pictures"] >= 1
    assert any("1 of 8: euler, simple, 6 steps: 0." in text for text in seen["texts"]), seen["texts"]
    assert any("lands closest" in text for text in seen["texts"])
    graph["compare"]["inputs"] |= {"seed": 8, "steps": "900", "trajectories": 8}
    assert watched(server, comfy_python, graph, "default", "200")["ended"] == "execution_interrupted"
    graph["compare"]["inputs"] |= {"steps": "3", "trajectories": 1}
    assert "At 3 steps" in report_of(server.run(graph))


def test_without_a_vae_only_the_pictures_are_missing(server: ComfyServer) -> None:
    graph = compare_graph(seed=6)
    graph["pictures"] = draw.node("PreviewImage", images=["compare", 3])
    outputs = server.run(graph)["outputs"]
    assert "pictures" not in outputs
    assert {"compare", "report", "verdict"} <= set(outputs)


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ({"samplers": "euler\n\neuler_ancestral"}, "samplers, line 3: 'euler_ancestral' cannot be compared"),
        ({"samplers": " "}, "samplers is empty"),
        ({"schedules": "simple\nkaras"}, "schedules, line 2: 'karas' is not a scheduler"),
        ({"schedules": ""}, "schedules is empty"),
        ({"schedules": "art/not there"}, "schedules, line 1: 'art/not there' is not a scheduler"),
        ({"steps": "eight"}, "steps holds 'eight'"),
        ({"sigmas": ["short", 0]}, "sigmas has 5 steps, and steps is 8; add 5 to steps"),
        ({"sigmas": ["part", 0]}, r"sigmas ends at .*; it must end in 0"),
    ],
)
def test_compare_names_bad_input(server: ComfyServer, inputs: dict[str, Any], names: str) -> None:
    graph = compare_graph(**inputs)
    graph["short"] = sigmas_node("simple", 5)
    graph["part"] = draw.node("SplitSigmas", sigmas=["short", 0], step=3)
    with pytest.raises(PromptFailed, match=names):
        server.run(graph)
