"""Notices NaN and inf without waiting for the device: noted at each model call, read once at the end of a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CAUSES = "half precision overflow and a broken checkpoint, LoRA or patch are the usual causes"


class FiniteWatch:
    """Remembers on the device whether a model's answers were finite, to tell where they first were not.

    A run costs one sum a model call (NaN and inf survive a sum) and one host read, at its end. Only a result that
    holds NaN or inf is an error: what the model itself heals is no concern of ours.

    step: the step under way, counted from 0, set by the sampler.
    """

    def __init__(self, steps: int, start: Tensor) -> None:
        """start: (batch, ...), what sampling starts from."""
        self.step, self.steps, self.batch = 0, steps, start.shape[0]
        self._start = _sums(start)
        self._notes: list[tuple[int, Tensor, Tensor]] = []

    def note(self, sigma: Tensor, denoised: Tensor) -> None:
        """A model call was made: denoised (samples, ...) at sigma (samples,)."""
        self._notes.append((self.step, sigma, _sums(denoised)))

    def check(self, x: Tensor) -> None:
        """At the end of a run, with its result. The only host read.

        Raises:
            ValueError: x holds NaN or inf; names the step, sigma and picture of the first model call that gave them.
        """
        # On "meta" there are no numbers to read.
        if x.device.type != "meta" and not bool(_sums(x).isfinite().all()):
            raise ValueError(self._where())

    def _where(self) -> str:
        if not bool(self._start.isfinite().all()):
            return "the latent or the noise that sampling starts from holds NaN or inf"
        for step, sigma, sums in self._notes:
            bad = (~sums.isfinite()).tolist()
            if any(bad):
                row = bad.index(True)
                level = float(sigma.flatten()[min(row, sigma.numel() - 1)])
                picture = f", picture {row % self.batch + 1} of {self.batch}" if self.batch > 1 else ""
                return (
                    f"the model returned NaN or inf at step {step + 1} of {self.steps}, sigma {level:g}{picture}; "
                    f"{CAUSES}"
                )
        return f"the result holds NaN or inf, although all the model's answers were finite; {CAUSES}"


class Watched:
    """A model whose calls are noted. All its attributes are the model's own, as solvers look there."""

    def __init__(self, model: Any, watch: FiniteWatch) -> None:
        self._model, self._watch = model, watch

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # a copy in the making
            raise AttributeError(name)
        return getattr(self._model, name)

    def __call__(self, x: Tensor, sigma: Tensor, *args: Any, **extra_args: Any) -> Tensor:
        denoised: Tensor = self._model(x, sigma, *args, **extra_args)
        self._watch.note(sigma, denoised)
        return denoised


def _sums(x: Tensor) -> Tensor:
    """(samples,) of x (samples, ...), at least in float32, where sums of finite half precision are finite."""
    precision = torch.promote_types(x.dtype, torch.float32)
    return x.to(precision) if x.ndim < 2 else x.sum(tuple(range(1, x.ndim)), dtype=precision)
