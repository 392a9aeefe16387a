"""Runs parts of the GPU benchmark in ComfyUI's own Python and writes one JSON record; started by gpu_bench.py."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[0:0] = [str(TESTS), str(TESTS / "comfyui"), str(Path(__file__).parent)]

import torch  # noqa: E402

from gpu_live import Live  # noqa: E402
from gpu_plan import PARTS, estimate  # noqa: E402
from gpu_report import as_record  # noqa: E402
from gpu_specs import SIZES  # noqa: E402

MODULES = {
    "a": "gpu_part_models", "b": "gpu_part_batch", "c": "gpu_part_samplers", "d": "gpu_part_parallel",
    "e": "gpu_part_fit", "f": "gpu_part_glyphs",
}  # fmt: skip


def machine(device: str) -> str:
    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, torch {torch.__version__}"
    return f"CPU ({platform.machine()}), torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--size", choices=tuple(SIZES), required=True)
    parser.add_argument("--parts", required=True)
    parser.add_argument("--models", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--extra-path", default="")
    arguments = parser.parse_args()
    if arguments.extra_path:
        sys.path.append(arguments.extra_path)  # last: what ComfyUI has comes first
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    size, models = SIZES[arguments.size], arguments.models.split(",")
    live = Live(arguments.checkout, arguments.device, size, arguments.seed)
    record: dict[str, Any] = {
        "machine": machine(arguments.device),
        "size": size.name,
        "date": datetime.date.today().isoformat(),
        "seeds": [arguments.seed],
        "tables": [],
        "targets": [],
    }
    for part in arguments.parts.split(","):
        expected = f", about {estimate(part, size, models) / 60:.0f} min" if size.name == "full" else ""
        print(f"({part}) {PARTS[part]}{expected}", flush=True)
        began = time.monotonic(), time.process_time()
        found = as_record(part, importlib.import_module(MODULES[part]).run(live, models))
        for kind in ("tables", "targets"):
            record[kind] += found[kind]
        arguments.record.write_text(json.dumps(record), encoding="utf-8")  # after each part: a stop loses one
        wall, own = time.monotonic() - began[0], time.process_time() - began[1]
        print(f"({part}) done in {wall:.0f} s ({own:.0f} s of the processor)", flush=True)


if __name__ == "__main__":
    main()
