"""ComfyUI without its server: loads a checkpoint the way its nodes do, for `restart-art fit --comfyui`.

Used by the command line only. It stands beside host/, which can be imported only once ComfyUI has been.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Loaded:
    """A MODEL with its prompts encoded, and the pack's host module bound to this ComfyUI."""

    model: Any
    positive: Any
    negative: Any
    host: ModuleType


def start_comfyui(folder: Path, arguments: Sequence[str] = ()) -> ModuleType:
    """Import the ComfyUI in `folder` into this process, as its main.py would; returns the pack's host module.

    arguments: ComfyUI's own command line options (--base-directory, --extra-model-paths-config, --lowvram ...).

    Raises:
        ValueError: no ComfyUI there. ModuleNotFoundError: this Python lacks what ComfyUI requires.
    """
    if not (folder / "main.py").is_file() or not (folder / "comfy" / "samplers.py").is_file():
        raise ValueError(f"--comfyui: {str(folder)!r} holds no ComfyUI (no main.py and comfy/samplers.py)")
    local = os.environ.get("LOCAL_RANK")
    if local is not None and "CUDA_VISIBLE_DEVICES" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = local  # one GPU a rank; CUDA has not been asked for yet
    cpu = [] if "--cpu" in arguments or torch.cuda.is_available() else ["--cpu"]
    sys.argv = ["main.py", *cpu, *arguments]
    sys.path.insert(0, str(folder))
    importlib.import_module("comfy.options").enable_args_parsing()
    options = importlib.import_module("comfy.cli_args").args
    paths = importlib.import_module("utils.extra_config")
    usual = folder / "extra_model_paths.yaml"
    named = [str(file) for files in options.extra_model_paths_config or [] for file in files]
    for file in [*([str(usual)] if usual.is_file() else []), *named]:
        paths.load_extra_path_config(file)
    importlib.import_module("comfy.samplers")
    host = importlib.import_module(".host", __package__)
    host.register()
    return host


def load(
    host: ModuleType,
    checkpoint: str,
    *,
    positive: str = "",
    negative: str = "",
    loras: Sequence[tuple[str, float]] = (),
    shift: float | None = None,
    sampling: str | None = None,
) -> Loaded:
    """A checkpoint of ComfyUI's own folders with LoRAs, prompts and the usual model patches.

    Args:
        checkpoint, loras: file names as in ComfyUI's lists; a LoRA with its strength.
        shift: as the node ModelSamplingSD3. sampling: as the node ModelSamplingDiscrete ("eps", "v_prediction").

    Raises:
        ValueError: a file that is not in ComfyUI's list.
    """
    folders, nodes = importlib.import_module("folder_paths"), importlib.import_module("nodes")
    _check_listed(folders, "checkpoints", "--checkpoint", checkpoint)
    for name, _ in loras:
        _check_listed(folders, "loras", "--lora", name)
    with torch.inference_mode():
        model, clip, _ = nodes.CheckpointLoaderSimple().load_checkpoint(checkpoint)
        for name, strength in loras:
            model, clip = nodes.LoraLoader().load_lora(model, clip, name, strength, strength)
        patches = importlib.import_module("comfy_extras.nodes_model_advanced")
        if sampling is not None:
            model = _first(patches.ModelSamplingDiscrete, model, sampling, False)
        if shift is not None:
            model = _first(patches.ModelSamplingSD3, model, shift)
        encode = nodes.CLIPTextEncode()
        return Loaded(model, encode.encode(clip, positive)[0], encode.encode(clip, negative)[0], host)


def empty_latent(width: int, height: int) -> dict[str, Tensor]:
    """What an empty-latent node gives for a size in pixels; the host fits it to the model."""
    return {"samples": torch.zeros(1, 4, height // 8, width // 8)}


def _check_listed(folders: ModuleType, kind: str, option: str, name: str) -> None:
    known = folders.get_filename_list(kind)
    if name not in known:
        shown = ", ".join(known[:8]) + (" ..." if len(known) > 8 else "")
        raise ValueError(f"{option}: {name!r} is not among ComfyUI's {kind}; there are: {shown or 'none'}")


def _first(node: Any, *arguments: Any) -> Any:
    """The first output of a stock node, of either of the two kinds of node that versions use."""
    instance = node()
    result = getattr(instance, getattr(instance, "FUNCTION", "patch"))(*arguments)
    return result[0] if isinstance(result, tuple) else result.args[0]
