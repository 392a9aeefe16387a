"""Part (b): one batched evaluation of R levels, through the pack's PairEvaluator, against R single calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gpu_live import Live
from gpu_report import Result, Table
from gpu_specs import SPECS


def measure(live: Live, model: Any, x: Tensor, extra_args: Any, levels: int, sigmas: Tensor) -> dict[str, Any]:
    """Seconds and GiB of a batch of `levels` and of as many single calls; how far their answers are apart."""
    evaluator_of = live.ours("samplers.evaluation").PairEvaluator
    sigma = sigmas[:-1][torch.linspace(0, len(sigmas) - 2, levels).round().long()].to(x)[:, None]
    pairs = torch.stack([x[:1] * float(s) / float(sigmas[0]) for s in sigma]).to(x)
    together, alone = evaluator_of(model, extra_args), evaluator_of(model, extra_args)

    def batched() -> Tensor:
        found: Tensor = together.evaluate(pairs, sigma)
        return found

    def single() -> Tensor:
        return torch.cat([alone.evaluate(pairs[r : r + 1], sigma[r : r + 1]) for r in range(levels)])

    ends = batched(), single()
    calls = together.calls
    off = float((ends[0] - ends[1]).double().square().mean().sqrt() / ends[1].double().square().mean().sqrt())
    repeats = live.size.repeats
    return {
        "calls": calls, "obstacle": together.obstacle, "off": off,
        "batched": live.clock.median(batched, repeats), "single": live.clock.median(single, repeats),
        "peak": live.clock.peak(batched), "peak single": live.clock.peak(single),
    }  # fmt: skip


def run(live: Live, models: list[str]) -> Result:
    rows, points = [], {}
    for key in models:
        spec, model = SPECS[key], live.build(SPECS[key])
        guider = live.guider(model, spec)
        for pixels in live.size.latents:
            shape, sigmas = live.shape(model, pixels), live.sigmas(model, "simple", 20)
            for count in live.size.levels:
                found = live.inside(
                    guider, shape, sigmas, lambda m, x, s, args, n=count: measure(live, m, x, args, n, s)
                )  # fmt: skip
                ratio = found["batched"] / found["single"]
                points.setdefault(f"{spec.name}, {pixels}", []).append([count, ratio])
                rows.append([
                    spec.name, str(pixels), str(count), str(found["calls"]), f"{found['batched']:.4f}",
                    f"{found['single']:.4f}", f"{ratio:.3f}", f"{found['peak']:.4g}", f"{found['peak single']:.4g}",
                    f"{found['off']:.2e}",
                ])  # fmt: skip
                if found["obstacle"]:
                    raise RuntimeError(f"{spec.name}: levels did not share a batch: {found['obstacle']}")
        del model, guider
        live.release()
    header = [
        "model", "pixels", "R", "calls", "s, one batch", "s, R calls", "ratio", "GiB, one batch", "GiB, single",
        "difference",
    ]  # fmt: skip
    text = [
        f"Median of {live.size.repeats}, batch 1, guidance {live.size.cfg:g}. A ratio below 1 is what parallel "
        "midpoint lives on; 1/R would be a batch for the price of one call. More than one call: the batch was cut "
        "to fit the memory. Difference: root mean square between both answers, relative; rounding in half precision."
    ]
    return Result([Table("(b) A batch of R levels against R single calls", header, rows, text, {"ratio": points})], [])
