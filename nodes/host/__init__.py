"""Everything that touches ComfyUI's internals; no other room of the pack does.

Works on ComfyUI 0.3.64 to 0.33: differences between versions are looked up in the running one, not by number.
"""

from __future__ import annotations

from .files import (
    PREFIX,
    file_state,
    load_saved,
    refresh_schedulers,
    register_files,
    save_schedule,
    saved_names,
)
from .guiding import GuidedDenoiser, cfg_guider, guider_cfg, guider_model, latent_shape, run_in_guider
from .live import LiveProgress, check_interrupted, show_text
from .models import (
    bounds_of,
    category_of,
    fingerprint,
    model_name,
    model_sampling_of,
    named_schedule,
    process_of,
    sampler,
    sampler_function,
    solver_of,
    stock_names,
    stock_schedules,
)
from .pictures import blocked, decode
from .registry import edm_scheduler, register, scheduler_lists

__all__ = [
    "PREFIX",
    "GuidedDenoiser",
    "LiveProgress",
    "blocked",
    "bounds_of",
    "category_of",
    "cfg_guider",
    "check_interrupted",
    "decode",
    "edm_scheduler",
    "file_state",
    "fingerprint",
    "guider_cfg",
    "guider_model",
    "latent_shape",
    "load_saved",
    "model_name",
    "model_sampling_of",
    "named_schedule",
    "process_of",
    "refresh_schedulers",
    "register",
    "register_files",
    "run_in_guider",
    "sampler",
    "sampler_function",
    "save_schedule",
    "saved_names",
    "scheduler_lists",
    "show_text",
    "solver_of",
    "stock_names",
    "stock_schedules",
]
