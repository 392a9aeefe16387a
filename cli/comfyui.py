"""`restart-art fit --comfyui`: a fit on a real checkpoint, headless, on one process or on those of torchrun."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from ..schedules import ArtSchedule, fit_schedule
from .options import UserError

PACK = Path(__file__).resolve().parents[1]
SILENCE = timedelta(minutes=10)  # a rank that says nothing for so long is lost; rank 0 never learns for longer


def rank() -> int:
    """This process's place among those of torchrun; 0 without it."""
    return int(os.environ.get("RANK", "0"))


def join_ranks() -> Any:
    """The processes that torchrun started, joined; None if this one is alone.

    Raises UserError where this torch cannot do it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    if not torch.distributed.is_available():
        raise UserError("WORLD_SIZE is set, but this torch was built without torch.distributed; run one process")
    from ..schedules.art.ranks import Ranks

    cuda = torch.cuda.is_available()
    torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=SILENCE)
    return Ranks("cuda" if cuda else "cpu")


def fit_in_comfyui(arguments: Namespace, callback: Callable[[Any], None] | None) -> ArtSchedule:
    """Learn for a checkpoint in ComfyUI's folders. Ranks above 0 return the schedule without its report.

    Raises UserError for bad input.
    """
    from ..nodes import headless

    try:
        host = headless.start_comfyui(
            Path(arguments.comfyui).expanduser().resolve(), shlex.split(arguments.comfyui_args)
        )
        found = headless.load(
            host, arguments.checkpoint, positive=arguments.positive, negative=arguments.negative,
            loras=arguments.lora or (), shift=arguments.shift, sampling=arguments.sampling,
        )  # fmt: skip
        ranks = join_ranks()
        sampling = host.model_sampling_of(found.model)
        low, high = host.bounds_of(sampling)
        counts = tuple(arguments.steps)

        def job(denoiser: Any, noise: torch.Tensor, extra_args: dict[str, Any]) -> ArtSchedule:
            return fit_schedule(
                denoiser, noise, sigma_min=low, sigma_max=high, solver=arguments.solver, steps=counts,
                method=arguments.method, baselines=host.stock_schedules(sampling, counts), seed=arguments.seed,
                extra_args=extra_args, callback=callback, ranks=ranks,
            )  # fmt: skip

        schedule: ArtSchedule = host.run_in_guider(
            host.cfg_guider(found.model, found.positive, found.negative, arguments.cfg),
            shape=host.latent_shape(found.model, headless.empty_latent(arguments.width, arguments.height)),
            seed=arguments.seed, trajectories=arguments.trajectories, job=job,
        )  # fmt: skip
    except ValueError as problem:
        raise UserError(str(problem)) from None
    except ModuleNotFoundError as problem:
        own = Path(arguments.comfyui) / ".venv" / "bin" / "python"
        raise UserError(
            f"--comfyui: this Python, {sys.executable}, lacks {problem.name!r}, which ComfyUI needs; allowed: the one "
            f"that runs ComfyUI, such as {own} {PACK} fit --comfyui ..."
        ) from None
    return schedule.with_provenance(
        model=host.fingerprint(found.model), model_name=host.model_name(found.model), cfg=float(arguments.cfg)
    )
