"""The sampler benchmark: `make bench-samplers`. Writes a page, a picture and docs/data/samplers.json."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests", Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import records  # noqa: E402
import torch  # noqa: E402

import part_parallel  # noqa: E402
import part_randomized  # noqa: E402
import part_restart  # noqa: E402
from samplers_chart import chart  # noqa: E402
from samplers_report import page  # noqa: E402

PARTS: dict[str, tuple[Any, Callable[[str], dict[str, Any]], list[str]]] = {
    "restart": (part_restart, part_restart.measure, list(part_restart.CASES)),
    "randomized": (part_randomized, part_randomized.measure, list(part_randomized.PROBLEMS)),
    "parallel": (part_parallel, part_parallel.measure, list(part_parallel.PROBLEMS)),
}
SEEDS = {
    "perturbations": [*part_restart.SEEDS, part_restart.TUNING_SEED],
    "noise": [*part_restart.NOISE_SEEDS, *part_randomized.NOISE_SEEDS],
    "fits": [part_randomized.FIT_SEED],
    "parallel": [30, 31],  # part_parallel: of the mixtures, of the tiny checkpoints
}


def work(part: str, name: str) -> tuple[dict[str, Any], float]:
    """One case of one part, in a worker process; and the seconds it took."""
    torch.set_num_threads(1)
    began = time.monotonic()
    with torch.no_grad():
        return PARTS[part][1](name), time.monotonic() - began


def measure(jobs: int) -> dict[str, list[dict[str, Any]]]:
    """Every case of every part."""
    began = time.monotonic()
    results: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        queue = [(part, name, pool.submit(work, part, name)) for part, (_, _, names) in PARTS.items() for name in names]
        for part, name, job in queue:
            result, seconds = job.result()
            results[part].append(result)
            print(f"{time.monotonic() - began:6.0f} s  {part}: {name} ({seconds:.0f} s)", flush=True)
    return results


def write(results: dict[str, Any], folder: Path) -> None:
    """The page, the picture and the record that they come from; tells every target."""
    sections = {part: module.section(results[part]) for part, (module, _, _) in PARTS.items()}
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "samplers-benchmark.png"
    chart(*(sections[part].numbers for part in PARTS)).quantize(128).save(picture, optimize=True)
    text = page(list(sections.values()), picture.name, "make bench-samplers")
    (folder / "samplers-benchmark.md").write_text(text, encoding="utf-8")
    records.keep("samplers", results, folder / "data")
    for part in sections.values():
        for target in part.targets:
            if target.limit is not None:
                print(f"{'met   ' if target.met else 'MISSED'} {target.value:6.3f} <= {target.limit:g}  {target.text}")
    print(folder / "samplers-benchmark.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="worker processes, one torch thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the page and the picture")
    parser.add_argument("--render", action="store_true", help="write the page again from docs/data/samplers.json")
    options = parser.parse_args()
    if options.render:
        results = records.load("samplers")
    else:
        head = records.about("make bench-samplers", SEEDS, jobs=options.jobs)
        results = {"about": head, **json.loads(json.dumps(measure(options.jobs)))}  # keys become text, as on disk
    write(results, options.out)


if __name__ == "__main__":
    main()
