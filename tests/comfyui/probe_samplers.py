"""Runs inside ComfyUI's own Python, without a server: the samplers on live models of every kind. Prints JSON.

<ComfyUI's python> probe_samplers.py <checkout> <folder holding the pack as RestART> <checkpoint folder>
"""

import importlib
import json
import math
import sys
from pathlib import Path

import torch
from probe_host import live_models, prepare

SAMPLERS = {
    "restart": {"segments": ((3, 2, 0.06, 0.3), (4, 1, 0.5, 2.0))},
    "randomized_midpoint": {},
    "parallel_midpoint": {},
}
LATENTS = {"picture": (2, 16, 16, 16), "video": (2, 16, 5, 6, 8), "audio": (2, 16, 240)}
FLOW = {"flow", "flow shift 6", "flux"}


class Host:
    """ComfyUI's sampling, called as its nodes call it."""

    def __init__(self, sample, samplers, management):
        self.sample, self.samplers, self.management = sample, samplers, management

    def sigmas(self, model, name, steps):
        sampling = model.get_model_object("model_sampling")
        return self.samplers.calculate_sigmas(sampling, "simple" if name in FLOW else "karras", steps)

    def run(self, model, sampler, options, sigmas, shape, seed=1, callback=None):
        """(the latents, the noise that they started from)."""
        empty = torch.zeros(shape)
        pooled = torch.zeros(1, 2048)
        pooled[0, 3] = 1.0
        condition = [[torch.zeros(1, 77, 4096), {"pooled_output": pooled}]]
        noise = self.sample.prepare_noise(empty, seed)
        chosen = self.samplers.ksampler(sampler, dict(options))
        latents = self.sample.sample_custom(
            model, noise, 1.0, chosen, sigmas, condition, condition, empty,
            callback=callback, disable_pbar=True, seed=seed,
        )  # fmt: skip
        return latents, noise


def wrapped(model, function):
    """The MODEL with function(apply_model, x, sigma, c) around each call of its network."""
    patched = model.clone()
    patched.set_model_unet_function_wrapper(lambda apply, a: function(apply, a["input"], a["timestep"], a["c"]))
    return patched


def known_answer(host, model, name):
    """The network replaced by the exact denoiser of N(0, I) data: how far each sampler ends from the exact end.

    The ODE's solution is x_T / sqrt(a_T^2 + sigma_T^2); a Restart run ends at another point, with deviation 1.
    """
    flow = name in FLOW

    def exact(apply, x, sigma, c):
        a = 1 - sigma if flow else torch.ones_like(sigma)
        return x * (a / (a**2 + sigma**2)).reshape(-1, *[1] * (x.ndim - 1))

    patched = wrapped(model, exact)
    sigmas = host.sigmas(model, name, 24)
    top = float(sigmas[0])
    into = patched.model.process_latent_in
    found = {}
    for layout, shape in LATENTS.items():
        for sampler, options in {**SAMPLERS, "restart none": {"segments": ()}, "euler": {}}.items():
            out, noise = host.run(patched, sampler.split()[0], options, sigmas, shape)
            end = into(out)
            # What the host starts from: noise sigma, plus sqrt(1 + sigma^2) instead at a VE model's very top.
            started = noise * top
            if not flow and abs(top - float(patched.get_model_object("model_sampling").sigma_max)) < 1e-4 * top:
                started = noise * math.sqrt(1 + top**2)
            target = started / math.sqrt((1 - top) ** 2 + top**2 if flow else 1 + top**2)
            found[f"{layout} {sampler}"] = {
                "shape": list(out.shape) == list(shape),
                "off": float((end - target).abs().max()),
                "deviation": float(end.std()),
            }
    return found


def real_network(host, model, name):
    """The tiny network: distance to a fine solution beside the host's Euler, callback, batch, cancel."""
    process = importlib.import_module("RestART.samplers.noise_process").NoiseProcess
    kinds, calls = [], []

    def spy(apply, x, sigma, c):
        calls.append(len(x))
        return apply(x, sigma, **c)

    spied = wrapped(model, spy)
    shape, sigmas = (2, 16, 8, 8), host.sigmas(model, name, 8)
    fine = host.run(model, "dpmpp_2m", {}, host.sigmas(model, name, 64), shape)[0]
    euler = host.run(model, "euler", {}, sigmas, shape)[0]
    found = {"euler": float((euler - fine).square().mean().sqrt()), "spread": float(fine.std())}
    for sampler, options in SAMPLERS.items():
        steps = []
        calls.clear()
        function = getattr(host.samplers.k_diffusion_sampling, f"sample_{sampler}")

        def noting(model_k, *args, function=function, **kwargs):
            kinds.append(process.of(model_k).kind)
            return function(model_k, *args, **kwargs)

        setattr(host.samplers.k_diffusion_sampling, f"sample_{sampler}", noting)
        try:
            out = host.run(
                spied, sampler, options, sigmas, shape, callback=lambda i, x0, x, total, steps=steps: steps.append(
                    [i, total, list(x0.shape) == list(x.shape) == list(shape)])
            )[0]  # fmt: skip
        finally:
            setattr(host.samplers.k_diffusion_sampling, f"sample_{sampler}", function)
        if sampler == "restart":  # without segments it is its solver, to the bit
            out_plain = host.run(model, sampler, {"segments": (), "solver": "heun"}, sigmas, shape)[0]
            off = out_plain - host.run(model, "heun", {}, sigmas, shape)[0]
        else:
            off = out - fine
        single = host.run(model, sampler, options, sigmas, (1, *shape[1:]))[0]
        found[sampler] = {
            "finite": bool(torch.isfinite(out).all()),
            "off": float(off.square().mean().sqrt()),
            "steps": steps,
            "calls": len(calls),
            "item 0": float((out[:1] - single).abs().max()),
            "cancel": [cancelled(host, model, sampler, options, sigmas, k, shape) for k in (1, len(calls) // 2)],
            "after": float((host.run(model, sampler, options, sigmas, shape)[0] - out).abs().max()),
        }
    return {**found, "process": sorted(set(kinds))}


def cancelled(host, model, sampler, options, sigmas, at, shape):
    """Cancel pressed during the network's call number `at`: calls begun and how it ended."""
    begun = 0

    def press(apply, x, sigma, c):
        nonlocal begun
        begun += 1
        if begun == at:
            host.management.interrupt_current_processing()
        return apply(x, sigma, **c)

    ended = "not at all"
    try:
        host.run(wrapped(model, press), sampler, options, sigmas, shape)
    except BaseException as error:
        ended = type(error).__name__
    left = host.management.processing_interrupted()
    host.management.interrupt_current_processing(False)
    return {"calls": begun, "at": at, "ended": ended, "still pressed": left}


def main(checkout: str, packs: str, checkpoints: str) -> None:
    _, sd, advanced = prepare(Path(checkout), Path(packs))
    modules = (importlib.import_module(f"comfy.{name}") for name in ("sample", "samplers", "model_management"))
    host = Host(*modules)
    importlib.import_module("RestART.nodes.host").register()
    torch.set_num_threads(1)
    answer = {}
    for name, model in live_models(Path(checkpoints), sd, advanced).items():
        answer[name] = {"known": known_answer(host, model, name), "real": real_network(host, model, name)}
    print("PROBE " + json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:4])
