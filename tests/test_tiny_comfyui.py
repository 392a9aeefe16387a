"""The tiny checkpoints in a real ComfyUI and in this package's own host: the same numbers.

Looks for ComfyUI in COMFYUI_PATH, else ~/comfy/ComfyUI, and in every folder of COMFYUI_PATHS; each runs with
its own Python (<checkout>/.venv/bin/python, or COMFYUI_PYTHON). Skipped where there is none, unless
RESTART_ART_REQUIRE_COMFYUI=1 says that there must be one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from restart_art.tiny import checkpoint_path, load_tiny
from restart_art.tiny.checkpoint import pooled_classes
from restart_art.tiny.digits import encode, process_in

PROBE = Path(__file__).with_name("tiny_probe.py")
KINDS = ("flow", "eps")
pytestmark = pytest.mark.timeout(600)  # a ComfyUI takes seconds to start, on a busy machine a minute


def checkouts():
    first = os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI"
    more = [path for path in os.environ.get("COMFYUI_PATHS", "").split(os.pathsep) if path]
    return list(dict.fromkeys(path.resolve() for path in map(Path, [first, *more]) if (path / "main.py").is_file()))


def python_of(checkout):
    places = [os.environ.get("COMFYUI_PYTHON", ""), checkout / ".venv" / "bin" / "python"]
    return next((str(place) for place in places if place and Path(place).is_file()), sys.executable)


def tensors(kind):
    """x noised to levels over the whole range (ten named digits, six unnamed) and a latent to decode."""
    sampling = load_tiny(kind).model_sampling
    generator = torch.Generator().manual_seed(0)
    sigma = torch.exp(torch.linspace(sampling.sigma_min.log(), sampling.sigma_max.log(), 16))
    sigma = sigma.gather(0, torch.randperm(16, generator=generator))
    noise = torch.randn(16, 16, 8, 8, generator=generator)
    named = (torch.arange(16) < 10)[:, None]
    return {
        "x": sampling.noise_scaling(sigma, noise, encode(torch.rand(16, 8, 8, generator=generator))),
        "sigma": sigma,
        "pooled": pooled_classes(torch.arange(16) % 10, 16, noise) * named,
        "latent": process_in(1.5 * torch.randn(16, 16, 8, 8, generator=generator)),  # beyond black and white
    }


@pytest.fixture(scope="module", params=[pytest.param(path, id=path.name) for path in checkouts()] or [None])
def comfyui(request, tmp_path_factory):
    """One real ComfyUI's answers for both kinds, in a folder."""
    if request.param is None:
        reason = "no ComfyUI at COMFYUI_PATH or ~/comfy/ComfyUI"
        if os.environ.get("RESTART_ART_REQUIRE_COMFYUI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("probe")
    for kind in KINDS:
        save_file(tensors(kind), folder / f"{kind}.in.safetensors")
    jobs = [f"{kind}={checkpoint_path(kind)}" for kind in KINDS]
    command = [python_of(request.param), str(PROBE), str(request.param), str(folder), *jobs]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in KINDS:  # ComfyUI found an SD3 model and computes in float32, as this package does
        assert f"{kind} SD3 torch.float32" in done.stdout, done.stdout
    return folder


@pytest.fixture(params=KINDS)
def pair(request, comfyui):
    """This package's host, what went in, and what ComfyUI made of it."""
    answers = [load_file(comfyui / f"{request.param}.{side}.safetensors") for side in ("in", "out")]
    return load_tiny(request.param), *answers


def test_denoised_agrees(pair):
    model, given, comfy = pair
    x, sigma, classes = given["x"], given["sigma"], torch.arange(10)
    with torch.inference_mode():
        ours = torch.cat([model(x[:10], sigma[:10], classes=classes), model(x[10:], sigma[10:])])
    assert (ours - comfy["denoised"]).abs().max() <= 1e-4


def test_vae_decode_agrees(pair):
    model, given, comfy = pair
    assert comfy["images"].shape == (16, 8, 8, 16)
    shown = comfy["images"][..., :3].mean(-1)
    assert shown.min() == 0
    assert shown.max() == 1
    assert (model.decode(given["latent"]) - shown).abs().max() <= 1e-5


def test_every_prompt_is_77_zero_tokens(pair):
    _, _, comfy = pair
    assert comfy["context"].shape == (1, 77, 4096)
    assert comfy["pooled"].shape == (1, 2048)
    assert not comfy["context"].any()
    assert not comfy["pooled"].any()


def test_model_sampling_agrees(pair):
    model, given, comfy = pair
    sampling, sigma, x, latent = model.model_sampling, given["sigma"], given["x"], given["latent"]
    percents = (0.0, 0.1, 0.5, 0.9, 1.0)
    ours = {
        "sigmas": sampling.sigmas,
        "timestep": sampling.timestep(sigma).float(),
        "sigma_of": sampling.sigma(torch.linspace(0, 999, 101)),
        "percent": torch.tensor([sampling.percent_to_sigma(percent) for percent in percents]),
        "scaled": sampling.calculate_input(sigma, x),
        "noised": sampling.noise_scaling(sigma, x, latent),
        "noised_max": sampling.noise_scaling(sigma, x, latent, True),
        "unscaled": sampling.inverse_noise_scaling(sigma * 0.9, latent),
        "process_in": process_in(latent),
    }
    for name, value in ours.items():
        torch.testing.assert_close(value, comfy[name], atol=1e-6, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
