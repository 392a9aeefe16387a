"""The pack in a running ComfyUI: what it lists, what it draws, how it fails and stops."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import digit_graphs as draw
from comfy_server import ComfyServer, PromptFailed, executed_nodes
from locate import REPOSITORY

SAMPLERS = ("restart", "randomized_midpoint", "parallel_midpoint")
NODES = (
    "RestART_SamplerRestart",
    "RestART_SamplerRandomizedMidpoint",
    "RestART_SamplerParallelMidpoint",
    "RestART_EDMScheduler",
    "RestART_ARTScheduler",
    "RestART_FitARTSchedule",
    "RestART_FitARTScheduleAdvanced",
    "RestART_SaveARTSchedule",
    "RestART_LoadARTSchedule",
    "RestART_PlotSigmas",
    "RestART_CompareSchedules",
)


def options(info: dict[str, Any], node: str, name: str) -> list[str]:
    """A combo's options, in either of the forms that versions use."""
    kind, *rest = info[node]["input"]["required"][name]
    return list(kind if isinstance(kind, list) else rest[0]["options"])


def assert_digits(server: ComfyServer, entry: dict[str, Any], digit: int, what: str = "") -> None:
    """Nine of ten pictures are the digit asked for (the toy itself writes one in fifty so that it can be misread)."""
    seen, sure = draw.judge(server.pictures(entry, "save"))
    assert seen.count(digit) >= 0.9 * len(seen), f"{what} seen {seen}, confidence {sure}"


def test_loads_without_a_warning(server: ComfyServer) -> None:
    log = re.sub(r"\x1b\[[0-9;]*m", "", server.log())
    log = log.partition("To see the GUI go to")[0]  # later lines are other tests' prompts, some meant to fail
    loading = [line for line in log.splitlines() if "RestART" in line or "restart_art" in line.lower()]
    assert any(re.search(r"seconds: .*RestART$", line) for line in loading), log[-3000:]
    assert not [line for line in loading if re.search("FAILED|WARN|ERROR|Error|Traceback", line)]
    assert "Traceback" not in log


def test_names_are_in_every_list(object_info: dict[str, Any]) -> None:
    for node in ("KSampler", "KSamplerAdvanced", "KSamplerSelect"):
        names = options(object_info, node, "sampler_name")
        assert [names.count(name) for name in SAMPLERS] == [1, 1, 1], node
    for node in ("KSampler", "KSamplerAdvanced", "BasicScheduler"):
        assert options(object_info, node, "scheduler").count("edm") == 1, node


@pytest.mark.parametrize("node", NODES)
def test_nodes_explain_themselves(object_info: dict[str, Any], node: str) -> None:
    info = object_info[node]
    assert info["description"]
    for part in ("required", "optional"):
        for name, (_, *rest) in info["input"].get(part, {}).items():
            assert rest, f"{name} has no tooltip"
            assert rest[0].get("tooltip"), f"{name} has no tooltip"
    stock = "KSamplerSelect" if "Sampler" in node else "KarrasScheduler"
    assert info["category"] == object_info[stock]["category"]


@pytest.mark.parametrize("kind", draw.KINDS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_the_digit_asked_for(server: ComfyServer, kind: str, sampler: str) -> None:
    entry = server.run(draw.ksampler_graph(kind, sampler, "edm", digit=3, batch=10))
    assert_digits(server, entry, 3)


def test_sampler_nodes_with_their_options(server: ComfyServer) -> None:
    edm = draw.node("RestART_EDMScheduler", model="MODEL", steps=12, rho=7.0, denoise=1.0)
    nodes = {
        "restart": draw.node("RestART_SamplerRestart", segments="[[3, 1, 0.1, 0.4]]\n", solver="dpmpp_2m", s_noise=1.0),
        "randomized": draw.node("RestART_SamplerRandomizedMidpoint", measure="ou", spread=1.0, antithetic=False),
        "parallel": draw.node("RestART_SamplerParallelMidpoint", midpoints=3, sweeps=2, jitter=0.5),
    }
    for name, node in nodes.items():
        entry = server.run(draw.custom_graph("flow", node, dict(edm), digit=7, batch=10))
        assert_digits(server, entry, 7, name)


def test_same_seed_same_picture(server: ComfyServer) -> None:
    def drawn(seed: int) -> list[bytes]:
        # Another scheduler in between, so that nothing comes from the node cache.
        server.run(draw.ksampler_graph("eps", "restart", "karras", seed=seed, batch=2))
        entry = server.run(draw.ksampler_graph("eps", "restart", "edm", seed=seed, batch=2))
        return [picture.tobytes() for picture in server.pictures(entry, "save")]

    first = drawn(5)
    assert drawn(6) != first
    assert drawn(5) == first


def test_denoise_below_one_keeps_the_number_of_steps(server: ComfyServer) -> None:
    graph, model = draw.model_nodes("eps")
    graph["edm"] = draw.node("RestART_EDMScheduler", model=model, steps=6, rho=7.0, denoise=0.5)
    graph["show"] = draw.node("PreviewAny", source=["edm", 0])
    text = server.run(graph)["outputs"]["show"]["text"][0]
    numbers = [float(v) for v in re.findall(r"\d+\.\d+(?:e[-+]\d+)?", text)]
    assert len(numbers) == 7, text
    assert numbers[0] < 7
    assert numbers[-1] == 0


BAD = {
    "segments not numbers": ("RestART_SamplerRestart", {"segments": "3, 2, 0.06, 0.30\n3, x, 0.1, 0.2"}, "line 2"),
    "segments upside down": ("RestART_SamplerRestart", {"segments": "3, 2, 0.30, 0.06"}, "t_min"),
    "segments empty": ("RestART_SamplerRestart", {"segments": " \n"}, "segments is empty"),
    "segments broken JSON": ("RestART_SamplerRestart", {"segments": "[[3, 2, 0.06"}, "not valid JSON"),
    "text is no schedule": ("RestART_ARTScheduler", {"schedule_text": "hello"}, "schedule_text"),
    "text missing": ("RestART_ARTScheduler", {"schedule_text": ""}, "schedule_text"),
    "edm bounds": ("RestART_EDMScheduler", {"sigma_min": 5.0, "sigma_max": 1.0}, "sigma_min"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(server: ComfyServer, case: str) -> None:
    node, inputs, expected = BAD[case]
    defaults: dict[str, Any] = {
        "RestART_SamplerRestart": {"solver": "heun", "s_noise": 1.0},
        "RestART_ARTScheduler": {"model": ["eps", 0], "steps": 8, "denoise": 1.0},
        "RestART_EDMScheduler": {"model": ["eps", 0], "steps": 8, "rho": 7.0, "denoise": 1.0},
    }
    graph, _ = draw.model_nodes("eps")
    graph["bad"] = draw.node(node, **{**defaults[node], **inputs})
    graph["show"] = draw.node("PreviewAny", source=["bad", 0])
    with pytest.raises(PromptFailed, match=expected) as failure:
        server.run(graph)
    assert failure.value.details["execution_error"]["exception_type"].endswith(("ValueError", "ScheduleError"))


def test_values_outside_a_widgets_range_are_refused(server: ComfyServer) -> None:
    graph = draw.fit_graph("flow")
    graph["fit"]["inputs"]["solver"] = "no_such_solver"
    with pytest.raises(PromptFailed, match="no_such_solver"):
        server.run(graph)
    graph, model = draw.model_nodes("flow")
    graph["edm"] = draw.node("RestART_EDMScheduler", model=model, steps=0, rho=7.0, denoise=1.0)
    graph["show"] = draw.node("PreviewAny", source=["edm", 0])
    with pytest.raises(PromptFailed, match="steps"):
        server.run(graph)


@pytest.mark.parametrize("steps", ["0", "twelve", "", "8, -1"])
def test_fit_refuses_bad_step_counts_before_any_model_call(server: ComfyServer, steps: str) -> None:
    began = time.monotonic()
    with pytest.raises(PromptFailed, match="steps"):
        server.run(draw.fit_graph("flow", steps=steps))
    assert time.monotonic() - began < 10


def test_cancel_during_a_fit_and_go_on(server: ComfyServer) -> None:
    prompt = server.submit(draw.fit_graph("flow", steps="50", seed=99, trajectories=256))
    deadline = time.monotonic() + 60
    while not server.get("/queue")["queue_running"] and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2.0)
    began = time.monotonic()
    server.interrupt()
    with pytest.raises(PromptFailed, match="execution_interrupted"):
        server.wait(prompt, 60)
    assert time.monotonic() - began < 15
    entry = server.run(draw.ksampler_graph("flow", "randomized_midpoint", "edm", digit=5, batch=10))
    assert_digits(server, entry, 5)


def watched_fit(server: ComfyServer, python: Path, graph: dict[str, Any]) -> dict[str, Any]:
    """Run a prompt and return what the editor was shown while node "fit" ran."""
    file = server.base / "watched.json"
    file.write_text(json.dumps(graph))
    watcher = Path(__file__).with_name("watch_prompt.py")
    command = [str(python), str(watcher), str(server.port), str(file), "fit"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    seen: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return seen


def test_fit_then_reuse_without_fitting_again(server: ComfyServer, comfy_python: Path) -> None:
    """A fit on the eps model through cfg; the same prompt again is served from the cache; its text is a schedule."""
    graph = draw.fit_graph("eps", digit=4, steps="8", cfg=2.0, solver="dpmpp_2m", trajectories=8)
    seen = watched_fit(server, comfy_python, graph)
    assert seen["values"] == sorted(seen["values"])
    assert len(seen["values"]) >= 5
    assert 2 <= seen["pictures"] <= 2 * seen["seconds"] + 4, seen
    assert max(seen["size"]) <= 512
    assert any("at 8 steps" in text.lower() for text in seen["texts"]), seen["texts"]

    first = server.wait(seen["prompt_id"])
    report = first["outputs"]["report"]["text"][0]
    assert re.search(r"It cost \d+ model evaluations to learn and \d+ to measure", report), report
    assert "karras" in report
    assert "dpmpp_2m" in report
    (curve,) = server.pictures(first, "curve")
    assert min(curve.size) >= 256
    again = server.run(graph)
    assert "fit" not in executed_nodes(again)

    text = first["outputs"]["text"]["text"][0]
    art = draw.node("RestART_ARTScheduler", model="MODEL", steps=8, denoise=1.0, schedule_text=text)
    sampler = draw.node("KSamplerSelect", sampler_name="dpmpp_2m")
    drawing = draw.custom_graph("eps", sampler, art, digit=4, batch=10)
    drawing["info"] = draw.node("PreviewAny", source=["sigmas", 1])
    entry = server.run(drawing)
    assert_digits(server, entry, 4)
    info = entry["outputs"]["info"]["text"][0]
    assert "Warning" not in info, info
    assert "at cfg 2 for dpmpp_2m, 8 steps" in info, info

    # The same text on the other checkpoint: says so, still runs.
    other = draw.custom_graph("flow", dict(sampler), {**art, "inputs": {**art["inputs"], "model": "MODEL"}}, digit=4)
    other["info"] = draw.node("PreviewAny", source=["sigmas", 1])
    assert "Warning: This schedule was learned on" in server.run(other)["outputs"]["info"]["text"][0]


def test_english_texts_and_help_pages_are_those_of_the_nodes(object_info: dict[str, Any]) -> None:
    english = json.loads((REPOSITORY / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(english) == set(NODES)
    for node, texts in english.items():
        info = object_info[node]
        assert (texts["display_name"], texts["description"]) == (info["display_name"], info["description"])
        inputs = {**info["input"]["required"], **info["input"].get("optional", {})}
        assert {name: text["tooltip"] for name, text in texts["inputs"].items()} == {
            name: rest[0]["tooltip"] for name, (_, *rest) in inputs.items()
        }
        page = (REPOSITORY / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {info['display_name']}\n")
        assert all(f"**{name}**" in page for name in inputs), f"{node}.md leaves out an input"


def test_server_hands_out_help_and_the_template(server: ComfyServer) -> None:
    for node in NODES:
        assert server.raw(f"/extensions/RestART/docs/{node}.md").startswith(b"# ")
    assert "RestART - learn a schedule and sample" in server.get("/workflow_templates")["RestART"]
