"""What stands in a node's sockets: workflows from elsewhere may hold a number or a text where a link should be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from restart_art.nodes.sockets import check_optional_sockets, check_sockets
from restart_art.schedules import ArtSchedule

SCHEDULE = ArtSchedule(((2, (1.0, 0.5)),), "euler", "ve", 0.1, 1.0)
SOUND: dict[str, Any] = {
    "model": SimpleNamespace(get_model_object=lambda name: None),
    "vae": SimpleNamespace(decode=lambda samples: samples),
    "positive": [[torch.zeros(1, 1, 1), {}]],
    "negative": [],
    "latent_image": {"samples": torch.zeros(1, 4, 8, 8)},
    "schedule": SCHEDULE,
    "sigmas": torch.linspace(1, 0, 3),
}


def test_what_fits_passes() -> None:
    check_sockets(**SOUND)
    check_optional_sockets(schedule=None, sigmas=None, vae=None, model=SOUND["model"])


@pytest.mark.parametrize("name", sorted(SOUND))
@pytest.mark.parametrize("value", [None, 5, "text", "x" * 10_000, b"x", [1, 2], ["x"], [[1]], {"samples": 3}, object])
def test_anything_else_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*; it must be .*plugged in") as caught:
        check_sockets(**{name: value})
    assert len(str(caught.value)) < 250
    if value is not None:
        with pytest.raises(ValueError, match=f"^{name} is "):
            check_optional_sockets(**{name: value})
