"""What the commands share: the checkpoint, the samplers and schedules by name, and counting model calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import samplers
from ..samplers.noise_process import NoiseProcess
from ..samplers.solvers import resolve_solver
from ..schedules import ArtSchedule, ScheduleError, edm_sigmas, stock_schedules
from ..tiny import LATENT_SHAPE, TinyDenoiser, checkpoint_path
from ..tiny.checkpoint import load_denoiser
from .options import UserError

Schedule = Callable[[int], Tensor]
TITLES = {
    "euler": "Euler",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "restart": "Restart",
    "randomized_midpoint": "Randomized midpoint",
    "parallel_midpoint": "Parallel midpoint",
    "karras": "Karras",
    "edm": "EDM",
    "art": "ART",
}


@dataclass(frozen=True)
class Checkpoint:
    """A tiny checkpoint: name, kind ("flow" or "eps"), model, and the SHA-256 of its file (16 hex digits)."""

    name: str
    kind: str
    model: TinyDenoiser
    fingerprint: str

    @property
    def process(self) -> str:
        """ "flow" or "ve"."""
        return NoiseProcess.of(self.model).kind

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest sigma of the model."""
        sampling = self.model.model_sampling
        return float(sampling.sigma_min), float(sampling.sigma_max)


def load_checkpoint(text: str) -> Checkpoint:
    """ "flow", "eps" or the path of a file that ``restart_art.tiny.train`` wrote. Raises UserError."""
    path = checkpoint_path(text) if text in ("flow", "eps") else Path(text).expanduser()
    allowed = "allowed: flow, eps, or a file written by python -m restart_art.tiny.train"
    if not path.is_file():
        if text in ("flow", "eps"):  # the ComfyUI registry's package leaves them out: .comfyignore
            raise UserError(
                f"--checkpoint: the tiny checkpoint {text!r} is not in this copy of the pack; "
                "use a clone of the repository, or give --comfyui FOLDER and a checkpoint of yours"
            )
        hint = "for one of ComfyUI's checkpoints: restart-art fit --comfyui FOLDER"
        raise UserError(f"--checkpoint: {text!r} is not a file; {allowed}; {hint}")
    try:
        with safe_open(str(path), framework="pt") as file:
            kind = (file.metadata() or {}).get("kind", text if text in ("flow", "eps") else "")
        model = load_denoiser(path, kind)
    except (SafetensorError, ValueError, KeyError, RuntimeError):
        raise UserError(f"--checkpoint: {text!r} is not a tiny checkpoint; {allowed}") from None
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Checkpoint(text if text == kind else path.stem, kind, model, fingerprint)


class CountedModel:
    """A denoiser that asks for given digits, and counts its work.

    calls: samples that went through the model, divided by the pictures being made (the "model calls" of one
    picture). rounds: times the model was run, however large the batch (the waiting, on a wide machine).
    classes: int64 (B,) or None; a batch of k * B samples is k whole copies, as samplers stack them.
    """

    def __init__(self, model: Any, classes: Tensor | None, pictures: int) -> None:
        self.inner_model = model
        self.model_sampling = model.model_sampling
        self.classes = classes
        self.pictures = pictures
        self.samples = 0
        self.rounds = 0

    @property
    def calls(self) -> float:
        """Model calls of one picture."""
        return self.samples / self.pictures

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        self.samples += len(x)
        self.rounds += 1
        classes = self.classes
        if classes is not None and len(x) != len(classes):
            copies = -(-len(x) // len(classes))
            classes = classes.repeat(copies)[: len(x)]
        return self.inner_model(x, sigma, classes=classes)


@dataclass(frozen=True)
class Outcome:
    """latent (B, 16, 8, 8) of a run, model calls of one picture, rounds, and seconds of the whole batch."""

    latent: Tensor
    calls: float
    rounds: int
    seconds: float


def sample_digits(
    model: Any,
    sampler: str,
    sigmas: Tensor,
    *,
    noise: Tensor,
    classes: Tensor | None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Outcome:
    """One run of a sampler from unit noise (B, 16, 8, 8), which is scaled by the first sigma."""
    counted = CountedModel(model, classes, len(noise))
    function = sampler_function(sampler)
    start = perf_counter()
    with torch.inference_mode():
        latent = function(
            counted, noise * sigmas[0], sigmas, extra_args={"seed": seed}, disable=True, **(options or {})
        )
    return Outcome(latent, counted.calls, counted.rounds, perf_counter() - start)


def sampler_function(name: str) -> Callable[..., Tensor]:
    """The sampler of that name: the pack's own, or k-diffusion's."""
    own: Callable[..., Tensor] | None = getattr(samplers, f"sample_{name}", None)
    return own or resolve_solver(name)


def starting_noise(count: int, seed: int) -> Tensor:
    """Unit Gaussian (count, 16, 8, 8) from a CPU generator."""
    return torch.randn(count, *LATENT_SHAPE, generator=torch.Generator().manual_seed(seed))


def schedules_of(checkpoint: Checkpoint) -> dict[str, Schedule]:
    """Every schedule by name that needs no file: EDM and the host's stock ones."""
    low, high = checkpoint.bounds
    flow = checkpoint.process == "flow"
    named: dict[str, Schedule] = dict(stock_schedules(checkpoint.model.model_sampling, low, high))
    named["edm"] = lambda steps: edm_sigmas(steps, low, high, flow=flow)
    return named


@dataclass
class Chosen:
    """A schedule asked for on the command line: its function, and sentences about what does not fit."""

    sigmas: Schedule
    warnings: list[str] = field(default_factory=list)


def find_schedule(text: str, checkpoint: Checkpoint, solver: str | None = None) -> Chosen:
    """``karras``, ``edm``, ... or ``art:FILE``. Raises UserError naming --scheduler."""
    named = schedules_of(checkpoint)
    if text in named:
        return Chosen(named[text])
    if text.startswith("art:"):
        schedule = read_schedule("--scheduler", text.removeprefix("art:"))
        low, high = checkpoint.bounds
        warnings = schedule.warnings_for(model=checkpoint.fingerprint, process=checkpoint.process, solver=solver)
        return Chosen(lambda steps: schedule.sigmas_for(steps, 1.0, low, high), list(warnings))
    raise UserError(f"--scheduler: {text!r} is not known; allowed: {', '.join(sorted(named))}, or art:FILE")


def read_schedule(option: str, text: str) -> ArtSchedule:
    """A saved schedule. Raises UserError naming the option if it is missing, foreign or damaged."""
    path = Path(text).expanduser()
    if not path.is_file():
        raise UserError(f"{option}: {text!r} is not a file; give a schedule saved by `restart-art fit`")
    try:
        return ArtSchedule.load(path)
    except ScheduleError as problem:
        raise UserError(f"{option}: {text!r} is not a schedule: {problem}") from None


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Runs torch on ``count`` processor threads, and puts the number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
