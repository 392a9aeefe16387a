"""Sampler Restart in a running ComfyUI: presets, budgets, plugged-in samplers, partial runs, masks."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import digit_graphs as draw
from comfy_server import ComfyServer, PromptFailed

_tags = itertools.count()


def restart(**inputs: Any) -> dict[str, Any]:
    return draw.node("RestART_SamplerRestart", **{"segments": "3, 2, 0.06, 0.30", "solver": "heun", **inputs})


def scheduled(steps: int, scheduler: str = "karras", denoise: float = 1.0) -> dict[str, Any]:
    return draw.node("BasicScheduler", model="MODEL", scheduler=scheduler, steps=steps, denoise=denoise)


def assert_digit(server: ComfyServer, entry: dict[str, Any], digit: int, save: str = "save") -> None:
    seen, sure = draw.judge(server.pictures(entry, save))
    assert seen.count(digit) >= 0.9 * len(seen), f"seen {seen}, confidence {sure}"


def watched(server: ComfyServer, python: Path, graph: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Run a prompt; the texts about restarts that the editor was shown, and the history entry."""
    file = server.base / "restart_watched.json"
    file.write_text(json.dumps(graph))
    command = [str(python), str(Path(__file__).with_name("watch_prompt.py")), str(server.port), str(file), "sample"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    seen = json.loads(run.stdout.splitlines()[-1])
    return [text for text in seen["texts"] if "Restart:" in text], server.wait(seen["prompt_id"])


def counted(kind: str, sampler: dict[str, Any], sigmas: dict[str, Any]) -> dict[str, Any]:
    """One picture at cfg 1 (one network call for each model call); node "calls" shows how many were made."""
    graph = draw.custom_graph(kind, sampler, sigmas, batch=1)
    tag = f"restart {next(_tags)}"
    model = graph["sample"]["inputs"]["model"]
    graph["count"] = draw.node("RestARTTest_CountModelCalls", model=model, tag=tag)
    graph["sample"]["inputs"].update(model=["count", 0], cfg=1.0)
    graph["after"] = draw.node("RestARTTest_ModelCalls", after=["sample", 0], tag=tag)
    graph["calls"] = draw.node("PreviewAny", source=["after", 0])
    return graph


def calls_of(entry: dict[str, Any]) -> int:
    return int(entry["outputs"]["calls"]["text"][0])


# Model calls with heun, but for the main part of the sd1.5 presets (euler).
@pytest.mark.parametrize(
    ("preset", "steps", "inputs", "calls"),
    [
        ("a1111", 20, {}, 39),
        ("a1111", 36, {"solver": "dpmpp_2m"}, 36),
        ("sd1.5 cfg 5", 30, {}, 66),
        ("sd1.5 cfg 2", 30, {}, 62),
        ("auto", 20, {"budget": "within steps"}, 39),
    ],
)
def test_presets_cost_what_is_announced(
    server: ComfyServer, comfy_python: Path, preset: str, steps: int, inputs: dict[str, Any], calls: int
) -> None:
    graph = counted("eps", restart(preset=preset, **inputs), scheduled(steps))
    (text,), entry = watched(server, comfy_python, graph)
    assert f"= {calls} model calls" in text
    assert calls_of(entry) == calls


@pytest.mark.parametrize(("kind", "preset"), [("flow", "auto"), ("eps", "cifar10 vp 43 calls")])
def test_presets_draw_digits(server: ComfyServer, kind: str, preset: str) -> None:
    node = restart(preset=preset, budget="within steps", churn=0.05, solver="dpmpp_2m")
    assert_digit(server, server.run(draw.custom_graph(kind, node, scheduled(20), digit=3, batch=10)), 3)


def test_a_preset_needs_no_segments_text_and_old_workflows_need_no_new_input(server: ComfyServer) -> None:
    server.run(draw.custom_graph("flow", restart(segments="", preset="auto"), scheduled(12), batch=1))
    old = server.run(draw.custom_graph("flow", restart(), scheduled(12), batch=2))
    plain = server.run(draw.ksampler_graph("flow", "restart", "karras", batch=2))
    same = [p.tobytes() for p in server.pictures(old, "save")] == [p.tobytes() for p in server.pictures(plain, "save")]
    assert same, "the node at its defaults is not the sampler of KSampler's list"


def test_budget_says_what_it_changed(server: ComfyServer, comfy_python: Path) -> None:
    node = restart(segments='[[9, 5, "80%", "40%"], [3, 1, "#9", "#6"]]', budget="within steps", main_solver="euler")
    (text,), entry = watched(server, comfy_python, counted("flow", node, scheduled(12, "simple")))
    assert "main run is shortened from 12 to" in text
    assert "restart 1" in text
    assert "does not fit into 12 model calls" in server.log() or "to fit into 12 model calls" in server.log()
    assert calls_of(entry) <= 12


def plugged(server_sampler: dict[str, Any], **inputs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return restart(sampler=["plug", 0], **inputs), {"plug": server_sampler}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("flow", "dpmpp_2m"),
        ("eps", "res_multistep"),
        ("eps", "ddim"),
        ("flow", "exp_heun_2_x0"),
        ("eps", "euler_cfg_pp"),
    ],
)
def test_any_deterministic_sampler_can_be_plugged_in(server: ComfyServer, kind: str, name: str) -> None:
    node, extra = plugged(draw.node("KSamplerSelect", sampler_name=name))
    graph = {**draw.custom_graph(kind, node, scheduled(12, "simple"), digit=7, batch=10), **extra}
    entry = server.run(graph)
    assert_digit(server, entry, 7)
    if name == "dpmpp_2m":  # the same as by its name
        by_name = server.run(draw.custom_graph(kind, restart(solver=name), scheduled(12, "simple"), digit=7, batch=10))
        first, second = ([p.tobytes() for p in server.pictures(e, "save")] for e in (entry, by_name))
        assert first == second


REFUSED = {
    "ancestral": (("KSamplerSelect", {"sampler_name": "euler_ancestral"}), "euler_ancestral.* adds random noise"),
    "SDE": (("KSamplerSelect", {"sampler_name": "dpmpp_2m_sde"}), "dpmpp_2m_sde.* adds random noise"),
    "LCM": (("KSamplerSelect", {"sampler_name": "lcm"}), "lcm.* adds random noise"),
    "restart itself": (("KSamplerSelect", {"sampler_name": "restart"}), "restart.* adds random noise"),
    "adaptive": (("KSamplerSelect", {"sampler_name": "dpm_adaptive"}), "chooses its own steps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_others_are_refused_with_the_reason(server: ComfyServer, case: str) -> None:
    (class_type, inputs), reason = REFUSED[case]
    node, extra = plugged(draw.node(class_type, **inputs))
    graph = {**draw.custom_graph("eps", node, scheduled(8), batch=1), **extra}
    with pytest.raises(PromptFailed, match=reason) as failure:
        server.run(graph)
    error = failure.value.details["execution_error"]
    assert error["node_id"] == "sampler"  # shown on our node, before anything is sampled
    assert error["exception_type"].endswith("ValueError")


def test_bad_levels_point_at_the_segment(server: ComfyServer) -> None:
    graph = draw.custom_graph("eps", restart(segments='[[3, 1, 0.06, 0.3], [3, 2, "x%", 2]]'), scheduled(8), batch=1)
    with pytest.raises(PromptFailed, match="segments, entry 2: 'x%' is not a level"):
        server.run(graph)
    graph = draw.custom_graph("eps", restart(segments="3, 1, #20, #2"), scheduled(8), batch=1)
    with pytest.raises(PromptFailed, match="t_min is '#20', but this run has nodes #0 to #8"):
        server.run(graph)


@pytest.mark.parametrize("kind", draw.KINDS)
def test_denoise_below_one_and_a_mask(server: ComfyServer, comfy_python: Path, kind: str) -> None:
    """img2img keeps the digit; a mask keeps its left half to the last grey level, restarts notwithstanding."""
    sigmas = scheduled(12, "simple", denoise=0.5)
    graph = draw.custom_graph(
        kind, restart(segments="3, 2, 0.06, 0.30\n3, 1, 30, 60", solver="dpmpp_2m"), sigmas, digit=3, batch=10
    )
    _, model = draw.model_nodes(kind)
    first = draw.ksampler_graph(kind, "dpmpp_2m", "simple", digit=3, batch=10)["sample"]
    graph["first"] = {**first, "inputs": {**first["inputs"], "model": model}}
    graph["first_decode"] = draw.node("VAEDecode", samples=["first", 0], vae=["loader", 2])
    graph["first_grey"] = draw.node("SplitImageWithAlpha", image=["first_decode", 0])
    graph["first_save"] = draw.node("SaveImage", images=["first_grey", 0], filename_prefix="first")
    graph["sample"]["inputs"]["latent_image"] = ["first", 0]
    (text,), entry = watched(server, comfy_python, graph)
    assert "Warning: restart 2" in text
    assert "is left out" in text
    assert_digit(server, entry, 3)
    before = draw.as_digits(server.pictures(entry, "first_save"))

    half = {
        "nothing": draw.node("SolidMask", value=0.0, width=64, height=64),
        "all": draw.node("SolidMask", value=1.0, width=32, height=64),
        "mask": draw.node("MaskComposite", destination=["nothing", 0], source=["all", 0], x=32, y=0, operation="add"),
        "masked": draw.node("SetLatentNoiseMask", samples=["first", 0], mask=["mask", 0]),
    }
    graph.update(half)
    graph["sample"]["inputs"]["latent_image"] = ["masked", 0]
    graph["sigmas"]["inputs"]["denoise"] = 1.0
    graph["sample"]["inputs"]["positive"] = ["other", 0]
    graph["other"] = draw.node("RestARTTest_DigitConditioning", digit=8)
    after = draw.as_digits(server.pictures(server.run(graph), "save"))
    assert (after[..., :4] - before[..., :4]).abs().max() <= 1.5 / 255
    assert (after[..., 4:] - before[..., 4:]).abs().mean() > 0.05


@pytest.mark.parametrize("kind", draw.KINDS)
def test_ksampler_advanced_in_two_parts(server: ComfyServer, kind: str) -> None:
    """Start and end step with leftover noise: the second part goes on where the first stopped."""
    graph = draw.ksampler_graph(kind, "restart", "simple", digit=5, batch=10)
    base = {k: v for k, v in graph["sample"]["inputs"].items() if k not in {"seed", "denoise"}}

    def part(latent: list[Any], start: int, end: int, noise: str, leftover: str) -> dict[str, Any]:
        return draw.node(
            "KSamplerAdvanced", **{**base, "latent_image": latent}, noise_seed=3, add_noise=noise,
            start_at_step=start, end_at_step=end, return_with_leftover_noise=leftover,
        )  # fmt: skip

    graph["first"] = part(["latent", 0], 0, 6, "enable", "enable")
    graph["sample"] = part(["first", 0], 6, 1000, "disable", "disable")
    assert_digit(server, server.run(graph), 5)


def test_custom_sampler_in_two_parts_with_auto(server: ComfyServer, comfy_python: Path) -> None:
    """Each part has its own restart inside its own levels; nothing is left out."""
    graph = draw.custom_graph(
        "flow", restart(preset="auto", solver="euler"), scheduled(40, "simple"), digit=5, batch=10
    )
    graph["split"] = draw.node("SplitSigmas", sigmas=["sigmas", 0], step=20)
    second = {**graph["sample"]["inputs"], "sigmas": ["split", 1], "add_noise": False, "latent_image": ["sample", 0]}
    graph["sample"]["inputs"]["sigmas"] = ["split", 0]
    graph["second"] = draw.node("SamplerCustom", **second)
    graph["decode"]["inputs"]["samples"] = ["second", 0]
    texts, entry = watched(server, comfy_python, graph)
    assert len(texts) == 2
    assert not any("Warning" in text for text in texts)
    assert all("+ 0 restart" not in text for text in texts)
    assert_digit(server, entry, 5)
