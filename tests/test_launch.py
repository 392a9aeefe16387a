"""`make comfyui` asks the other Python for a GPU, and says --cpu only where there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "comfyui"))  # the room where ComfyUI is found and started
import launch

TORCH = """
class Device:
    def __init__(self, there): self.there = there
    def is_available(self): return self.there
class backends: mps = Device({mps})
cuda = Device({cuda})
"""


@pytest.mark.parametrize(("cuda", "mps"), [(False, False), (True, False), (False, True)])
def test_cpu_is_asked_for_only_without_a_gpu(
    cuda: bool, mps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a stand-in for torch that has the GPU or not; a probe that cannot run would read as no GPU."""
    (tmp_path / "torch.py").write_text(TORCH.format(cuda=cuda, mps=mps))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    command = launch.command(tmp_path, Path(sys.executable), ["--port", "8190"])
    assert ("--cpu" in command) == (not (cuda or mps))
    assert command[-2:] == ["--port", "8190"]
