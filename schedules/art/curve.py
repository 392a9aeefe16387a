"""The learned schedule as an object: immutable, resampled to any step count, kept in a file or a line of text."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from ...samplers.grid import check_count, shown
from ..edm import denoise_total
from . import storage
from .storage import VERSION, ScheduleError

MAX_KNOTS = 160  # over all step counts; keeps the text under 2 kB
PROCESSES = ("ve", "flow")
SIGMA_RANGE = (1e-9, 1e9)  # far beyond any model's, and well inside what float32 tells apart
MAX_LABEL, MAX_NAME = 64, 80  # characters of solver and fingerprint; of the model's name, the rest is cut off


@dataclass(frozen=True)
class ArtSchedule:
    """A sigma schedule fitted to one model, solver and noise process.

    curves: ((steps, knots), ...) ascending in steps. `knots` are the sigmas (VE sigma; on flow models flow sigma)
    at u_k = k / (K - 1) * (steps - 1) / steps, k < K, of a curve u -> log sigma over [0, 1] whose end u = 1 is
    sigma 0. With K = steps they are the grid that was measured. At other step counts the curves are interpolated
    (monotone cubic in u, straight in log steps between neighbouring counts).

    solver: the k-diffusion solver it was fitted for. process: "ve" or "flow". sigma_min, sigma_max: bounds of the
    model it was fitted to. model, model_name, cfg: where it comes from, None if unknown. report: see fit_schedule.
    """

    curves: tuple[tuple[int, tuple[float, ...]], ...]
    solver: str
    process: str
    sigma_min: float
    sigma_max: float
    model: str | None = None
    model_name: str | None = None
    cfg: float | None = None
    report: Mapping[str, Any] = field(default_factory=dict, compare=False)
    version: int = VERSION

    def __post_init__(self) -> None:
        """Round numbers to what the text form keeps, so that file, text and object give the same sigmas.

        Raises:
            ScheduleError: naming the value that cannot be right.
        """
        self._check_labels()
        low, high = _number("sigma_min", self.sigma_min), _number("sigma_max", self.sigma_max)
        if not 0 < low < high:
            raise ScheduleError(f"schedule bounds are {low:g} .. {high:g}; it must be 0 < sigma_min < sigma_max")
        _check_range("bounds", high, low)
        rounded = {
            "sigma_min": low,
            "sigma_max": high,
            "curves": _check_curves(self.curves, high),
            "cfg": None if self.cfg is None else _number("cfg", self.cfg),
            "model_name": None if self.model_name is None else self.model_name[:MAX_NAME],
        }
        for name, value in rounded.items():
            object.__setattr__(self, name, value)

    def _check_labels(self) -> None:
        if self.version != VERSION:
            raise ScheduleError(f"schedule version is {shown(self.version)}; this pack reads version {VERSION}")
        if self.process not in PROCESSES:
            raise ScheduleError(f"schedule process is {shown(self.process)}; allowed: {', '.join(PROCESSES)}")
        if not _is_label(self.solver) or not 0 < len(self.solver) <= MAX_LABEL:
            raise ScheduleError(f"schedule solver is {shown(self.solver)}; it must be a solver's name")
        if self.model is not None and (not _is_label(self.model) or len(self.model) > MAX_LABEL):
            raise ScheduleError(f"schedule model is {shown(self.model)}; it must be a fingerprint, short plain text")
        if self.model_name is not None and not _is_label(self.model_name):
            raise ScheduleError(f"schedule model name is {shown(self.model_name)}; it must be plain text")

    @property
    def steps(self) -> tuple[int, ...]:
        """Step counts it was fitted and measured at."""
        return tuple(steps for steps, _ in self.curves)

    def sigmas(self, steps: int, denoise: float = 1.0) -> Tensor:
        """The schedule at a step count.

        Args:
            steps: >= 1.
            denoise: in (0, 1]; below 1, int(steps / denoise) steps are laid out and the last steps + 1 kept, as
                ComfyUI's BasicScheduler does.

        Returns:
            (steps + 1,) float32, strictly descending, ends in 0.

        Raises:
            ValueError: steps or denoise out of range.
        """
        steps = check_count("steps", steps, 1, 10_000)
        levels = self._levels(denoise_total(steps, denoise))
        return torch.tensor([*levels, 0.0][-(steps + 1) :], dtype=torch.float32)

    def sigmas_for(self, steps: int, denoise: float, sigma_min: float, sigma_max: float) -> Tensor:
        """The schedule with its bounds mapped (straight in log sigma) to another model's, e.g. another shift.

        Raises:
            ScheduleError: its bounds are too close, or its knots too far outside them, to be mapped there.
        """
        grid = self.sigmas(steps, denoise)
        old, new = math.log(self.sigma_max / self.sigma_min), math.log(sigma_max / sigma_min)
        if math.isclose(self.sigma_max, sigma_max, rel_tol=1e-4) and math.isclose(old, new, rel_tol=1e-4):
            return grid
        levels = grid[:-1].double()
        levels = sigma_min * (levels / self.sigma_min) ** (new / old)
        mapped = torch.cat([levels, levels.new_zeros(1)]).float()
        if not (mapped.isfinite().all() and (mapped.diff() < 0).all()):
            raise ScheduleError(
                f"this schedule for sigmas {self.sigma_min:g} .. {self.sigma_max:g} cannot be mapped to a model with "
                f"{sigma_min:g} .. {sigma_max:g}; learn a new one"
            )
        return mapped

    def _levels(self, steps: int) -> list[float]:
        """Descending non-zero sigmas, one a step."""
        counts = self.steps
        if steps in counts and len(self.curves[counts.index(steps)][1]) == steps:
            return list(self.curves[counts.index(steps)][1])
        upper = next((i for i, count in enumerate(counts) if count >= steps), len(counts) - 1)
        lower = upper - 1 if upper and counts[upper] > steps else upper
        logs = self._resample(lower, steps)
        if upper != lower:
            weight = math.log(steps / counts[lower]) / math.log(counts[upper] / counts[lower])
            logs = (1 - weight) * logs + weight * self._resample(upper, steps)
        levels = np.exp(logs)
        for i in range(1, steps):  # rounding at very many steps must not make two nodes one
            levels[i] = min(levels[i], levels[i - 1] * (1 - 1e-6))
        return [float(v) for v in levels]

    def _resample(self, index: int, steps: int) -> np.ndarray:
        """log sigma of one curve at `steps` nodes.

        Nodes lie at u = i / steps. Past the last knot the curve runs straight to 0 in sigma; where that would
        fall below the smaller of sigma_min and the last knot, the nodes end there instead.
        """
        fitted, knots = self.curves[index]
        u_last = (fitted - 1) / fitted
        logs = np.log(np.asarray(knots))
        floor = min(logs[-1], math.log(self.sigma_min))
        u_floor = 1 - (1 - u_last) * math.exp(floor - logs[-1])
        end = min((steps - 1) / steps, u_floor)
        u = np.linspace(0.0, end, steps)
        if len(knots) == 1:
            inside = np.full(steps, logs[0])
        else:
            inside = PchipInterpolator(np.linspace(0.0, u_last, len(knots)), logs)(np.minimum(u, u_last))
        with np.errstate(divide="ignore"):
            tail = logs[-1] + np.log(np.maximum((1 - u) / (1 - u_last), 1e-12))
        return np.where(u <= u_last, inside, tail)

    def with_provenance(
        self, *, model: str | None = None, model_name: str | None = None, cfg: float | None = None
    ) -> ArtSchedule:
        """A copy that remembers the model's fingerprint and name and the cfg it was fitted with."""
        return replace(self, model=model, model_name=model_name, cfg=None if cfg is None else float(cfg))

    def warnings_for(
        self,
        *,
        model: str | None = None,
        process: str | None = None,
        cfg: float | None = None,
        solver: str | None = None,
    ) -> list[str]:
        """Plain sentences for each way in which the use at hand differs from the fit. None skips a check."""
        found = []
        name = f" ({self.model_name})" if self.model_name else ""
        if process is not None and process != self.process:
            kinds = {"ve": "an eps/v-prediction (VE)", "flow": "a flow"}
            found.append(
                f"This schedule was learned on {kinds[self.process]} model{name}, but this is "
                f"{kinds.get(process, process)} model: its sigmas mean something else here. Learn a new one."
            )
        elif model is not None and self.model is not None and model != self.model:
            found.append(f"This schedule was learned on another model{name}; it may not be the best for this one.")
        if cfg is not None and self.cfg is not None and not math.isclose(cfg, self.cfg, abs_tol=1e-6):
            found.append(f"This schedule was learned at cfg {self.cfg:g}; here cfg is {cfg:g}.")
        if solver is not None and solver != self.solver:
            found.append(f"This schedule was learned for the solver {self.solver}; here it is {solver}.")
        return found

    def to_text(self) -> str:
        """One line of JSON under 2 kB that from_text reads back to the same sigmas. Holds no pilot table."""
        return storage.to_text(self)

    @classmethod
    def from_text(cls, text: str) -> ArtSchedule:
        """Read to_text's line.

        Raises:
            ScheduleError: anything but such a line.
        """
        return cls(**storage.from_text(text))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
        """Write a safetensors file with JSON metadata, atomically (temp file beside it, then rename).

        Raises:
            OSError: the folder is missing or not writable; whatever was at `path` is then unharmed.
            FileExistsError: with overwrite=False, a file of that name is there already.
        """
        storage.save(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ArtSchedule:
        """Read a file that save() wrote.

        Raises:
            ScheduleError: not such a file (corrupt, foreign, too large).
            OSError: it cannot be read.
        """
        return cls(**storage.load(path))


def compress(steps: int, sigmas: Sequence[float], limit: int) -> tuple[float, ...]:
    """At most `limit` knots of the curve through a grid's non-zero sigmas (all of them if they are few)."""
    if steps <= limit:
        return tuple(sigmas)
    u_last = (steps - 1) / steps
    curve = PchipInterpolator(np.linspace(0.0, u_last, steps), np.log(np.asarray(sigmas)))
    return tuple(float(v) for v in np.exp(curve(np.linspace(0.0, u_last, limit))))


def _check_curves(given: Any, sigma_max: float) -> tuple[tuple[int, tuple[float, ...]], ...]:
    curves = tuple((_steps(steps), _knots(knots)) for steps, knots in given)
    if not curves or sum(len(knots) for _, knots in curves) > MAX_KNOTS:
        raise ScheduleError(f"a schedule has 1 to {MAX_KNOTS} knots in all")
    if any(a[0] >= b[0] for a, b in pairwise(curves)):
        raise ScheduleError("schedule step counts must be ascending and differ")
    for steps, knots in curves:
        if len(knots) > steps:
            raise ScheduleError(f"schedule for {steps} steps has {len(knots)} knots; at most one a step")
        if knots[0] > sigma_max * 1.001:
            raise ScheduleError(f"schedule for {steps} steps starts at {knots[0]:g}, above sigma_max {sigma_max:g}")
    return curves


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise OverflowError
        return float(f"{float(value):.7g}")
    except OverflowError:  # also of a whole number too large for a float
        raise ScheduleError(f"schedule {name} is {shown(value)}; it must be a finite number") from None


def _check_range(name: str, largest: float, smallest: float) -> None:
    low, high = SIGMA_RANGE
    if not low <= smallest <= largest <= high:
        raise ScheduleError(f"schedule {name} are {smallest:g} .. {largest:g}; allowed: {low:g} .. {high:g}")


def _is_label(text: Any) -> bool:
    """Plain text: no line breaks, no codes that a terminal or a log would obey."""
    return isinstance(text, str) and text.isprintable()


def _steps(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000:
        raise ScheduleError(f"schedule step count is {shown(value)}; it must be a whole number from 1 to 10000")
    return value


def _knots(values: Iterable[Any]) -> tuple[float, ...]:
    knots = tuple(_number("sigma", v) for v in values)
    if not knots or knots[-1] <= 0 or any(a <= b for a, b in pairwise(knots)):
        raise ScheduleError("schedule sigmas must be positive and strictly descending")
    _check_range("sigmas", knots[0], knots[-1])
    if (np.diff(np.asarray(knots, dtype=np.float32)) >= 0).any():  # what a sampler gets
        raise ScheduleError("schedule sigmas must be strictly descending, as float32 too")
    return knots
