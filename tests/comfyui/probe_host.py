"""Runs inside ComfyUI's own Python, without a server: what nodes/host says of live models. Prints JSON.

<ComfyUI's python> probe_host.py <checkout> <folder holding the pack as RestART> <checkpoint folder>
"""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

from boot import ImportMender


def prepare(checkout: Path, packs: Path):
    """Import ComfyUI and the pack the way ComfyUI would; returns (pack, comfy.sd, the model-sampling nodes)."""
    sys.meta_path.insert(0, ImportMender())
    sys.path[0:0] = [str(checkout), str(packs)]
    sys.argv = ["main.py", "--cpu"]
    comfy_options = importlib.import_module("comfy.options")
    comfy_options.enable_args_parsing()
    importlib.import_module("comfy.samplers")
    pack = importlib.import_module("RestART")
    return pack, importlib.import_module("comfy.sd"), importlib.import_module("comfy_extras.nodes_model_advanced")


def live_models(checkpoints: Path, sd, advanced):
    """Name -> MODEL, patched by the stock nodes that artists use."""

    def first(result):
        return result[0] if isinstance(result, tuple) else result.args[0]

    def patched(node, *args, **kwargs):
        instance = getattr(advanced, node)()
        return first(getattr(instance, getattr(instance, "FUNCTION", "patch"))(*args, **kwargs))

    flow = sd.load_checkpoint_guess_config(str(checkpoints / "tiny_flow.safetensors"))[0]
    eps = sd.load_checkpoint_guess_config(str(checkpoints / "tiny_eps.safetensors"))[0]
    return {
        "flow": flow,
        "flow shift 6": patched("ModelSamplingSD3", flow, 6.0),
        "flux": patched("ModelSamplingFlux", flow, 1.15, 0.5, 1024, 1024),
        "eps": patched("ModelSamplingDiscrete", eps, "eps", False),
        "v": patched("ModelSamplingDiscrete", eps, "v_prediction", False),
        "edm": patched("ModelSamplingContinuousEDM", eps, "edm", 120.0, 0.002),
    }


def describe(host, model, samplers, steps):
    sampling = host.model_sampling_of(model)
    low, high = host.bounds_of(sampling)
    tables = {name: make(steps).tolist() for name, make in host.stock_schedules(sampling, (steps,)).items()}
    stock = {name: samplers.calculate_sigmas(sampling, name, steps).tolist() for name in tables}
    own = importlib.import_module("RestART.schedules").stock_schedules(sampling, low, high)
    return {
        "process": host.process_of(sampling).kind,
        "bounds": [low, high],
        "fingerprint": host.fingerprint(model),
        "host": stock,
        "listed": tables,
        "own": {name: make(steps).tolist() for name, make in own.items()},
        "edm": samplers.calculate_sigmas(sampling, "edm", steps).tolist(),
    }


def out_of_memory(host, torch):
    """A model that can take at most two samples at once: the sizes it was asked, and whether the answer is right."""
    asked = []

    class Tight:
        inner_model = SimpleNamespace(model_patcher=None)

        def __call__(self, x, sigma, **extra_args):
            asked.append(len(x))
            if len(x) > 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return x * sigma[:, None]

    denoiser = host.GuidedDenoiser(Tight(), 7)
    x, sigma = torch.arange(7.0)[:, None] + 1, torch.arange(7.0)
    with torch.inference_mode(False):
        out = denoiser(x, sigma)
        grad_ready = not out.is_inference()
    return {"asked": asked, "right": bool((out == x * sigma[:, None]).all()), "grad ready": grad_ready}


def foreign_names(host, samplers):
    """Someone else owns two of the names: they keep them."""
    sampling = importlib.import_module("comfy.k_diffusion.sampling")

    def foreign(*args):
        raise AssertionError

    ours, sampling.sample_restart = sampling.sample_restart, foreign
    handler = samplers.SCHEDULER_HANDLERS["edm"]
    samplers.SCHEDULER_HANDLERS["edm"] = samplers.SchedulerHandler(foreign)
    names = host.register()
    kept = sampling.sample_restart is foreign and samplers.SCHEDULER_HANDLERS["edm"].handler is foreign
    sampling.sample_restart, samplers.SCHEDULER_HANDLERS["edm"] = ours, handler
    return {"names": names, "kept": kept}


def main(checkout: str, packs: str, checkpoints: str) -> None:
    pack, sd, advanced = prepare(Path(checkout), Path(packs))
    host = importlib.import_module("RestART.nodes.host")
    samplers = importlib.import_module("comfy.samplers")
    again = host.register()
    models = live_models(Path(checkpoints), sd, advanced)
    lora = models["flow"].clone()
    key = next(k for k in lora.model.state_dict() if k.endswith("qkv.weight"))
    shape = lora.model.state_dict()[key].shape
    torch = importlib.import_module("torch")
    lora.add_patches({key: (torch.full(shape, 0.5),)}, 0.8)
    answer = {
        "version": pack.__version__,
        "registered": again,
        "counts": {
            "samplers": [samplers.KSampler.SAMPLERS.count(n) for n in again if n != "edm"],
            "schedulers": samplers.KSampler.SCHEDULERS.count("edm"),
        },
        "same lists": samplers.KSampler.SAMPLERS is samplers.SAMPLER_NAMES,
        "models": {name: describe(host, model, samplers, 12) for name, model in models.items()},
        "with lora": host.fingerprint(lora),
        "out of memory": out_of_memory(host, torch),
        "foreign": foreign_names(host, samplers),
    }
    print("PROBE " + json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:4])
