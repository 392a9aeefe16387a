"""What forbids several sigmas in one batch, in plain words.

A diffusion model takes a sigma per sample, but much of what is hung around it reads one sigma (`sigma[0]`) for
the whole batch, keeps something of its own per batch, or mixes samples. Only what is known to treat each sample
by itself is let through; anything unknown is an obstacle, and levels are then evaluated one by one: slower,
never wrong. The names are those of ComfyUI (0.8 to 0.33); on other hosts they are simply not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from .noise_process import find_model_sampling

# Entries of model_options that change nothing about a call, or belong to the host's own several-device engine.
HARMLESS_OPTIONS = {
    "disable_cfg1_optimization", "multigpu_clones", "multigpu_options", "multigpu_thread_pool",
}  # fmt: skip
# What the others are, in an artist's words.
OPTIONS = {
    "sampler_cfg_function": "another node replaces the guidance (cfg)",
    "sampler_pre_cfg_function": "another node changes the guidance (cfg)",
    "sampler_post_cfg_function": "another node changes the guidance (skip layer or perturbed attention, say)",
    "sampler_calc_cond_batch_function": "another node evaluates the prompts",
    "model_function_wrapper": "another node wraps the model",
    "denoise_mask_function": "differential diffusion is in use",
    "registered_hooks": "a hook (a LoRA or prompt scheduled over time) is in use",
    "context_handler": "context windows are in use",
}
# Entries of transformer_options that the host itself writes, or that hold for any sample alike.
HARMLESS_TRANSFORMER_OPTIONS = {
    "sample_sigmas", "sigmas", "cond_or_uncond", "uuids", "multigpu_thread_device", "prefetch_dynamic_vbars",
    "rope_options",
}  # fmt: skip
HARMLESS_WRAPPERS = {("apply_model", "torch.compile")}
HARMLESS_CALLBACKS = {
    "on_clone", "on_deepclone_multigpu", "on_match_multigpu_clones", "on_load_after", "on_detach_after", "on_cleanup",
    "on_pre_run",
}  # fmt: skip
# Stock functions that were read, and measured, to treat each sample by itself: (file, function).
PER_SAMPLE_FUNCTIONS = {
    ("nodes_model_advanced", "RescaleCFG.patch.<locals>.rescale_cfg"),
    ("nodes_cfg", "CFGZeroStar.execute.<locals>.cfg_zero_star"),
    ("nodes_cfg", "CFGNorm.execute.<locals>.cfg_norm"),
    ("nodes_cfg", "CFGNorm.execute.<locals>.cfg_norm_pre"),
    ("nodes_eps", "EpsilonScaling.execute.<locals>.epsilon_scaling_function"),
    ("model_patcher", "ModelPatcher.set_model_optimized_attention.<locals>.optimized_attention_override"),
}
KNOWN_GUIDERS = {"CFGGuider", "Guider_Basic", "Guider_DualCFG"}
# What nodes may put in place of parts of the model, and into it, without mixing samples.
HARMLESS_REPLACEMENTS = {"model_sampling", "latent_format", "manual_cast_dtype", "default_ref_method"}
HARMLESS_INJECTIONS = {"bypass_lora"}
# Of a prompt's entries the host reads these at every call; all others went into model_conds before the run.
CONDITIONS_AT_EACH_CALL = {
    "control": "a ControlNet is in use",
    "hooks": "a hook (a LoRA or prompt scheduled over time) is in use",
    "gligen": "a GLIGEN box prompt is in use",
    "default": "a default prompt for the rest of the picture is in use",
}
HARMLESS_CONDITIONS = {
    "aesthetic_score", "area", "aspect_ratio", "attention_mask", "attention_mask_img_shape",
    "attention_mask_mt5xl", "augmentation_level", "azimuth", "camera_conditions", "clip_end_percent",
    "clip_start_percent", "clip_vision_output", "concat_image", "concat_latent_image", "concat_mask",
    "concat_mask_index", "condition", "conditioning_byt5small", "conditioning_llama3", "conditioning_lyrics",
    "conditioning_mt5xl", "conditioning_scale", "control_apply_to_uncond", "crop_h", "crop_w", "cross_attn",
    "cross_attn_controlnet", "degrade_sigma", "elevation", "embeds", "end_percent", "fps", "frame_rate",
    "guidance", "guiding_frame_index", "height", "lyrics_strength", "mask", "mask_strength", "model_conds",
    "motion_bucket_id", "noise_augmentation", "pooled_output", "pooled_output_controlnet", "prompt_type",
    "ref_latent", "reference_latents", "reference_latents_method", "seconds_start", "seconds_total",
    "set_area_to_bounds", "stable_cascade_prior", "start_percent", "strength", "t5xxl_ids", "t5xxl_weights",
    "target_height", "target_width", "text_input_ids", "timestep_end", "timestep_start", "unclip_conditioning",
    "unclip_noise_augment_merge", "uuid", "width",
}  # fmt: skip
KNOWN_HOLDERS = {"CONDRegular", "CONDNoiseShape", "CONDCrossAttn", "CONDConstant", "CONDList"}
FRAMES_AS_BATCH = "this video model takes the batch for the frames of one video"
PACKED = "several latents are packed into one (a video with sound)"
# model_conds entries (found on the architectures that use them) whose presence is itself an obstacle.
SPECIAL_MODEL_CONDS = {"num_video_frames": FRAMES_AS_BATCH, "denoise_mask": "an inpainting mask is in use"}


def batching_obstacle(model: Any, extra_args: Mapping[str, Any], batch: int | None = None) -> str | None:
    """Why several sigmas must not share a batch in calls of this model, in plain words, or None.

    Args:
        model: the denoiser a sampler was given. extra_args: its arguments. batch: how many pictures are drawn;
            None where that is not known yet (per-sample conditioning is then not checked).
    """
    return next(_obstacles(model, extra_args, batch), None)


def _obstacles(model: Any, extra_args: Mapping[str, Any], batch: int | None) -> Iterator[str]:
    if extra_args.get("denoise_mask") is not None:
        yield "an inpainting mask is in use"
    options = extra_args.get("model_options") or {}
    for key, value in options.items():
        if key in {"transformer_options", "to_load_options"}:
            yield from _transformer_obstacles(value or {})
        elif key not in HARMLESS_OPTIONS and holds_anything(value) and not _per_sample_functions(value):
            yield f"{OPTIONS.get(key, 'an unknown option of the model is set')} ({key})"
    guider = getattr(model, "inner_model", None)
    conds = getattr(guider, "conds", None)
    if not isinstance(conds, Mapping):
        return
    kind = type(guider).__name__
    if kind not in KNOWN_GUIDERS:
        yield f"the guider {kind!r} is not known to treat each picture of a batch by itself"
    sampling = find_model_sampling(model)
    for name, conditions in conds.items():
        for condition in conditions or ():
            yield from (f"{why} ({name} prompt)" for why in _condition_obstacles(condition, sampling, batch))
    yield from _patcher_obstacles(getattr(guider, "model_patcher", None))
    yield from _architecture_obstacles(guider)


def _transformer_obstacles(options: Mapping[str, Any]) -> Iterator[str]:
    for key, value in options.items():
        if key in HARMLESS_TRANSFORMER_OPTIONS or not holds_anything(value):
            continue
        if key == "wrappers":
            for where, named in value.items():
                for name, functions in named.items():
                    if functions and (where, name) not in HARMLESS_WRAPPERS:
                        yield f"another node wraps the model ({where}: {name})"
        elif key == "callbacks":
            for where, named in value.items():
                if holds_anything(named) and where not in HARMLESS_CALLBACKS:
                    yield f"another node watches the model ({where})"
        elif key == "easycache":
            yield "a cache (EasyCache, LazyCache) is in use"
        elif not _per_sample_functions(value):
            yield f"another node patches the model (transformer option {key!r})"


def _condition_obstacles(condition: Mapping[str, Any], sampling: Any, batch: int | None) -> Iterator[str]:
    for key, value in condition.items():
        if value is None:
            continue
        if key in CONDITIONS_AT_EACH_CALL:
            yield CONDITIONS_AT_EACH_CALL[key]
        elif key not in HARMLESS_CONDITIONS:
            yield f"the entry {key!r} is not known to treat each picture of a batch by itself"
    if _covers_a_part(condition, sampling):
        yield "a prompt holds for a part of the steps only, by a time range"
    mask = condition.get("mask")
    if isinstance(mask, Tensor):
        yield from _misfit("the mask", mask, batch)
    for name, holder in (condition.get("model_conds") or {}).items():
        yield from _model_cond_obstacles(name, holder, batch)


def _covers_a_part(condition: Mapping[str, Any], sampling: Any) -> bool:
    """Whether a time range leaves out any sigma of the model. timestep_start is the higher sigma."""
    start, end = condition.get("timestep_start"), condition.get("timestep_end")
    if start is not None and (sampling is None or float(start) < float(sampling.sigma_max)):
        return True
    return end is not None and float(end) > 0.0


def _model_cond_obstacles(name: str, holder: Any, batch: int | None) -> Iterator[str]:
    kind = type(holder).__name__
    content = getattr(holder, "cond", None)
    if content is None:
        return
    if name in SPECIAL_MODEL_CONDS:
        yield SPECIAL_MODEL_CONDS[name]
    elif kind not in KNOWN_HOLDERS:
        yield f"the entry {name!r} is of an unknown kind ({kind})"
    elif name == "latent_shapes":  # the same for every picture: harmless where there is but one latent
        if len(content) > 1:
            yield PACKED
    elif kind == "CONDConstant":
        if not isinstance(content, bool | int | float | str):
            yield f"the entry {name!r} is shared by the whole batch"
    else:
        for tensor in content if isinstance(content, list | tuple) else [content]:
            yield from _misfit(f"the entry {name!r}", tensor, batch)


def _misfit(what: str, tensor: Any, batch: int | None) -> Iterator[str]:
    """The host repeats per-sample tensors to the size of the batch; levels line up only if that ends evenly."""
    rows = tensor.shape[0] if isinstance(tensor, Tensor) and tensor.ndim else 1
    if batch is not None and (rows > batch or batch % max(rows, 1)):
        yield f"{what} is made for {rows} pictures, and {batch} are drawn"


def _patcher_obstacles(patcher: Any) -> Iterator[str]:
    for name, new in (getattr(patcher, "object_patches", None) or {}).items():
        # A compiled part computes what the part itself does.
        if name.rpartition(".")[2] not in HARMLESS_REPLACEMENTS and type(new).__name__ != "OptimizedModule":
            yield f"another node replaces a part of the model ({name})"
    for name in getattr(patcher, "injections", None) or ():
        if name not in HARMLESS_INJECTIONS:
            yield f"another node works inside the model ({name})"


def _architecture_obstacles(guider: Any) -> Iterator[str]:
    base = getattr(guider, "inner_model", None)
    network = getattr(base, "diffusion_model", None)
    if getattr(network, "time_r_in", None) is not None:
        yield "this model looks up the step it is in by the first picture's sigma"
    if len(getattr(base, "latent_shapes", None) or ()) > 1:
        yield PACKED
    for kind in type(base).__mro__:
        if kind.__name__ == "SVD_img2vid":
            yield FRAMES_AS_BATCH
        if kind.__name__.startswith("MiniMax"):
            yield "this model reads one sigma for the whole batch"


def _per_sample_functions(value: Any) -> bool:
    functions = value if isinstance(value, list | tuple) else [value]
    return all(callable(f) and _name(f) in PER_SAMPLE_FUNCTIONS for f in functions)


def _name(function: Callable[..., Any]) -> tuple[str, str]:
    """(file, qualified name) of a stock node's function; ComfyUI names such modules by path or by package."""
    parts = re.split(r"[./\\]", getattr(function, "__module__", None) or "")
    stock = len(parts) >= 2 and parts[-2] in {"comfy", "comfy_extras"}
    return parts[-1] if stock else "", getattr(function, "__qualname__", "")


def holds_anything(value: Any) -> bool:
    """Whether there is something in a (nested) dictionary of options."""
    if isinstance(value, Mapping):
        return any(holds_anything(v) for v in value.values())
    if isinstance(value, Tensor):
        return True
    return bool(value)
