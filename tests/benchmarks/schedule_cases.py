"""The problems of the schedule benchmark: denoisers, held-out trajectories with their exact ends, stock schedules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restart_art.samplers.grid import check_sigmas
from restart_art.schedules import stock_schedules
from restart_art.schedules.art.trajectories import Field, log_uniform_nodes, solve_reference
from restart_art.schedules.stock import Schedule
from restart_art.tiny import load_tiny

from exact import Mixture, grid_5x5, mixture_16d

STEPS = (5, 8, 10, 12, 15, 20, 30)
SOLVERS = ("euler", "heun", "dpmpp_2m")
TITLES = {"euler": "Euler", "heun": "Heun", "dpmpp_2m": "DPM++ 2M"}
RANGES = {"EDM": (0.002, 80.0), "SD": (0.0291675, 14.614647)}
MIXTURES = {f"{dims}-D, {kind} range": (dims, kind) for kind in RANGES for dims in (2, 16, 256)}
TINY = {
    "tiny eps": ("eps", 1.0),
    "tiny flow": ("flow", 1.0),
    "tiny eps, CFG 2": ("eps", 2.0),
    "tiny flow, CFG 2": ("flow", 2.0),
}
FIT_ROWS = 32
HELD_OUT = 4096  # trajectories of a mixture: the few that end in another mode are most of a mean error
END_NODES = 256  # of the fine solution that ends are compared with
HELD_OUT_TINY = 100  # of a tiny checkpoint: with 32, ratios of errors were still uncertain
FIT_SEED, HELD_OUT_SEED, FLOOR_SEED = 1, 20_240_601, 777
COMFYUI = Path(__file__).resolve().parents[1] / "comfyui"


class FastMixture(Mixture):
    """The same VE denoiser by two matrix products instead of every offset: 256 dimensions cost little."""

    @classmethod
    def of(cls, other: Mixture) -> FastMixture:
        found = cls(other.means, other.scale)
        found.log_weights = other.log_weights
        return found

    def __call__(self, x: Tensor, sigma: Tensor, seed: Any = None, **_: Any) -> Tensor:
        self.calls += 1
        self.evaluations += x.shape[0]
        return self.denoise(x.flatten(1).double(), sigma.double()[:, None]).reshape(x.shape).to(x.dtype)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x] for x (..., d) and sigma (..., 1)."""
        variance = self.scale**2 + sigma**2
        offset = self.log_weights - 0.5 * self.means.square().sum(-1) / variance  # |x|^2 is common to all components
        posterior = (offset + x @ self.means.T / variance).softmax(-1)
        gain = self.scale**2 / variance
        return gain * x + (1 - gain) * (posterior @ self.means)


class Guided:
    """A tiny checkpoint behind classifier-free guidance: D_uncond + scale (D_cond - D_uncond)."""

    def __init__(self, model: Any, scale: float):
        self.model, self.scale, self.model_sampling = model, scale, model.model_sampling

    def __call__(self, x: Tensor, sigma: Tensor, *, classes: Tensor) -> Tensor:
        without = self.model(x, sigma, classes=None)
        return without + self.scale * (self.model(x, sigma, classes=classes) - without)


def reduced(model: FastMixture, noise: Tensor, ends: Tensor) -> tuple[FastMixture, tuple[Tensor, Tensor]]:
    """The same problem in as many coordinates as there are means, and one more.

    Outside the span of the means the denoiser only scales x, so a solver keeps that part on the line of its noise:
    one coordinate along it tells all, and every distance stays what it was.
    """
    count, dims = model.means.shape
    if dims <= count + 1:
        return model, (noise, ends)
    basis = torch.linalg.qr(model.means.T).Q
    inside = [points @ basis for points in (noise, ends)]
    outside = [points - part @ basis.T for points, part in zip((noise, ends), inside, strict=True)]
    line = outside[0] / outside[0].norm(dim=1, keepdim=True)
    along = [(part * line).sum(1, keepdim=True) for part in outside]
    small = FastMixture(torch.cat([model.means @ basis, model.means.new_zeros(count, 1)], 1), model.scale)
    small.log_weights = model.log_weights
    found = [torch.cat(pair, 1) for pair in zip(inside, along, strict=True)]
    return small, (found[0], found[1])


@dataclass
class Setting:
    """One problem. fit_args, held_args: the model's extra_args. stock: {name: {steps: sigmas}}, tensors."""

    name: str
    model: Any
    low: float
    high: float
    fit_noise: Tensor
    held_noise: Tensor
    fit_args: dict[str, Any] = field(default_factory=dict)
    held_args: dict[str, Any] = field(default_factory=dict)
    stock: dict[str, dict[int, Tensor]] = field(default_factory=dict)

    @property
    def baselines(self) -> dict[str, Schedule]:
        """The stock schedules as fit_schedule takes them."""
        return {name: grids.__getitem__ for name, grids in self.stock.items() if name != "uniform"}

    @cached_property
    def _reduced(self) -> tuple[Any, tuple[Tensor, Tensor]]:
        """What held-out trajectories are measured with: mixtures in few coordinates, the same to rounding."""
        if isinstance(self.model, FastMixture):
            return reduced(self.model, self.held_noise, self.held_noise)
        return self.model, (self.held_noise, self.held_noise)

    @cached_property
    def held(self) -> Field:
        model, (noise, _) = self._reduced
        return Field(model, noise, self.held_args, lambda _: None)

    @cached_property
    def ends(self) -> Tensor:
        """Exact ends of the held-out trajectories, in the coordinates that they are measured in."""
        return fine_ends(self, self.held.noise, self.held_args, self.held.model)

    def errors(self, solver: str, sigmas: Tensor, rows: int | None = None) -> Tensor:
        """(rows,) end errors of the host's own solver on held-out trajectories: root mean square over the values."""
        count = len(self.held_noise) if rows is None else min(rows, len(self.held_noise))
        with torch.no_grad():
            end = self.held.solve(solver, range(count), sigmas)
        values = self.held_noise[0].numel()
        return ((end - self.ends[:count]).flatten(1).double().square().sum(1) / values).sqrt()

    def error(self, solver: str, sigmas: Tensor, rows: int | None = None) -> float:
        """Their mean."""
        return float(self.errors(solver, sigmas, rows).mean())


def fine_ends(setting: Setting, noise: Tensor, args: Mapping[str, Any], model: Any = None) -> Tensor:
    """Ends of trajectories by the third-order march on many nodes, some rows at a time. model: the setting's."""
    field_ = Field(model or setting.model, noise, args, lambda _: None)
    grid = log_uniform_nodes(END_NODES, setting.low, setting.high, field_.process)
    with torch.no_grad():
        parts = torch.arange(len(noise)).split(1024 if isinstance(setting.model, Mixture) else 128)
        return torch.cat([solve_reference(field_, part.tolist(), grid).end for part in parts])


def make(name: str, host: Mapping[str, Any], *, held: int | None = None, steps: Sequence[int] = STEPS) -> Setting:
    """The setting of that name. host: {"EDM" | "SD" | "flow": {scheduler: {steps: sigmas}}}, {} without a host."""
    if name in MIXTURES:
        return _mixture(name, host, held or HELD_OUT, steps)
    return _tiny(name, host, held or HELD_OUT_TINY, steps)


def normal(shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Unit Gaussian numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mixture(dims: int) -> FastMixture:
    """2-D: 25 modes of width .05 on a grid. 16-D and 256-D: ten modes of width .3 at means from N(0, I)."""
    if dims == 2:
        return FastMixture.of(grid_5x5())
    if dims == 16:
        return FastMixture.of(mixture_16d())
    return FastMixture(normal((10, dims), 0), 0.3)


def _mixture(name: str, host: Mapping[str, Any], held: int, steps: Sequence[int]) -> Setting:
    dims, kind = MIXTURES[name]
    low, high = RANGES[kind]
    noises = [normal((rows, dims), seed, torch.float64) for rows, seed in ((FIT_ROWS, FIT_SEED), (held, HELD_OUT_SEED))]
    stock = _stock(host.get(kind, {}), None, low, high, steps)
    return Setting(name, mixture(dims), low, high, *noises, stock=stock)


def _tiny(name: str, host: Mapping[str, Any], held: int, steps: Sequence[int]) -> Setting:
    """CFG 1: all classes on both sides, other noise. CFG 2: fitted on digits 0..4, measured on digits 5..9."""
    kind, cfg = TINY[name]
    model = load_tiny(kind)
    sampling = model.model_sampling
    low, high = float(sampling.sigma_min), float(sampling.sigma_max)
    fit, other = torch.arange(FIT_ROWS) % 10, torch.arange(held) % 10
    if cfg != 1:
        fit, other = fit % 5, other % 5 + 5
    return Setting(
        name, model if cfg == 1 else Guided(model, cfg), low, high, normal((FIT_ROWS, 16, 8, 8), FIT_SEED),
        normal((held, 16, 8, 8), HELD_OUT_SEED), {"classes": fit}, {"classes": other},
        _stock(host.get("SD" if kind == "eps" else "flow", {}), sampling, low, high, steps),
    )  # fmt: skip


def _stock(
    host: Mapping[str, Any], sampling: Any, low: float, high: float, steps: Sequence[int]
) -> dict[str, dict[int, Tensor]]:
    """Uniform in sigma, and the host's schedulers, or the pack's own stock schedules where no host is present."""
    found: dict[str, dict[int, Tensor]] = {"uniform": {n: _uniform(n, low, high) for n in steps}}
    made = {name: {int(n): grid for n, grid in grids.items()} for name, grids in host.items()}
    for name, schedule in stock_schedules(sampling, low, high).items():
        made.setdefault(name, {n: schedule(n).tolist() for n in steps})
    for name, grids in made.items():
        usable = {n: good for n, grid in grids.items() if (good := _usable(grid)) is not None}
        if usable:
            found[name] = usable
    return found


def _uniform(steps: int, low: float, high: float) -> Tensor:
    return torch.cat([torch.linspace(high, low, steps), torch.zeros(1)])


def _usable(grid: Sequence[float] | None) -> Tensor | None:
    """A grid that descends to 0; some schedulers repeat a level at some step counts."""
    if grid is None:
        return None
    try:
        return torch.tensor(grid) if check_sigmas(torch.tensor(grid))[-1] == 0 else None
    except ValueError:
        return None


def host_grids(steps: Sequence[int] = STEPS) -> tuple[str, dict[str, Any]]:
    """ComfyUI's version and all its schedulers' grids, by its own Python; ("", {}) where there is none."""
    sys.path.append(str(COMFYUI))
    from locate import find_checkout, find_python

    checkout = find_checkout()
    if checkout is None:
        if os.environ.get("RESTART_ART_REQUIRE_COMFYUI") == "1":
            raise RuntimeError("RESTART_ART_REQUIRE_COMFYUI=1, but no ComfyUI was found")
        return "", {}
    script = Path(__file__).parent / "host_grids.py"
    command = [str(find_python(checkout)), str(script), str(checkout), ",".join(map(str, steps))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"ComfyUI's schedulers could not be read: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["version"], answer["grids"]
