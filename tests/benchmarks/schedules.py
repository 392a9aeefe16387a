"""The schedule benchmark: `make bench-schedules`. Writes a page, a picture and docs/data/schedules.json."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "bench" / "schedules.json"
for folder in (ROOT / "tests", Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import numpy as np  # noqa: E402
import records  # noqa: E402
import torch  # noqa: E402

from schedule_cases import (  # noqa: E402
    FIT_SEED,
    FLOOR_SEED,
    HELD_OUT_SEED,
    MIXTURES,
    SOLVERS,
    TINY,
    TITLES,
    Setting,
    fine_ends,
    host_grids,
    make,
    normal,
)
from schedule_chart import chart  # noqa: E402
from schedule_fits import REFINED, Work, learn  # noqa: E402
from schedule_floor import descend, through_mixture, through_network  # noqa: E402
from schedule_report import page  # noqa: E402
from schedule_targets import targets  # noqa: E402

FLOOR_ROWS, FLOOR_ITERATIONS = 192, 120
AUTOGRAD_ROWS, AUTOGRAD_ITERATIONS, AUTOGRAD_RATE, AUTOGRAD_STEPS = 16, 20, 0.015, (8, 12)


def plan() -> list[tuple[str, str, Work]]:
    """Every case (problem, solver, what is learned), the longest first so that the workers end together."""
    cases = []
    for name in TINY:
        for solver in SOLVERS:
            if "CFG" in name:
                work = Work(((8, 12),), art=False)
            else:
                work = Work(((8, 12, 20), (5, 10)), (8, 12), also=(15, 30), rl=solver == "euler")
            cases.append((name, solver, work))
    for name in MIXTURES:
        for solver in SOLVERS:
            alone = (10,) if name.startswith("16-D") else ()
            cases.append((name, solver, Work(((5, 8, 10), (15, 20, 30)), alone, rl=solver == "euler")))
    return cases


def ends_of(name: str) -> np.ndarray:
    """The held-out trajectories' exact ends, which are the same for every solver; in a worker process."""
    torch.set_num_threads(1)
    return make(name, {}).ends.numpy()


def measure(
    name: str, solver: str, work: Work, host: Mapping[str, Any], ends: np.ndarray | None = None, **sizes: int
) -> dict[str, Any]:
    """One case, in a worker process: errors of every grid on the held-out trajectories, the fits, the floor.

    ends: the problem's, where they are known (ends_of). sizes: held, floor_rows, floor_iterations (for quick trials).
    """
    torch.set_num_threads(1)
    began = time.process_time()
    setting = make(name, host, held=sizes.get("held"))
    if ends is not None:
        setting.ends = torch.from_numpy(ends)
    learned = learn(setting, solver, work)
    steps = sorted(learned.grids[REFINED])
    stock = {
        label: {n: setting.error(solver, grids[n]) for n in steps if n in grids}
        for label, grids in setting.stock.items()
    }
    longer = {
        label: [n for n in steps if n in grids and len(grids[n]) != n + 1] for label, grids in setting.stock.items()
    }
    floor = _floor(setting, solver, steps, learned.grids[REFINED], stock, longer, sizes)
    return {
        "problem": name,
        "solver": solver,
        "stock": stock,
        "longer": {label: counts for label, counts in longer.items() if counts},
        "learned": {m: {n: setting.error(solver, g) for n, g in sorted(gs.items())} for m, gs in learned.grids.items()},
        "unfitted": list(work.also),
        "fits": learned.fits,
        "floor": floor,
        "grids": {str(n): learned.grids[REFINED][n].tolist() for n in steps},
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def _floor(
    setting: Setting, solver: str, steps: Sequence[int], refined: Mapping[int, torch.Tensor],
    stock: Mapping[str, Mapping[int, float]], longer: Mapping[str, Sequence[int]], sizes: Mapping[str, int],
) -> dict[int, dict[str, float]]:  # fmt: skip
    """Mixtures: to convergence, from the refined and the best stock grid, on trajectories of its own. Tiny
    checkpoints: a short descent from the refined grid, on the trajectories that it was refined on."""
    found = {}
    if setting.name in MIXTURES:
        noise = normal((sizes.get("floor_rows", FLOOR_ROWS), setting.fit_noise.shape[1]), FLOOR_SEED, torch.float64)
        error = through_mixture(setting.model, solver, noise, fine_ends(setting, noise, {}))
        rate, iterations = 0.04, sizes.get("floor_iterations", FLOOR_ITERATIONS)
    else:
        steps = [n for n in steps if n in AUTOGRAD_STEPS and "CFG" not in setting.name]
        noise = setting.fit_noise[:AUTOGRAD_ROWS]
        args = {key: value[:AUTOGRAD_ROWS] for key, value in setting.fit_args.items()}
        error = through_network(setting.model, solver, noise, fine_ends(setting, noise, args), args)
        rate, iterations = AUTOGRAD_RATE, sizes.get("floor_iterations", AUTOGRAD_ITERATIONS)
    for n in steps:
        starts = [refined[n]]
        if setting.name in MIXTURES:
            same = {label: errors[n] for label, errors in stock.items() if n in errors and n not in longer[label]}
            starts.append(setting.stock[min(same, key=lambda label: same[label])][n])
        lowered = torch.stack([grid[:-1] for grid in starts])
        got = descend(error, lowered, setting.low, setting.high, iterations, rate)
        own = {"own_error": got.error, "own_before": got.before, "late": got.late}
        found[n] = {"error": setting.error(solver, got.sigmas), **own}
    return found


def run(jobs: int, cases: Sequence[tuple[str, str, Work]], record: Path, *, resume: bool = False) -> dict[str, Any]:
    """Every case; the record on disk grows with each, so that a run cut short keeps what it has.

    resume: leave out the cases that the record holds already; its seconds count.
    """
    began = time.monotonic()
    version, host = host_grids()
    seeds = {"fits": [FIT_SEED], "held out": [HELD_OUT_SEED], "floor": [FLOOR_SEED]}
    head = records.about("make bench-schedules", seeds, [version] if version else [])
    whole: dict[str, Any] = {"about": head, "host": version, "jobs": jobs, "seconds": 0, "cases": []}
    if resume and record.is_file():
        whole = {"about": head, **json.loads(record.read_text(encoding="utf-8"))}
        began -= whole["seconds"]
    done = {(case["problem"], case["solver"]) for case in whole["cases"]}
    record.parent.mkdir(exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=end_with_parent) as pool:
        left = [case for case in cases if case[:2] not in done]
        costly = [name for name in TINY if any(case[0] == name for case in left)]
        known = dict(zip(costly, pool.map(ends_of, costly), strict=True))
        waiting = [pool.submit(measure, name, solver, work, host, known.get(name)) for name, solver, work in left]
        for job in as_completed(waiting):
            case = json.loads(json.dumps(job.result()))  # step counts become text, as they are on disk
            whole["cases"].append(case)
            whole["seconds"] = round(time.monotonic() - began)
            record.write_text(json.dumps(whole), encoding="utf-8")
            print(
                f"{whole['seconds']:6.0f} s  {case['problem']}, {case['solver']} ({case['cpu_seconds']} s)", flush=True
            )
    return whole


def end_with_parent() -> None:
    """In a worker: end as soon as the parent does, however it does, and not only after the case at hand."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def write(whole: Mapping[str, Any], folder: Path) -> None:
    """The page, the picture and the record that they come from; tells every target."""
    order = {key: i for i, key in enumerate((n, s) for n in (*MIXTURES, *TINY) for s in SOLVERS)}
    cases = sorted(whole["cases"], key=lambda case: order[case["problem"], case["solver"]])
    judged = targets(cases)
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "schedules-benchmark.png"
    chart(cases).quantize(96).save(picture, optimize=True)
    found = {(case["problem"], case["solver"]) for case in cases}
    missing = [f"{problem}, {TITLES[solver]}" for problem, solver, _ in plan() if (problem, solver) not in found]
    text = page(cases, judged, picture.name, {**whole, "missing": missing})
    (folder / "schedules-benchmark.md").write_text(text, encoding="utf-8")
    records.keep("schedules", {**whole, "cases": cases}, folder / "data")
    for target in judged:
        if target.limit is not None:
            print(f"{'met   ' if target.met else 'MISSED'} {target.value:8.3f} <= {target.limit:g}  {target.text}")
    print(folder / "schedules-benchmark.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="worker processes, one torch thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the page and the picture")
    parser.add_argument("--render", action="store_true", help="write the page again from the last run's record")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was cut short")
    options = parser.parse_args()
    if not options.render:
        run(options.jobs, plan(), RECORD, resume=options.resume)
    # bench/ has what a run under way has measured so far; docs/data what was committed.
    write(
        json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else records.load("schedules"), options.out
    )


if __name__ == "__main__":
    main()
