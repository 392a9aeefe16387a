"""The forward noise process of a model: variance exploding (VE) or flow.

VE (EPS, V_PREDICTION, EDM, X0):  x = x0 + sigma n              signal scale a = 1
flow (CONST: SD3, Flux, Wan ...): x = (1 - sigma) x0 + sigma n  signal scale a = 1 - sigma

Both follow the same ODE dx/dsigma = (x - D(x, sigma)) / sigma, so deterministic steps need no special
case; adding noise does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseProcess:
    """Signal scale and noise scale of a model's forward process.

    kind: "ve" or "flow". noise_scale: standard deviation of the noise at sigma, divided by sigma (1 but for
    a few flow models whose noise is not unit Gaussian).
    """

    kind: Literal["ve", "flow"] = "ve"
    noise_scale: float = 1.0

    @classmethod
    def of(cls, model: Any) -> NoiseProcess:
        """Read the process from the live model_sampling of a (wrapped) denoiser.

        The object is probed, not named: noise_scaling(sigma, noise, latent) is what the host itself uses to
        start a run, whatever class a patch has put there. A denoiser without one is VE, as in k-diffusion.

        Raises:
            ValueError: the process is neither VE nor flow, so noise cannot be added correctly.
        """
        sampling = find_model_sampling(model)
        if sampling is None or not hasattr(sampling, "noise_scaling"):
            return cls()
        probes = []
        for sigma in (0.25, 0.5):
            level, zero, one = torch.tensor([sigma]), torch.zeros(1, 1), torch.ones(1, 1)
            signal = float(sampling.noise_scaling(level, zero.clone(), one.clone(), False))
            noise = float(sampling.noise_scaling(level, one.clone(), zero.clone(), False)) / sigma
            probes.append((sigma, signal, noise))
        scale = probes[0][2]
        steady = scale > 0 and all(math.isclose(noise, scale, rel_tol=1e-4) for _, _, noise in probes)
        if steady and all(math.isclose(signal, 1.0, rel_tol=1e-5) for _, signal, _ in probes):
            return cls("ve", scale)
        if steady and all(math.isclose(signal, 1.0 - sigma, rel_tol=1e-5) for sigma, signal, _ in probes):
            return cls("flow", scale)
        raise ValueError(
            f"model_sampling {type(sampling).__name__} is neither variance exploding (x0 + sigma n) nor flow "
            "((1 - sigma) x0 + sigma n), so noise cannot be added to it correctly"
        )

    def signal(self, sigma: float) -> float:
        """Signal scale a(sigma)."""
        return 1.0 - sigma if self.kind == "flow" else 1.0

    def from_ve(self, level: float) -> float:
        """This process's sigma with the same noise-to-signal ratio as VE level `level`."""
        return level / (1.0 + level) if self.kind == "flow" else level

    def to_ve(self, sigma: float) -> float:
        """Noise-to-signal ratio of sigma (inf for a flow model at sigma 1)."""
        if self.kind == "ve":
            return sigma
        return sigma / (1.0 - sigma) if sigma < 1.0 else math.inf

    def renoise_weights(self, sigma_from: float, sigma_to: float) -> tuple[float, float]:
        """Weights (r, std) of x_to = r x_from + std n, which has exactly the law of the level sigma_to.

        r = a_to / a_from, std = sqrt(sigma_to^2 - r^2 sigma_from^2) * noise_scale.

        Raises:
            ValueError: sigma_to < sigma_from, or a flow level outside [0, 1).
        """
        if not 0 <= sigma_from <= sigma_to or (self.kind == "flow" and sigma_to > 1):
            raise ValueError(f"cannot add noise from sigma {sigma_from:g} up to {sigma_to:g} on a {self.kind} model")
        r = self.signal(sigma_to) / self.signal(sigma_from) if sigma_from != sigma_to else 1.0
        return r, math.sqrt(max(sigma_to**2 - (r * sigma_from) ** 2, 0.0)) * self.noise_scale

    def renoise(self, x: Tensor, sigma_from: float, sigma_to: float, noise: Tensor, s_noise: float = 1.0) -> Tensor:
        """Take x from level sigma_from up to sigma_to with unit Gaussian `noise` (same shape as x)."""
        r, std = self.renoise_weights(sigma_from, sigma_to)
        return r * x + (std * s_noise) * noise


def find_model_sampling(model: Any) -> Any | None:
    """The live model_sampling object of a denoiser, looked for through its inner_model wrappers, or None."""
    seen = 0
    while model is not None and seen < 16:
        sampling = getattr(model, "model_sampling", None)
        if sampling is not None:
            return sampling
        model, seen = getattr(model, "inner_model", None), seen + 1
    return None
