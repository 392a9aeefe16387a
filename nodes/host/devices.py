"""What ComfyUI knows of its devices: how much fits into one model call, and clones of a model on other devices.

Several devices. ComfyUI's MultiGPU work units (0.33) hold clones of a MODEL on other devices and deal the *prompts*
of a model call (positive, negative, ...) out to them; they never divide a batch. So the R midpoints of a round are
handed over as R copies of each prompt: every copy carries, as an ordinary conditioning tensor, the numbers of the
batch rows that it stands for, and the function that ComfyUI calls in place of the model puts those rows and their
sigmas in. Which device takes what, the threads and each device's memory stay with ComfyUI's engine.

What was run: two logical devices on one CPU (the engine's own scheduler, threads and clones), equal to one device
to 1e-5. What was not run: real GPUs, devices of different speed (the engine ignores relative_speed when it
deals prompts out), and models larger than one device. Prompts bound to a region are not spread; they are evaluated
as one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.conds
import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ...samplers.memory import set_memory_probe, set_spreader

ROWS = "restart_art_rows"  # the conditioning tensor that says which rows of the batch a prompt stands for
MARGIN = 1.5  # ComfyUI's own, where it decides whether prompts share a call
SPREADABLE_GUIDERS = {"CFGGuider", "Guider_Basic"}  # they ask for "sampler_calc_cond_batch_function"


def register_devices() -> None:
    """Tell samplers/ how much fits and how to use several devices. Calling twice changes nothing."""
    set_memory_probe(samples_that_fit, comfy.model_management.soft_empty_cache)
    set_spreader(spread_over_devices)


def samples_that_fit(model: Any, x: Tensor) -> int | None:
    """How many samples like x's (n, ...) one model call takes in the memory that is free now.

    By ComfyUI's own estimate for its costliest prompt; ComfyUI itself then decides whether positive and
    negative prompts share that call.
    """
    guider = model.inner_model
    base, patcher = guider.inner_model, guider.model_patcher
    find_free = getattr(patcher, "get_free_memory", comfy.model_management.get_free_memory)
    need = 0.0
    for conditions in guider.conds.values():
        for condition in conditions or ():
            one = {k: v.process_cond(batch_size=1, area=None) for k, v in condition["model_conds"].items()}
            shapes = {name: [holder.size()] for name, holder in one.items()}
            need = max(need, MARGIN * float(base.memory_required([1, *x.shape[1:]], cond_shapes=shapes)))
    return int(find_free(x.device) / need) if need > 0 else None


def spread_over_devices(model: Any, extra_args: Mapping[str, Any], batch: int) -> dict[str, Any] | None:
    """extra_args with which ComfyUI spreads a call of n * batch samples over the devices that hold clones.

    None where MODEL has no clones elsewhere, or ComfyUI would not ask the function that is put in.
    """
    options = extra_args.get("model_options") or {}
    guider = model.inner_model
    if len(options.get("multigpu_clones") or ()) < 2 or type(guider).__name__ not in SPREADABLE_GUIDERS:
        return None
    if any("area" in condition for conditions in guider.conds.values() for condition in conditions or ()):
        return None

    def dealt(args: dict[str, Any]) -> list[Tensor]:
        return _deal(args, batch)

    return {**extra_args, "model_options": {**options, "sampler_calc_cond_batch_function": dealt}}


def _deal(args: dict[str, Any], batch: int) -> list[Tensor]:
    """One prediction per prompt list of args["conds"], over all rows, each level a prompt of its own."""
    x, sigma, conds = args["input"], args["sigma"], args["conds"]
    options = {k: v for k, v in args["model_options"].items() if k != "sampler_calc_cond_batch_function"}
    levels = x.shape[0] // batch
    if levels == 1:
        whole: list[Tensor] = comfy.samplers.calc_cond_batch(args["model"], conds, x, sigma, options)
        return whole
    options["model_function_wrapper"] = _RowsPutIn(x, sigma)
    rows = torch.arange(levels * batch, device=x.device).reshape(levels, batch)
    copies = [_copy(prompts, level) for prompts in conds if prompts is not None for level in rows]
    found = iter(comfy.samplers.calc_cond_batch(args["model"], copies, x[:batch], sigma[:batch], options))
    return [
        torch.zeros_like(x) if prompts is None else torch.cat([next(found) for _ in range(levels)]) for prompts in conds
    ]


def _copy(prompts: list[dict[str, Any]], rows: Tensor) -> list[dict[str, Any]]:
    holder = comfy.conds.CONDRegular(rows)
    return [{**prompt, "model_conds": {**prompt["model_conds"], ROWS: holder}} for prompt in prompts]


class _RowsPutIn:
    """ComfyUI's model_function_wrapper: the rows that the prompts at hand stand for, and their sigmas."""

    def __init__(self, x: Tensor, sigma: Tensor) -> None:
        self.x, self.sigma = x, sigma

    def __call__(self, apply_model: Any, call: dict[str, Any]) -> Tensor:
        conditioning = dict(call["c"])
        rows = conditioning.pop(ROWS).to(self.x.device)
        x, sigma = self.x[rows].to(call["input"]), self.sigma[rows].to(call["timestep"])
        options = {**conditioning.pop("transformer_options"), "sigmas": sigma}
        out: Tensor = apply_model(x, sigma, transformer_options=options, **conditioning)
        return out
