"""What the pack changes in a ComfyUI that imports it, samples and learns with it. Prints JSON.

<ComfyUI's python> probe_neighbour_comfy.py <checkout> <base folder with the pack in custom_nodes> [import only]
"""

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(TESTS / "comfyui")]

STARTED = (
    "comfy.options", "comfy.cli_args", "utils.extra_config", "folder_paths", "execution", "server", "nodes",
    "comfy.samplers", "comfy_api.latest", "comfy_extras.nodes_custom_sampler", "comfy_extras.nodes_model_advanced",
)  # fmt: skip


def start(checkout: Path, base: Path) -> None:
    """Import what ComfyUI's main.py has imported when the packs' turn comes."""
    sys.meta_path.insert(0, importlib.import_module("boot").ImportMender())
    sys.path[:0] = [str(checkout), str(base / "custom_nodes")]
    sys.argv = ["main.py", "--cpu", "--base-directory", str(base)]
    for name in STARTED:
        module = importlib.import_module(name)
        if name == "comfy.options":
            module.enable_args_parsing()


def schemas(pack):
    """What ComfyUI asks of a pack at start: its nodes, and what each of them takes."""

    async def ask():
        extension = await pack.comfy_entrypoint()
        return [node.GET_SCHEMA() for node in await extension.get_node_list()]

    return asyncio.run(ask())


def work(state, answer) -> None:
    """Each sampler and a fit on the tiny flow model, watched."""
    import torch

    torch.set_num_threads(1)
    loaders, sample, samplers = (importlib.import_module(n) for n in ("nodes", "comfy.sample", "comfy.samplers"))
    nodes = importlib.import_module("RestART.nodes.nodes_fit")
    with torch.inference_mode():
        model, clip, _ = loaders.CheckpointLoaderSimple().load_checkpoint("tiny_flow.safetensors")
        condition = loaders.CLIPTextEncode().encode(clip, "")[0]
    latent = {"samples": torch.zeros(1, 16, 8, 8)}
    sigmas = samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 4)

    def run(name, **options):
        noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(0))
        sampler = samplers.ksampler(name, options)
        with torch.inference_mode():
            sample.sample_custom(model, noise, 1.0, sampler, sigmas, condition, condition, latent["samples"],
                                 disable_pbar=True, seed=1)  # fmt: skip

    def fit():
        with torch.inference_mode():
            nodes.FitARTSchedule.execute(model, condition, condition, 1.0, latent, 1, "euler", "2", 4, "direct")

    jobs = {
        "euler (the host alone)": lambda: run("euler"),
        "restart": lambda: run("restart"),
        "randomized_midpoint": lambda: run("randomized_midpoint", corrector_steps=1),
        "parallel_midpoint": lambda: run("parallel_midpoint"),
        "fit": fit,
    }
    jobs["euler (the host alone)"]()  # the first run loads what the host loads late
    importlib.import_module("torch._dynamo")  # torch.optim does, when a fit makes its first optimiser
    for name, job in jobs.items():
        before, numbers, attributes = state.settings(), state.randomness(), state.attributes()
        loaded = set(sys.modules)
        job()
        answer[name] = {
            **state.differences(before, state.settings()),
            **state.differences(numbers, state.randomness()),
            **state.differences(attributes, state.attributes(), loaded),
        }


def main(checkout: str, base: str, *only: str) -> None:
    start(Path(checkout), Path(base))
    import neighbour_state as state

    host = sys.modules["comfy.samplers"]
    lists = {"samplers": host.KSampler.SAMPLERS, "schedulers": host.KSampler.SCHEDULERS}
    listed = {name: list(values) for name, values in lists.items()}
    ear, loaded = state.Ear(), set(sys.modules)
    before, numbers, attributes = state.settings(), state.randomness(), state.attributes()
    clocks = time.process_time(), time.perf_counter()
    pack = importlib.import_module("RestART")
    imported = time.process_time(), time.perf_counter()
    nodes = len(schemas(pack))
    answered = time.process_time(), time.perf_counter()
    answer = {
        "nodes": nodes,
        "cpu_ms": [(b - a) * 1e3 for a, b in ((clocks[0], imported[0]), (imported[0], answered[0]))],
        "wall_ms": [(b - a) * 1e3 for a, b in ((clocks[1], imported[1]), (imported[1], answered[1]))],
        "new modules": sorted(m.split(".")[0] for m in set(sys.modules) - loaded),
        "import": {
            **state.differences(before, state.settings()),
            **state.differences(numbers, state.randomness()),
        },
        "attributes": state.differences(attributes, state.attributes(), loaded),
        "appended": {name: lists[name][len(listed[name]) :] for name in lists},
        "kept": all(lists[name][: len(listed[name])] == listed[name] for name in lists),
    }
    if not only:
        answer["work"] = {}
        work(state, answer["work"])
    answer.update(files=sorted(ear.files), network=ear.network, started=ear.started)
    print("PROBE " + json.dumps(answer))


main(*sys.argv[1:])
