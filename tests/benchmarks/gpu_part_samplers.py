"""Part (c): every sampler at equal model calls: seconds, peak memory, its own share of the time, host syncs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gpu_live import Live
from gpu_report import Result, Table, Target
from gpu_samplers import OPTIONS, grid_for, syncs_of, timed
from gpu_specs import LIMITS, OURS, SAMPLERS, SPECS

HEADER = [
    "model", "sampler", "steps", "calls", "evaluations", "seconds", "s in the model", "overhead", "GiB",
    "syncs in steps", "syncs in the model",
]  # fmt: skip


def measure(live: Live, name: str, model: Any, x: Tensor, extra: Any, sigmas: Tensor) -> dict[str, Any]:
    options, function = OPTIONS.get(name, {}), live.function(name)
    run = timed(live, function, model, x, sigmas, extra, live.size.repeats, **options)
    count = syncs_of(live, function, model, x, sigmas, extra, **options)

    def again() -> None:
        function(model, x.clone(), sigmas, extra_args=extra, disable=True, **options)

    return {"run": run, "steps": count.steps, "model": count.model, "peak": live.clock.peak(again)}


def run(live: Live, models: list[str]) -> Result:
    rows, targets = [], []
    for key, pixels in live.size.runs.items():
        if key not in models:
            continue
        spec, model = SPECS[key], live.build(SPECS[key])
        guider, sampling = live.guider(model, spec), live.sampling(model)
        for name in SAMPLERS:
            sigmas = grid_for(live, sampling, name, lambda n, m=model: live.sigmas(m, "simple", n), live.size.calls)
            if sigmas is None:
                raise RuntimeError(f"{name} has no grid of exactly {live.size.calls} calls")
            found = live.inside(
                guider, live.shape(model, pixels), sigmas, lambda m, x, s, args, n=name: measure(live, n, m, x, args, s)
            )  # fmt: skip
            done = found["run"]
            rows.append([
                f"{spec.name}, {pixels}", name, str(len(sigmas) - 1), str(done.calls), str(done.evaluations),
                f"{done.seconds:.4g}", f"{done.model_seconds:.4g}", f"{100 * done.overhead:.2f} %",
                f"{found['peak']:.4g}", str(found["steps"]), str(found["model"]),
            ])  # fmt: skip
            if name in OURS:
                where = f"{spec.name}, {pixels}, {name}"
                targets += [
                    Target(f"(c) {where}: overhead", done.overhead, LIMITS["overhead"]),
                    Target(f"(c) {where}: host synchronisations in steps", found["steps"], LIMITS["syncs"]),
                ]
        del model, guider, sampling
        live.release()
    text = [
        f"{live.size.calls} model calls each, batch 1, the scheduler simple; restart is Euler with one restart of two "
        "steps, parallel midpoint sends R = 4 samples in a call. Overhead: the share of the time outside the model's "
        "calls. Host synchronisations are those between the first and the last call, by the sampler and inside "
        "ComfyUI's own call; on CUDA torch warns of each, on the CPU reads of tensors' values stand in.",
    ]
    return Result([Table("(c) Samplers at equal model calls", HEADER, rows, text)], targets)
