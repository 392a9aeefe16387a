"""The tiny checkpoints: their files and their training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from restart_art.tiny import checkpoint as checkpoints
from restart_art.tiny import checkpoint_path, load_tiny
from restart_art.tiny.mmdit import MMDiT
from restart_art.tiny.train import main as train_main
from restart_art.tiny.train import train

from tiny_tools import KINDS, points

# Files


@pytest.mark.parametrize("name", KINDS)
def test_checkpoint_file(name):
    path = checkpoint_path(name)
    assert path.stat().st_size <= 4_000_000
    state = load_file(path)
    network = {checkpoints.PREFIX + key for key in MMDiT(2).state_dict()}
    assert set(state) == network | {"first_stage_model.pixel_space_vae", "text_encoders.none"}
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert all(value.isfinite().all() for value in state.values())
    assert state["text_encoders.none"].ndim == 0
    assert state["first_stage_model.pixel_space_vae"] == 1
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["command"].startswith(f"python -m restart_art.tiny.train {name} --steps")
    assert metadata["command"].endswith(f"--seed {metadata['seed']}")


def test_damaged_files_are_named(tmp_path):
    whole = checkpoint_path("flow").read_bytes()
    cut, foreign, text = tmp_path / "cut.safetensors", tmp_path / "foreign.safetensors", tmp_path / "text.safetensors"
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text(json.dumps({"hello": 1}))
    save_file({"weight": torch.zeros(3)}, foreign)
    for path in (cut, foreign, text):
        with pytest.raises(ValueError, match=r"safetensors|SD3"):
            checkpoints.load_denoiser(path, "flow")
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        checkpoints.load_denoiser(tmp_path / "absent.safetensors", "flow")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"old")

    def fail(part, data):
        part.touch()
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save_checkpoint(MMDiT(1), path, {})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# Training


@pytest.mark.parametrize("kind", KINDS)
def test_short_training_learns_and_repeats_bit_for_bit(kind):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = train(kind, 12, seed=3), train(kind, 12, seed=3)
    assert torch.equal(torch.rand(3), expected)  # the caller's random state is its own
    assert first.losses == second.losses
    state = second.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in first.network.state_dict().items())
    assert sum(first.losses[-3:]) < 0.8 * sum(first.losses[:3])
    assert train(kind, 1, seed=4).losses != first.losses[:1]


def test_training_command_writes_a_checkpoint(tmp_path, capsys):
    out = tmp_path / "new.safetensors"
    assert train_main(["eps", "--steps", "2", "--seed", "7", "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    x, sigma, classes = points(load_tiny("eps"))
    assert checkpoints.load_denoiser(out, "eps")(x, sigma, classes=classes).isfinite().all()
    with safe_open(out, framework="pt") as file:
        assert file.metadata()["command"] == "python -m restart_art.tiny.train eps --steps 2 --seed 7"
    for wrong in (["v"], ["flow", "--steps", "0"], []):
        with pytest.raises(SystemExit, match="2"):
            train_main(wrong)
    with pytest.raises(ValueError, match="kind"):
        train("v", 1)
    with pytest.raises(ValueError, match="steps"):
        train("flow", 0)


def test_loading_needs_neither_scikit_learn_nor_a_host():
    code = (
        "import sys; from restart_art.tiny import load_tiny; load_tiny('flow');"
        "print([n for n in ('sklearn', 'k_diffusion', 'comfy', 'matplotlib') if n in sys.modules])"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
