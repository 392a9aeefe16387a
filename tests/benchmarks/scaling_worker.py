"""One process of the measurement: `scaling_worker.py OUT RANK SIZE MEETING CASES`, started by scaling_measure.py.

SIZE 0: alone, without torch.distributed. Else one of SIZE gloo ranks, which meet in the file MEETING. CASES: JSON
list of {"name", "method", "steps", "trajectories", "seed", "model"}. Rank 0's numbers, as JSON, go to the file OUT.
"""

from __future__ import annotations

import json
import math
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1])]

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from restart_art.schedules import fit_schedule  # noqa: E402
from restart_art.schedules.art.ranks import Ranks  # noqa: E402
from restart_art.tiny import LATENT_SHAPE, load_tiny  # noqa: E402

from exact import Mixture  # noqa: E402
from scaling_trace import checked, counted_messages, traced  # noqa: E402

SIZES = (80, 1024, 8192, 65536, 524288, 4194304)  # bytes of the messages timed
BATCHES = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24)
CALLS = 15  # timed calls of a batch or message: the median counts
BOUNDS = {"mixture": (0.03, 15.0)}


def make_model(name: str) -> tuple[Any, tuple[int, ...], tuple[float, float]]:
    """(model, shape of a sample, bounds). "flow", "eps": a tiny checkpoint in double precision, so that shares of a
    batch answer as the batch does. "mixture" or "mixture 4x64x64": three modes known in closed form."""
    if not name.startswith("mixture"):
        model = load_tiny(name).double()
        sampling = model.model_sampling
        return model, tuple(LATENT_SHAPE), (float(sampling.sigma_min), float(sampling.sigma_max))
    size = name.removeprefix("mixture").strip() or "16"
    shape = tuple(int(n) for n in size.split("x"))
    means = torch.randn(3, math.prod(shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Mixture(means, 0.3), shape, BOUNDS["mixture"]


def run_fit(case: dict[str, Any], ranks: Ranks | None) -> dict[str, Any]:
    """One fit, recorded: seconds by the clock and of this thread's processor time (which other programs do not
    stretch), the same of its rounds, chains, messages, and the length of the last one."""
    model, shape, (low, high) = make_model(case["model"])
    count, seed = case["trajectories"], case["seed"]
    noise = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = {} if isinstance(model, Mixture) else {"classes": torch.arange(count) % 10}
    if ranks is not None:
        dist.barrier()
    began = time.perf_counter(), time.thread_time()
    with traced() as trace, counted_messages() as messages:
        schedule = fit_schedule(
            model, noise, sigma_min=low, sigma_max=high, solver=case["solver"], steps=case["steps"],
            method=case["method"], seed=seed, extra_args=labels, callback=trace.progress, ranks=ranks,
        )  # fmt: skip
    seconds, cpu = time.perf_counter() - began[0], time.thread_time() - began[1]
    if ranks is not None and ranks.rank > 0:
        return {}
    checked(schedule.report, trace.chains)
    return {
        "name": case["name"],
        "seconds": seconds,
        "cpu": cpu,
        "round_seconds": trace.seconds,
        "round_cpu": trace.cpu,
        "surrogate_seconds": schedule.report.get("surrogate_seconds", 0.0),
        "chains": [c.to_record() for c in trace.chains],
        "messages": messages,
        "last_word": len(schedule.to_text().encode()),
    }


def batch_seconds(name: str, calls: int = CALLS) -> list[list[float]]:
    """[[samples, median processor seconds of a call, by the clock]] of a model in double precision."""
    model, shape, _ = make_model(name)
    times: dict[int, list[list[float]]] = {b: [] for b in BATCHES}
    for b in [*BATCHES, *(BATCHES * calls)]:  # sizes take turns, so that a slow moment meets all of them
        x = torch.ones(b, *shape, dtype=torch.float64)
        began = time.thread_time(), time.perf_counter()
        model(x, torch.full((b,), 0.5, dtype=torch.float64), classes=torch.arange(b) % 10)
        times[b].append([time.thread_time() - began[0], time.perf_counter() - began[1]])
    return [[b, *torch.tensor(seen[1:]).median(0).values.tolist()] for b, seen in times.items()]


def message_seconds() -> dict[str, list[list[float]]]:
    """{kind: [[bytes, median seconds]]} between the ranks; an all-gather's bytes are one rank's part."""
    found: dict[str, list[list[float]]] = {"all_gather": [], "all_reduce": [], "broadcast": []}
    for kind, rows in found.items():
        for size in SIZES:
            data = torch.zeros(size, dtype=torch.uint8)
            parts = [torch.zeros_like(data) for _ in range(dist.get_world_size())]
            times = []
            for _ in range(CALLS + 1):
                dist.barrier()
                began = time.perf_counter()
                if kind == "all_gather":
                    dist.all_gather(parts, data)
                elif kind == "all_reduce":
                    dist.all_reduce(data)
                else:
                    dist.broadcast(data, 0)
                times.append(time.perf_counter() - began)
            rows.append([size, float(torch.tensor(times[1:]).median())])
    return found


def main(out: str, rank: str, size: str, meeting: str, cases: str) -> None:
    """What this process measures; rank 0 writes it."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    ranks = None
    with torch.no_grad():
        if int(size):
            dist.init_process_group(
                "gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(size),
                timeout=timedelta(seconds=120),
            )  # fmt: skip
            ranks = Ranks()
            found["messages"] = message_seconds() if int(size) > 1 else {}
        else:
            found["batches"] = {name: batch_seconds(name) for name in sorted({c["model"] for c in json.loads(cases)})}
        found["fits"] = []
        for case in json.loads(cases):
            found["fits"].append(run_fit(case, ranks))
            print(case["name"], flush=True)
    if ranks is not None:
        dist.destroy_process_group()
    if rank == "0":
        Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
