"""Everything docs/scaling.md measures, on this machine: fits alone and over gloo ranks, batches, messages, sampling."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import records
import torch
from torch import Tensor

from restart_art.samplers.parallel_midpoint import sample_parallel_midpoint
from restart_art.tiny import LATENT_SHAPE, load_tiny

from scaling_machines import gpu_costs
from scaling_plan import Chain, foreseen

WORKER = Path(__file__).with_name("scaling_worker.py")
SEED = 3
TRAJECTORIES = 24  # the Fit node's default


def case(method: str, steps: Sequence[int], model: str = "flow", trajectories: int = TRAJECTORIES) -> dict[str, Any]:
    """A fit for Euler, as the worker takes it."""
    name = f"{method}, {', '.join(str(n) for n in steps)} steps"
    return {
        "name": name, "method": method, "steps": list(steps),
        "trajectories": trajectories, "seed": SEED, "solver": "euler", "model": model,
    }  # fmt: skip


MODELS = ("flow", "mixture 16x8x8")  # the tiny checkpoint, or a formula with samples of its size: hardly any model time


def cases(model: str) -> list[dict[str, Any]]:
    """The four fits that are measured."""
    return [case(method, steps, model) for method in ("direct", "refined") for steps in ((8,), (8, 12, 20))]


# The fit's own work against the size of a sample: the model is a formula.
LATENTS = [{**case("direct", (8,), f"mixture {s}"), "name": f"direct, 8 steps, {s}"} for s in ("16x8x8", "4x64x64")]
SAMPLING = [(16, 4, 1, True), (16, 4, 1, False), (13, 8, 2, True), (8, 2, 1, True), (16, 16, 1, True)]


def plan(case: dict[str, Any]) -> list[Chain]:
    """The rounds of a case that are known beforehand."""
    return foreseen(case["method"], case["solver"], case["steps"], case["trajectories"])


def run_worker(cases: Sequence[dict[str, Any]], ranks: int, limit: float = 1500.0) -> dict[str, Any]:
    """Run scaling_worker.py: alone (ranks 0), or as that many gloo ranks. Returns what rank 0 measured.

    Raises RuntimeError with the end of what they printed if one failed; all are ended then, and after `limit` seconds.
    """
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out, meeting = Path(folder) / "out.json", Path(folder) / "meeting"
        started = []
        for rank in range(max(ranks, 1)):
            command = [sys.executable, str(WORKER), str(out), str(rank), str(ranks), str(meeting), json.dumps(cases)]
            with (Path(folder) / f"{rank}.log").open("w") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env))
        until = time.monotonic() + limit
        try:
            for process in started:
                process.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{ranks} ranks took over {limit:g} seconds") from None
        finally:
            for process in started:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if any(process.returncode for process in started):
            said = "\n".join((Path(folder) / f"{rank}.log").read_text()[-1500:] for rank in range(len(started)))
            raise RuntimeError(f"a worker of {ranks} ranks failed:\n{said}")
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def sample_once(steps: int, midpoints: int, sweeps: int, warm: bool, pictures: int = 1) -> dict[str, Any]:
    """A real run of parallel midpoint on the tiny flow checkpoint: samples of each of its rounds, and its report."""
    model = load_tiny("flow")
    sizes: list[int] = []

    class Seen:
        model_sampling = model.model_sampling

        def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
            sizes.append(x.shape[0])
            return model(x, sigma, classes=torch.zeros(x.shape[0], dtype=torch.long))

    sampling = model.model_sampling
    low, high = math.log(float(sampling.sigma_min)), math.log(float(sampling.sigma_max))
    sigmas = torch.cat([torch.linspace(high, low, steps).exp(), torch.zeros(1)])
    x = torch.randn(pictures, *LATENT_SHAPE, generator=torch.Generator().manual_seed(SEED)) * sigmas[0]
    report: dict[str, Any] = {}
    began = time.perf_counter()
    with torch.no_grad():
        sample_parallel_midpoint(
            Seen(), x, sigmas, disable=True, midpoints=midpoints, sweeps=sweeps, warm_start=warm, report=report
        )
    return {
        "steps": steps, "midpoints": midpoints, "sweeps": sweeps, "warm": warm, "samples": sizes,
        "rounds": report["rounds"], "evaluations": report["evaluations"], "seconds": time.perf_counter() - began,
    }  # fmt: skip


ROW = re.compile(
    r"^\| (?P<problem>[^|]+) \| (?P<method>DDIM|parallel midpoint|DPM\+\+ 2M, fewest rounds|ParaDiGMS) \| "
    r"(?P<setting>[^|]+) \| (?P<error>[\d.]+) \| (?P<rounds>[\d.]+) \| (?P<evaluations>[\d.]+) \|$",
    re.MULTILINE,
)


def accuracies(page: Path) -> list[dict[str, Any]]:
    """What docs/samplers-benchmark.md measured in its part (c): who reaches DDIM-100's error in how many rounds."""
    found = [match.groupdict() for match in ROW.finditer(page.read_text(encoding="utf-8"))]
    if not found:
        raise ValueError(f"{page.name} has no table of rounds; make bench-samplers writes one")
    numbers = ("error", "rounds", "evaluations")
    return [{k: float(v) if k in numbers else v.strip() for k, v in row.items()} for row in found]


def measure(say: Any = print, model: str = MODELS[0]) -> records.Record:
    """The record of `make scaling`. Some minutes. model: one of MODELS."""
    fits = cases(model)
    command = "make scaling" if model == MODELS[0] else f"make scaling MODEL='{model}'"
    torch.set_num_threads(1)
    seeds = {"noise": SEED, "mixtures": 0}
    record = records.about(command, seeds, trajectories=TRAJECTORIES, model=model, load=round(os.getloadavg()[0], 1))
    say("fits alone")
    alone = run_worker(fits, 0)
    say("fits over two ranks")
    two = run_worker(fits, 2)
    say("a fit as the only rank of a group")
    one = run_worker(fits[:1], 1)
    say("a larger sample")
    large = run_worker(LATENTS, 0)
    say("parallel midpoint")
    return {
        "about": record,
        "batches": alone["batches"],
        "messages": two["messages"],
        "foreseen": {c["name"]: [f.to_record() for f in plan(c)] for c in fits},
        "alone": alone["fits"],
        "latents": [{k: v for k, v in f.items() if k not in ("chains", "messages")} for f in large["fits"]],
        "one_rank": one["fits"],
        "two_ranks": two["fits"],
        "sampling": [sample_once(*setting) for setting in SAMPLING],
        "accuracy": accuracies(records.ROOT / "docs" / "samplers-benchmark.md"),
        "gpu": gpu_costs(records.DATA / "gpu.json"),
    }
