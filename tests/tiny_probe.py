"""Evaluates tiny checkpoints in a real ComfyUI. Run by test_tiny_comfyui.py with ComfyUI's own Python:

    python tiny_probe.py COMFYUI FOLDER flow=CHECKPOINT eps=CHECKPOINT

FOLDER/<kind>.in.safetensors holds x (B, 16, 8, 8), sigma (B,), pooled (B, 2048), latent (B, 16, 8, 8).
FOLDER/<kind>.out.safetensors gets denoised, images (B, 8, 8, 16) from VAEDecode, the context and pooled output
of CLIPTextEncode and the numbers of the model sampling. All of it goes through ComfyUI's stock loader and
stock nodes, on the CPU.
"""

import importlib
import sys
import types
from importlib.machinery import ModuleSpec

import torch
from safetensors.torch import load_file, save_file


def cure_torchvision():
    """torchvision and torchaudio built for another torch than the one installed: make them importable."""
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, OSError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
        cure_torchvision.keep = library  # the definitions live as long as this object
    try:
        importlib.import_module("torchaudio")
    except (RuntimeError, OSError, ImportError):  # only audio models use it
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__spec__ = ModuleSpec(name, None)


def evaluate(kind, checkpoint, given):
    """Loads the checkpoint as a workflow would and evaluates it on the tensors given."""
    nodes = importlib.import_module("nodes")
    model, clip, vae, _ = importlib.import_module("comfy.sd").load_checkpoint_guess_config(checkpoint)
    if kind == "eps":
        advanced = importlib.import_module("comfy_extras.nodes_model_advanced")
        (model,) = advanced.ModelSamplingDiscrete().patch(model, "eps", False)
    ((context, extra),) = nodes.CLIPTextEncode().encode(clip, "a seven")[0]
    importlib.import_module("comfy.model_management").load_models_gpu([model])
    base, x, levels, latent = model.model, given["x"], given["sigma"], given["latent"]
    computes = base.manual_cast_dtype or base.get_dtype()
    print(kind, type(base).__name__, computes, "torch", torch.__version__)
    sampling, latent_format = base.model_sampling, model.get_model_object("latent_format")
    tokens = context.expand(len(x), -1, -1)
    return {
        "denoised": base.apply_model(x, levels, c_crossattn=tokens, y=given["pooled"]),
        "images": nodes.VAEDecode().decode(vae, {"samples": latent_format.process_out(latent)})[0],
        "context": context,
        "pooled": extra["pooled_output"],
        "sigmas": sampling.sigmas,
        "timestep": sampling.timestep(levels),
        "sigma_of": sampling.sigma(torch.linspace(0, 999, 101)),
        "percent": torch.tensor([sampling.percent_to_sigma(percent) for percent in (0.0, 0.1, 0.5, 0.9, 1.0)]),
        "scaled": sampling.calculate_input(levels, x),
        "noised": sampling.noise_scaling(levels, x, latent, False),
        "noised_max": sampling.noise_scaling(levels, x, latent, True),
        "unscaled": sampling.inverse_noise_scaling(levels * 0.9, latent),
        "process_in": latent_format.process_in(latent),
    }


def main(comfy_path, folder, *jobs):
    cure_torchvision()
    sys.path.insert(0, comfy_path)
    sys.argv = sys.argv[:1]
    importlib.import_module("comfy.options").enable_args_parsing(False)
    importlib.import_module("comfy.cli_args").args.cpu = True
    with torch.inference_mode():
        for kind, checkpoint in (job.split("=", 1) for job in jobs):
            result = evaluate(kind, checkpoint, load_file(f"{folder}/{kind}.in.safetensors"))
            result = {key: value.float().contiguous().clone() for key, value in result.items()}
            save_file(result, f"{folder}/{kind}.out.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
