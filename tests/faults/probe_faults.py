"""Runs inside ComfyUI's own Python, without a server: Cancel, out of memory, NaN and files that go. Prints JSON.

<ComfyUI's python> probe_faults.py <checkout> <folder holding the pack as RestART> <checkpoint folder> <cancels> <ooms>
"""

from __future__ import annotations

import copy
import gc
import importlib
import json
import random
import resource
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "comfyui"))

import torch
from probe_host import live_models, prepare
from probe_samplers import Host, wrapped

SHAPE = (2, 16, 8, 8)
JOBS = {
    "restart": {"segments": ((3, 2, 0.06, 0.3),), "solver": "euler"},
    "randomized_midpoint": {"corrector_steps": 1},
    "parallel_midpoint": {"midpoints": 3, "corrector_steps": 1},
}
FIT = {"solver": "euler", "steps": (4,), "method": "direct"}


class Room:
    """A ComfyUI with the tiny flow checkpoint: draws pictures and fits schedules as its nodes do."""

    def __init__(self, checkpoints: Path, sd: Any, advanced: Any) -> None:
        modules = (importlib.import_module(f"comfy.{name}") for name in ("sample", "samplers", "model_management"))
        self.comfy = Host(*modules)
        self.host = importlib.import_module("RestART.nodes.host")
        self.fitting = importlib.import_module("RestART.schedules")
        self.host.register()
        self.model = live_models(checkpoints, sd, advanced)["flow"]
        self.sigmas = self.comfy.sigmas(self.model, "flow", 6)

    def draw(self, name: str, model: Any = None, callback: Any = None) -> torch.Tensor:
        with torch.inference_mode():
            latents, _ = self.comfy.run(model or self.model, name, JOBS[name], self.sigmas, SHAPE, callback=callback)
        return latents

    def fit(self, model: Any = None, callback: Any = None) -> Any:
        model = model or self.model
        pooled = torch.zeros(1, 2048)
        pooled[0, 3] = 1.0
        condition = [[torch.zeros(1, 77, 4096), {"pooled_output": pooled}]]
        sampling = self.host.model_sampling_of(model)
        low, high = self.host.bounds_of(sampling)
        stock = {name: self.host.named_schedule(sampling, name) for name in ("simple", "beta")}

        def job(denoiser: Any, noise: Any, extra_args: Any) -> Any:
            return self.fitting.fit_schedule(
                denoiser, noise, sigma_min=low, sigma_max=high, extra_args=extra_args, callback=callback,
                baselines=stock, **FIT,
            )  # fmt: skip

        with torch.inference_mode():
            guider = self.host.cfg_guider(model, condition, condition, 1.0)
            return self.host.run_in_guider(guider, shape=SHAPE[1:], seed=0, trajectories=3, job=job)

    def work(self, name: str) -> Callable[..., Any]:
        return self.fit if name == "fit" else lambda model=None: self.draw(name, model)


def tensors() -> tuple[int, int]:
    """(how many tensors are alive, their bytes)"""
    gc.collect()
    alive = [thing for thing in gc.get_objects() if type(thing) in {torch.Tensor, torch.nn.Parameter}]
    return len(alive), sum(t.untyped_storage().nbytes() for t in alive if t.device.type == "cpu")


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cancels(room: Room, name: str, count: int, seed: int) -> dict[str, Any]:
    """Cancel at random moments; after each, the next prompt's picture and what memory is kept."""
    work, management, rng = room.work(name), room.comfy.management, random.Random(seed)
    first, picture = work(), room.draw("randomized_midpoint")
    began = time.monotonic()
    work()
    took = time.monotonic() - began
    before = tensors()
    found: dict[str, Any] = {"cancelled": 0, "late": 0, "wrong": 0, "other": [], "kept": 0, "kept_bytes": 0}
    rss = peak_megabytes()
    attempts = 0
    while found["cancelled"] < count and attempts < 5 * count:
        attempts += 1
        timer = threading.Timer(rng.uniform(0, 0.85 * took), management.interrupt_current_processing)
        timer.start()
        began = time.monotonic()
        try:
            work()
            found["late"] += 1  # the machine was quicker than before: press sooner
            took = min(took, time.monotonic() - began)
        except management.InterruptProcessingException:
            found["cancelled"] += 1
        except BaseException as error:
            found["other"].append(f"{type(error).__name__}: {error}")
        timer.join()
        management.interrupt_current_processing(False)
        found["wrong"] += not torch.equal(room.draw("randomized_midpoint"), picture)
        after = tensors()
        found["kept"] = max(found["kept"], after[0] - before[0])
        found["kept_bytes"] = max(found["kept_bytes"], after[1] - before[1])
    last = work()
    found["same at the end"] = torch.equal(first, last) if isinstance(first, torch.Tensor) else first == last
    return {**found, "megabytes": round(peak_megabytes() - rss, 1), "seconds": round(took, 2)}


def failing_sampling(model: Any, hit: Callable[[int, torch.Tensor], torch.Tensor]) -> Any:
    """The MODEL with hit(call number, input) around each network call (a wrapper would forbid shared batches)."""
    sampling, calls = copy.copy(model.get_model_object("model_sampling")), [0]

    class Failing(type(sampling)):  # type: ignore[misc]
        def calculate_input(self, sigma: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            calls[0] += 1
            return hit(calls[0], super().calculate_input(sigma, noise))

    sampling.__class__ = Failing
    patched = model.clone()
    patched.add_object_patch("model_sampling", sampling)
    return patched


def out_of_memory(room: Room, name: str, most: int) -> dict[str, Any]:
    """Out of memory at one network call of more than the fewest samples after the other: how far the result moves."""
    sizes: list[int] = []
    unit = 1 if name == "fit" else SHAPE[0]

    def note(number: int, x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return x

    expected = room.work(name)(failing_sampling(room.model, note))
    chances = [at for at, size in enumerate(sizes, 1) if size > unit]
    tried, worst = 0, 0.0
    share = min(most, len(chances))
    for at in (chances[(2 * k + 1) * len(chances) // (2 * share)] for k in range(share)):

        def fail(number: int, x: torch.Tensor, at: int = at) -> torch.Tensor:
            if number == at:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x

        again = room.work(name)(failing_sampling(room.model, fail))
        if name == "fit":
            off = float((again.sigmas(4).log2() - expected.sigmas(4).log2())[:-1].abs().max())
        else:
            off = float((again - expected).abs().max() / expected.std())
        tried, worst = tried + 1, max(worst, off)
    return {"tried": tried, "chances": len(chances), "off": worst}


def released(room: Room) -> list[bool]:
    """Whether the failed call's tensors are gone when the guided denoiser gives memory back."""
    held, seen = [lambda: None], []
    management = importlib.import_module("RestART.nodes.host.guiding").comfy.model_management
    real = management.soft_empty_cache

    class Tight:
        inner_model = type("inner", (), {"model_patcher": None})()

        def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **_: Any) -> torch.Tensor:
            activations = x * 2
            held[0] = weakref.ref(activations)
            if len(x) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return activations

    management.soft_empty_cache = lambda *_: seen.append(held[0]() is None)
    try:
        with torch.inference_mode(False):
            room.host.GuidedDenoiser(Tight(), 8)(torch.ones(8, 1), torch.ones(8))
    finally:
        management.soft_empty_cache = real
    return seen


def not_a_number(room: Room, name: str) -> dict[str, Any]:
    """The network returns NaN or inf from one call on: what the user is told, and the next picture."""
    picture = room.draw("randomized_midpoint")
    told = []
    for at, value in ((1, float("nan")), (4, float("inf")), (5, -float("inf"))):
        calls = [0]

        def broken(
            apply: Any, x: torch.Tensor, sigma: torch.Tensor, c: Any, at: int = at, value: float = value,
            calls: list[int] = calls,
        ) -> torch.Tensor:  # fmt: skip
            calls[0] += 1
            out = apply(x, sigma, **c)
            if calls[0] >= at:
                out[-1, 0, 0, 0] = value
            return out

        try:
            room.work(name)(wrapped(room.model, broken))
            told.append("nothing")
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
    return {"told": told, "next is right": torch.equal(room.draw("randomized_midpoint"), picture)}


def files(room: Room, folder: Path) -> dict[str, Any]:
    """A folder that killed saves left behind, then one whose files and whole self go while they are listed."""
    paths = importlib.import_module("folder_paths")
    inside = importlib.import_module("RestART.nodes.host.files")
    paths.add_model_folder_path("art_schedules", str(folder), is_default=True)
    answer: dict[str, Any] = {"listed": room.host.register_files()}
    answer["load"] = [type(room.host.load_saved(name[len("art/") :])).__name__ for name in answer["listed"]]
    answer["left"] = sorted(p.name for p in folder.rglob(".*"))
    schedule = room.host.load_saved(answer["listed"][0][len("art/") :])
    stop, odd = threading.Event(), []

    def come_and_go() -> None:
        while not stop.is_set():
            (folder / "deep").mkdir()
            schedule.save(folder / "deep" / "gone.safetensors")
            time.sleep(0.001)
            shutil.rmtree(folder / "deep")

    other = threading.Thread(target=come_and_go)
    other.start()
    missing = loaded = 0
    deadline = time.monotonic() + 60
    while (missing < 50 or loaded < 50) and time.monotonic() < deadline:
        try:
            room.host.refresh_schedulers()
            room.host.file_state("deep/gone")
            inside._loaded.clear()
            room.host.load_saved("deep/gone")
            loaded += 1
        except FileNotFoundError as error:
            missing += 1
            if "there is no saved schedule 'deep/gone'" not in str(error):
                odd.append(str(error))
        except Exception as error:
            odd.append(f"{type(error).__name__}: {error}")
    stop.set()
    other.join()
    answer |= {"missing": missing, "loaded": loaded, "odd": sorted(set(odd))}
    room.host.refresh_schedulers()
    shutil.rmtree(folder)
    try:
        answer["folder gone"] = room.host.refresh_schedulers()
    except Exception as error:
        answer["folder gone"] = f"{type(error).__name__}: {error}"
    return answer


def main(checkout: str, packs: str, checkpoints: str, cancel: str, ooms: str) -> None:
    _, sd, advanced = prepare(Path(checkout), Path(packs))
    torch.set_num_threads(1)
    room = Room(Path(checkpoints), sd, advanced)
    answer = {
        "cancel": {name: cancels(room, name, int(cancel), seed) for seed, name in enumerate([*JOBS, "fit"])},
        "memory": {name: out_of_memory(room, name, int(ooms)) for name in ("parallel_midpoint", "fit")},
        "released": released(room),
        "nan": {name: not_a_number(room, name) for name in [*JOBS, "fit"]},
        "files": files(room, Path(packs) / "art_schedules"),
    }
    print("PROBE " + json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:6])
