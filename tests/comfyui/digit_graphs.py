"""API-format graphs that draw digits with a tiny checkpoint, and the judge of what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from restart_art.tiny import digit_classifier

PIXELS = 64  # the SD3 empty latent counts 8 pixels a position: 8 x 8 latents
KINDS = ("flow", "eps")
CFG = 2.0  # at 1 about one digit in thirty is ambiguous


def model_nodes(kind: str) -> tuple[dict[str, Any], list[Any]]:
    """Loader nodes and the MODEL link. "eps" is the checkpoint behind stock ModelSamplingDiscrete(eps)."""
    nodes = {"loader": _node("CheckpointLoaderSimple", ckpt_name=f"tiny_{kind}.safetensors")}
    if kind == "flow":
        return nodes, ["loader", 0]
    nodes["eps"] = _node("ModelSamplingDiscrete", model=["loader", 0], sampling="eps", zsnr=False)
    return nodes, ["eps", 0]


def digit_nodes(digit: int | None, batch: int) -> dict[str, Any]:
    """Conditioning for one digit (None: whichever comes) and an empty latent."""
    asked = _node("CLIPTextEncode", clip=["loader", 1], text="")
    return {
        "positive": asked if digit is None else _node("RestARTTest_DigitConditioning", digit=digit),
        "negative": _node("CLIPTextEncode", clip=["loader", 1], text=""),
        "latent": _node("EmptySD3LatentImage", width=PIXELS, height=PIXELS, batch_size=batch),
    }


def saving_nodes(latent: list[Any]) -> dict[str, Any]:
    return {
        "decode": _node("VAEDecode", samples=latent, vae=["loader", 2]),
        "grey": _node("SplitImageWithAlpha", image=["decode", 0]),
        "save": _node("SaveImage", images=["grey", 0], filename_prefix="digits"),
    }


def ksampler_graph(
    kind: str,
    sampler: str,
    scheduler: str = "normal",
    *,
    digit: int = 3,
    batch: int = 4,
    steps: int = 12,
    seed: int = 1,
) -> dict[str, Any]:
    """Pictures of one digit with stock KSampler. Saved by node "save"."""
    nodes, model = model_nodes(kind)
    sample = _node(
        "KSampler", model=model, positive=["positive", 0], negative=["negative", 0],
        latent_image=["latent", 0], sampler_name=sampler, scheduler=scheduler, steps=steps,
        seed=seed, cfg=CFG, denoise=1.0,
    )  # fmt: skip
    return {**nodes, **digit_nodes(digit, batch), "sample": sample, **saving_nodes(["sample", 0])}


def custom_graph(
    kind: str,
    sampler: dict[str, Any],
    sigmas: dict[str, Any],
    *,
    digit: int = 3,
    batch: int = 4,
    seed: int = 1,
) -> dict[str, Any]:
    """Pictures of one digit with SamplerCustom; "MODEL" as an input of the given nodes is filled in."""
    nodes, model = model_nodes(kind)
    for node in (sampler, sigmas):
        node["inputs"] = {k: model if v == "MODEL" else v for k, v in node["inputs"].items()}
    sample = _node(
        "SamplerCustom", model=model, add_noise=True, noise_seed=seed, cfg=CFG, positive=["positive", 0],
        negative=["negative", 0], sampler=["sampler", 0], sigmas=["sigmas", 0], latent_image=["latent", 0],
    )  # fmt: skip
    return {
        **nodes, **digit_nodes(digit, batch), "sampler": sampler, "sigmas": sigmas, "sample": sample,
        **saving_nodes(["sample", 0]),
    }  # fmt: skip


def fit_graph(kind: str, *, digit: int | None = None, steps: str = "8", seed: int = 0, **inputs: Any) -> dict[str, Any]:
    """Fit ART Schedule ("fit") with its curve previewed ("curve") and its texts shown ("report", "text")."""
    nodes, model = model_nodes(kind)
    fit = {
        "model": model, "positive": ["positive", 0], "negative": ["negative", 0],
        "latent_image": ["latent", 0], "cfg": 1.0, "seed": seed, "solver": "euler", "steps": steps, "trajectories": 12,
    }  # fmt: skip
    return {
        **nodes,
        **digit_nodes(digit, 1),
        "fit": _node("RestART_FitARTSchedule", **{**fit, **inputs}),
        "curve": _node("PreviewImage", images=["fit", 2]),
        "report": _node("PreviewAny", source=["fit", 3]),
        "text": _node("PreviewAny", source=["fit", 4]),
    }


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return _node(class_type, **inputs)


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def as_digits(pictures: list[Image.Image]) -> torch.Tensor:
    """Saved pictures, 8 x 8 or enlarged by repeating pixels, as (B, 8, 8) in [0, 1]. AssertionError for a flat one."""
    grey = []
    for picture in pictures:
        assert picture.width == picture.height, f"a picture is {picture.size}"
        assert picture.width % 8 == 0, f"a picture is {picture.size}"
        small = picture.convert("RGB").resize((8, 8), Image.Resampling.NEAREST)
        grey.append(torch.from_numpy(np.asarray(small, dtype=np.float32)).mean(-1))
    images = torch.stack(grey) / 255.0
    assert (images.flatten(1).std(1) > 0.02).all(), "a picture is flat"
    return images


def judge(pictures: list[Image.Image]) -> tuple[list[int], list[float]]:
    """The digit seen in each picture and how sure the classifier is of it."""
    images, classifier = as_digits(pictures), digit_classifier()
    return classifier.predict(images).tolist(), classifier.confidence(images).tolist()
