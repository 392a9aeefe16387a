"""The small space a trajectory lives in: every state of every solver is a combination of its noise and the D's seen.

A k-diffusion solver only ever adds up its start, noise * sigma, and values of D. So for one trajectory all states x,
all secants and the reference lie in span{noise, D_ref, D_j}: some hundred dimensions, whatever the latent's size, and
distances there are distances in the latent, exactly. Latents of more than SKETCH values are first hashed down to that
many (count sketch: Charikar, Chen, Farach-Colton 2002), which keeps inner products to about 1 / sqrt(SKETCH).
"""

from __future__ import annotations

import torch
from torch import Tensor

SKETCH = 2**15  # values a sample; more is hashed down, to bound the memory of the basis
DEPENDENT = 1e-6  # share of a vector outside the span below which it counts as inside (single precision: 1e-5)


class TrajectorySpan:
    """An orthonormal basis per trajectory, grown by blocks, and coefficients in it.

    shape: of one sample. exact: keep the samples themselves as coefficients (basis = identity), for comparison.
    """

    def __init__(self, rows: int, shape: tuple[int, ...], dtype: torch.dtype, *, exact: bool = False, seed: int = 0):
        self.rows, self.exact = rows, exact
        self.values = max(1, int(torch.Size(shape).numel()))
        self.dtype = dtype if dtype == torch.float64 else torch.float32
        self.tolerance = DEPENDENT if dtype == torch.float64 else 10 * DEPENDENT
        self.sketched = self.values > SKETCH and not exact
        if self.sketched:
            generator = torch.Generator().manual_seed(seed)
            self._bucket = torch.randint(SKETCH, (self.values,), generator=generator)
            self._sign = torch.randint(0, 2, (self.values,), generator=generator).to(self.dtype) * 2 - 1
        self.size = SKETCH if self.sketched else self.values
        self._basis = torch.zeros(rows, 0, self.size, dtype=self.dtype)

    @property
    def dimensions(self) -> int:
        """Coefficients a vector has now."""
        return self.size if self.exact else self._basis.shape[1]

    def flat(self, vectors: Tensor) -> Tensor:
        """(count, rows, ...) -> (rows, count, size) on the CPU, sketched where that is needed."""
        flat = vectors.detach().flatten(2).transpose(0, 1).to("cpu", self.dtype)
        if not self.sketched:
            return flat.clone()
        hashed = torch.zeros(*flat.shape[:2], SKETCH, dtype=self.dtype)
        return hashed.index_add_(2, self._bucket, flat * self._sign)

    def grow(self, flat: Tensor) -> None:
        """Add to the basis what of `flat` (rows, count, size) lies outside: block Gram-Schmidt, twice, then QR."""
        if self.exact or not flat.shape[1]:
            return
        length = flat.norm(dim=2).amax(dim=1).clamp_min(1e-30)
        rest = flat
        for _ in range(2):
            rest = rest - (rest @ self._basis.mT) @ self._basis
        rest = torch.where(rest.norm(dim=2, keepdim=True) > self.tolerance * length[:, None, None], rest, 0.0)
        q, r = torch.linalg.qr(rest.mT)
        kept = r.diagonal(dim1=-2, dim2=-1).abs() > self.tolerance * length[:, None]
        new = torch.where(kept[..., None], q.mT, 0.0)[:, kept.any(dim=0)]
        new = new - (new @ self._basis.mT) @ self._basis
        self._basis = torch.cat([self._basis, new], dim=1)

    def coefficients(self, flat: Tensor) -> Tensor:
        """(rows, count, size) -> (rows, count, dimensions) float64."""
        return (flat if self.exact else flat @ self._basis.mT).double()

    def project(self, vectors: Tensor) -> Tensor:
        """Grow by (count, rows, ...) vectors and return their coefficients, (rows, count, dimensions) float64."""
        flat = self.flat(vectors)
        self.grow(flat)
        return self.coefficients(flat)

    def pad(self, coefficients: Tensor) -> Tensor:
        """Coefficients taken before the basis grew, with zeros for the new dimensions."""
        missing = self.dimensions - coefficients.shape[-1]
        return torch.nn.functional.pad(coefficients, (0, missing)) if missing else coefficients
