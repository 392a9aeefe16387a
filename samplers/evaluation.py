"""One place that evaluates the model at many (x, sigma) pairs: in one batch, in chunks, or one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# model_options / conditioning entries that a host's model call evaluates per sample. Whatever else is found
# there may read sigma[0] for the whole batch, so levels are then evaluated one by one.
_BATCHABLE_OPTIONS = {"transformer_options", "sampler_cfg_rescale", "disable_cfg1_optimization", "multigpu_clones"}
_BATCHABLE_CONDITIONS = {
    "pooled_output", "model_conds", "cross_attn", "uuid", "strength", "default", "width", "height", "crop_w", "crop_h",
    "target_width", "target_height", "guidance", "aesthetic_score", "prompt_type", "attention_mask", "negative",
}  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is an accelerator's (or the host's) out-of-memory error."""
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
    )


def batching_obstacle(model: Any, extra_args: Mapping[str, Any]) -> str | None:
    """Why several sigmas must not share a batch for this call, in plain words, or None.

    A model alone takes a sigma per sample; masks, time-ranged conditioning, ControlNets, hooks and foreign
    wrappers around it may not.
    """
    if extra_args.get("denoise_mask") is not None:
        return "an inpainting mask is in use"
    options = extra_args.get("model_options") or {}
    for key, value in options.items():
        if key not in _BATCHABLE_OPTIONS and value:
            return f"model option {key!r} is in use"
    for key, value in (options.get("transformer_options") or {}).items():
        if key in {"patches", "patches_replace", "wrappers", "callbacks"} and _holds_anything(value):
            return f"transformer option {key!r} is in use"
    for name, conditions in (getattr(getattr(model, "inner_model", None), "conds", None) or {}).items():
        for condition in conditions or ():
            for key, value in condition.items():
                if key not in _BATCHABLE_CONDITIONS and value is not None:
                    return f"{name} conditioning has {key!r}"
    return None


def _holds_anything(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_anything(v) for v in value.values())
    return bool(value)


class PairEvaluator:
    """Evaluates a denoiser at several levels at once and keeps count.

    calls: model calls made. evaluations: samples sent through the model (one sample once = one).
    rounds: evaluate() calls, i.e. sequential depth.
    """

    def __init__(
        self,
        model: Any,
        extra_args: Mapping[str, Any] | None = None,
        *,
        max_batch: int | None = None,
        split_rows: bool = False,
    ):
        """max_batch: most samples in one model call; None for no limit but memory.
        split_rows: a level's samples may be split over calls too. Off where the host holds per-sample
        conditioning of its own, which must meet the whole batch."""
        self.model = model
        self.extra_args = dict(extra_args or {})
        self.obstacle = batching_obstacle(model, self.extra_args)
        self.max_batch = max_batch
        self.split_rows = split_rows
        self.calls = self.evaluations = self.rounds = 0

    def evaluate(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised at R levels of a batch of B.

        Args:
            x: (R, B, ...). sigma: (R, B), the level of each.

        Returns:
            (R, B, ...). The same to rounding however the work is split. After an out-of-memory error the chunk
            is halved (down to one level, or one sample) and the work done again.
        """
        self.rounds += 1
        levels, batch = x.shape[:2]
        # sigma-major: all samples of the first level, then of the second; per-sample conditioning tiles so.
        flat, flat_sigma = x.flatten(0, 1), sigma.flatten().to(x)
        unit = 1 if self.split_rows else batch
        chunk = batch if self.obstacle else levels * batch
        if self.max_batch is not None:
            chunk = max(unit, min(chunk, self.max_batch // unit * unit))
        outputs: list[Tensor] = []
        start = 0
        while start < levels * batch:
            # With an obstacle, a call must not reach into the next level.
            stop = min(start + chunk, levels * batch, (start // batch + 1) * batch if self.obstacle else levels * batch)
            try:
                outputs.append(self._call(flat, flat_sigma, start, stop, batch))
            except Exception as error:
                if not is_out_of_memory(error) or chunk <= unit:
                    raise
                chunk = max(unit, (stop - start) // 2 // unit * unit)
                self.max_batch = chunk
            else:
                start = stop
                continue
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return torch.cat(outputs).reshape(x.shape)

    def _call(self, x: Tensor, sigma: Tensor, start: int, stop: int, batch: int) -> Tensor:
        args = self.extra_args
        if (start, stop) != (0, batch):
            rows = torch.arange(start, stop) % batch
            args = {k: _take(v, rows, batch) for k, v in args.items()}
        out: Tensor = self.model(x[start:stop], sigma[start:stop], **args)
        self.calls += 1
        self.evaluations += stop - start
        return out


def _take(value: Any, rows: Tensor, batch: int) -> Any:
    """Rows of a per-sample tensor argument; everything else as it is."""
    if isinstance(value, Tensor) and value.ndim >= 1 and value.shape[0] == batch:
        return value[rows.to(value.device)]
    return value
