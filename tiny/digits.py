"""scikit-learn's handwritten digits as SD3 latents, and a classifier that reads them back.

1,797 grey pictures of 8x8 (the test half of UCI's "Optical Recognition of Handwritten Digits"). A picture
is its own latent: channels 0-2 carry the grey value in -1..1, the other 13 channels are zero, and the whole
goes through SD3's latent format (shift 0.0609, scale 1.5305). ComfyUI's pixel-space VAE hands latents on
as they are, so its first three channels are the picture.

scikit-learn is imported only when the digits or the classifier are asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

LATENT_SHAPE = (16, 8, 8)  # channels, height, width
SCALE = 1.5305  # SD3's latent format
SHIFT = 0.0609
GREY = 3  # channels that carry the picture


def process_in(latent: Tensor) -> Tensor:
    """VAE space -> the space the network and the samplers work in (SD3's latent format)."""
    return (latent - SHIFT) * SCALE


def process_out(latent: Tensor) -> Tensor:
    """The inverse of `process_in`."""
    return latent / SCALE + SHIFT


def encode(images: Tensor) -> Tensor:
    """Pictures (B, 8, 8) in [0, 1] -> latents (B, 16, 8, 8) as the network sees them."""
    if images.ndim != 3 or tuple(images.shape[1:]) != LATENT_SHAPE[1:]:
        raise ValueError(f"images must be (B, 8, 8), not {tuple(images.shape)}")
    latent = images.new_zeros(len(images), *LATENT_SHAPE)
    latent[:, :GREY] = (2 * images - 1)[:, None]
    return process_in(latent)


def decode(latent: Tensor) -> Tensor:
    """Latents (B, 16, 8, 8) from a sampler -> pictures (B, 8, 8) in [0, 1]."""
    if latent.ndim != 4 or tuple(latent.shape[1:]) != LATENT_SHAPE:
        raise ValueError(f"latent must be (B, {', '.join(map(str, LATENT_SHAPE))}), not {tuple(latent.shape)}")
    return ((process_out(latent[:, :GREY]) + 1) / 2).clamp(0, 1).mean(1)


@lru_cache(maxsize=1)
def _arrays() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images / 16.0, data.target


def digits() -> tuple[Tensor, Tensor]:
    """All pictures (1797, 8, 8) float32 in [0, 1] and their classes (1797,) int64."""
    images, classes = _arrays()
    return torch.tensor(images, dtype=torch.float32), torch.tensor(classes, dtype=torch.int64)


def non_digits(images: Tensor, classes: Tensor, seed: int = 0) -> Tensor:
    """Pictures (about 1.5 n, 8, 8) that are not digits although they are made of them, from (n, 8, 8).

    Upper and lower halves of two different digits, left and right halves, averages of two, digits under noise,
    and digits with their pixels shuffled.
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randperm(len(images), generator=generator) for _ in range(2))
    differ = classes[first] != classes[second]
    a, b = images[first[differ]], images[second[differ]]
    order = torch.rand(len(a), 64, generator=generator).argsort(1)
    kinds = [
        torch.cat([a[:, :4], b[:, 4:]], 1),
        torch.cat([a[:, :, :4], b[:, :, 4:]], 2),
        (a + b) / 2,
        (a + 0.5 * torch.randn(a.shape, generator=generator)).clamp(0, 1),
        a.flatten(1).gather(1, order).view_as(a),
    ]
    return torch.cat([kind[i::3] for i, kind in enumerate(kinds)])


class DigitClassifier:
    """Two support vector machines (RBF kernel): which digit a picture shows, and whether it shows one.

    images (B, 8, 8) in [0, 1]; classes (B,) of digits. A classifier of ten digits alone is as sure of noise
    as of a digit, so `confidence` asks the second machine, trained on digits against `non_digits`.
    """

    def __init__(self, images: Tensor, classes: Tensor) -> None:
        from sklearn.svm import SVC

        flat, others = self._flat(images), self._flat(non_digits(images, classes))
        # gamma .256 on [0, 1] is the .001 on 0..16 of scikit-learn's own digits example
        self._which = SVC(gamma=0.001 * 256, C=10.0).fit(flat, classes.numpy())
        both = np.concatenate([flat, others])
        self._whether = SVC(gamma=0.001 * 256, C=10.0).fit(both, np.arange(len(both)) < len(flat))

    @staticmethod
    def _flat(images: Tensor) -> Any:
        if images.ndim != 3 or tuple(images.shape[1:]) != LATENT_SHAPE[1:]:
            raise ValueError(f"images must be (B, 8, 8), not {tuple(images.shape)}")
        return images.detach().cpu().double().flatten(1).numpy()

    def predict(self, images: Tensor) -> Tensor:
        """The digit each picture is nearest to, (B,) int64."""
        return torch.from_numpy(self._which.predict(self._flat(images)))

    def confidence(self, images: Tensor) -> Tensor:
        """How much like a digit each picture is, (B,) in [0, 1]; above one half means a digit.

        A score, not a probability: the logistic of twice the margin.
        """
        return torch.from_numpy(self._whether.decision_function(self._flat(images))).mul(2).sigmoid()


@lru_cache(maxsize=1)
def digit_classifier() -> DigitClassifier:
    """The classifier trained on all 1,797 digits, made once in a process (about a second)."""
    return DigitClassifier(*digits())
