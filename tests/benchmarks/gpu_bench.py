"""The GPU benchmark: `make bench-gpu`. Writes docs/gpu-benchmark.md, its chart and docs/data/gpu.json.

Without a CUDA device it says what it would run, writes nothing and ends well. `--device cpu --size toy --out FOLDER`
runs the same code on tiny networks of the same classes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests" / "comfyui", Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from gpu_plan import PARTS, plan_text  # noqa: E402
from gpu_report import join, write  # noqa: E402
from gpu_specs import FULL, SIZES, SPECS  # noqa: E402
from locate import HOW_TO_INSTALL, find_checkout, find_python  # noqa: E402

WORKER = Path(__file__).with_name("gpu_worker.py")
ASK = "import torch; print('GPU' if torch.cuda.is_available() else 'no GPU')"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=tuple(SIZES), default=FULL.name)
    parser.add_argument("--parts", default=",".join(PARTS), help="letters, such as b,c; the others' results are kept")
    parser.add_argument("--models", default=",".join(SPECS), help="names, such as sd15,sdxl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for page, chart and JSON instead of docs/")
    parser.add_argument("--plan", action="store_true", help="only say what would run")
    asked = parser.parse_args(arguments)
    for name, known in (("parts", PARTS), ("models", SPECS)):
        chosen = getattr(asked, name).split(",")
        unknown = [entry for entry in chosen if entry not in known]
        if unknown or not chosen:
            parser.error(f"--{name} is {getattr(asked, name)!r}; allowed: {', '.join(known)}")
        setattr(asked, name, list(dict.fromkeys(chosen)))
    if asked.out is None and (asked.device, asked.size) != ("cuda", FULL.name):
        parser.error("--out is needed: only a full run on a GPU is written to docs/")
    if asked.device == "cpu" and asked.size == FULL.name:
        parser.error("--device cpu needs --size toy: the full size would take days")
    return asked


def has_gpu(python: str) -> bool:
    """Whether the torch of this Python finds a CUDA device."""
    run = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=False, timeout=300)
    return run.stdout.strip() == "GPU"


def measure(asked: argparse.Namespace, checkout: Path, python: Path) -> tuple[int, dict[str, Any] | None]:
    """(exit status, the record of the parts that were done), from a worker in ComfyUI's own Python."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        command = [
            str(python), str(WORKER), "--checkout", str(checkout), "--device", asked.device, "--size", asked.size,
            "--parts", ",".join(asked.parts), "--models", ",".join(asked.models), "--seed", str(asked.seed),
            "--record", str(record), "--extra-path", str(ROOT / ".venv" / "bench"),
        ]  # fmt: skip
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        status = subprocess.run(command, check=False, env=env, cwd=folder).returncode
        return status, json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None


def said_command(arguments: list[str]) -> str:
    """As it can be typed again; the output folder does not matter."""
    kept = [a for i, a in enumerate(arguments) if a != "--out" and (i == 0 or arguments[i - 1] != "--out")]
    return "make bench-gpu" + (f' ARGS="{" ".join(kept)}"' if kept else "")


def main(arguments: list[str]) -> int:
    asked = parse(arguments)
    checkout = find_checkout()
    python = find_python(checkout) if checkout else Path(sys.executable)
    if asked.plan or asked.size == FULL.name:
        print(plan_text(SIZES[asked.size], asked.parts, asked.models), flush=True)
    if asked.plan:
        return 0
    if asked.device == "cuda" and not has_gpu(str(python)):
        print("No CUDA device was found: nothing was run and nothing was written.")
        return 0
    if checkout is None:
        print(HOW_TO_INSTALL)
        return 1
    status, record = measure(asked, checkout, python)
    if record is None:
        return status or 1
    pages = asked.out or ROOT / "docs"
    file = pages / "gpu.json" if asked.out else pages / "data" / "gpu.json"
    old = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    write(join(old, {"command": said_command(arguments), **record}), file, pages)
    print(f"wrote {file} and {pages / 'gpu-benchmark.md'}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
