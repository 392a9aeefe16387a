"""A good neighbour: what importing the pack, each sampler, a fit and a saved file change in the process they share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from figures import inputs, record
from locate import find_python, version_of
from workspace import private_base

HERE = Path(__file__).parent
SAMPLERS = ["restart", "randomized_midpoint", "parallel_midpoint"]
IMPORT_MS = 150  # of processor time, on top of what ComfyUI has imported
# ComfyUI draws the name of a preview's file from Python's random numbers; matplotlib, where a picture is drawn for the
# first time, lists the fonts of the system and keeps the list in its own folder.
HOSTS_OWN = {"fit": {"python"}}
FONTS = ("subprocess.Popen ('fc-list'",)


def run_probe(
    python: str | Path, script: str, *arguments: object, base: Path, bytecode: bool = False
) -> dict[str, Any]:
    """The JSON that a probe prints."""
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONWARNINGS"}}
    env |= {"OMP_NUM_THREADS": "1", "MPLCONFIGDIR": str(base / "matplotlib")}
    env |= {} if bytecode else {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), str(HERE / script), *(str(a) for a in arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=base, env=env)
    found = [line for line in run.stdout.splitlines() if line.startswith("PROBE ")]
    assert found, f"{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    answer: dict[str, Any] = json.loads(found[0].removeprefix("PROBE "))
    return answer


def outside(files: list[str], *allowed: Path) -> list[str]:
    roots = [os.path.realpath(path) for path in allowed]
    return [name for name in files if not any(name == r or name.startswith(r + os.sep) for r in roots)]


@pytest.fixture(scope="module")
def base(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neighbour")
    private_base(folder)
    return folder


@pytest.fixture(scope="module")
def comfy(checkout: Path, base: Path) -> dict[str, Any]:
    return run_probe(find_python(checkout), "probe_neighbour_comfy.py", checkout, base, base=base)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("plain")
    return {**run_probe(sys.executable, "probe_neighbour_plain.py", folder, base=folder), "folder": str(folder)}


def test_outside_comfyui_nothing_shared_changes(plain: dict[str, Any]) -> None:
    """Threads, dtypes, determinism, grad mode, random numbers, warnings, logging, environment, hooks ..."""
    watched = {name: changed for name, changed in plain.items() if isinstance(changed, dict)}
    assert len(watched) >= 9
    assert not {name: changed for name, changed in watched.items() if changed}


def test_outside_comfyui_only_the_saved_file_is_written(plain: dict[str, Any]) -> None:
    assert plain["files"]
    assert not outside(plain["files"], Path(plain["folder"]))
    assert (plain["network"], plain["started"]) == ([], [])


def test_import_changes_nothing_but_the_lists(comfy: dict[str, Any]) -> None:
    assert comfy["import"] == {}
    assert comfy["nodes"] >= 11
    added = {f"comfy.k_diffusion.sampling:sample_{name}" for name in SAMPLERS}
    assert set(comfy["attributes"]) == added, "a patch, or a name that is no sampler of ours"
    assert all(change.startswith("(none) -> ") for change in comfy["attributes"].values())
    assert comfy["kept"], "what was in the lists stays, in its order"
    assert comfy["appended"] == {"samplers": SAMPLERS, "schedulers": ["edm"]}


def test_samplers_and_a_fit_change_nothing(comfy: dict[str, Any]) -> None:
    work = comfy["work"]
    assert set(work) >= {*SAMPLERS, "fit"}
    left = {name: set(changed) - HOSTS_OWN.get(name, set()) for name, changed in work.items()}
    assert not {name: {key: work[name][key] for key in keys} for name, keys in left.items() if keys}


def test_files_network_and_programs(comfy: dict[str, Any], base: Path) -> None:
    folders = ("models/art_schedules", "output", "temp", "matplotlib")
    assert not outside(comfy["files"], *(base / folder for folder in folders))
    assert comfy["network"] == []
    assert not [text for text in comfy["started"] if not text.startswith(FONTS)]


def test_import_time(checkout: Path, base: Path, comfy: dict[str, Any]) -> None:
    """The quickest of several starts after one that compiles the files: what else runs can only add to the time.

    A short run only sees that it takes no seconds.
    """
    arguments = (find_python(checkout), "probe_neighbour_comfy.py", checkout, base, "import only")
    runs = inputs(7, 0)
    found = [run_probe(*arguments, base=base, bytecode=True) for _ in range(runs + 1)][1:] if runs else [comfy]
    module, nodes = min((answer["cpu_ms"] for answer in found), key=sum)
    wall = min(sum(answer["wall_ms"]) for answer in found)
    assert module + nodes < inputs(IMPORT_MS, 10 * IMPORT_MS)
    version = version_of(checkout)
    record(
        "import",
        **{
            f"{version}_cpu_ms": round(module + nodes, 1), f"{version}_of_which_schemas_ms": round(nodes, 1),
            f"{version}_wall_ms": round(wall, 1), f"{version}_starts": runs,
        },
    )  # fmt: skip
