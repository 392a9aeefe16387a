"""The tiny checkpoints as k-diffusion denoisers, without ComfyUI.

The files are ordinary SD3 checkpoints (the network under `model.diffusion_model.`) that ComfyUI's stock
loader takes. Two scalar keys make them whole there: `first_stage_model.pixel_space_vae` gives a VAE that hands
pixels on, `text_encoders.none` a text encoder that answers every prompt with zeros.

They are evidence for integration, convergence and schedule learning, not for picture quality.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from . import digits
from .mmdit import POOLED, MMDiT
from .sampling import DiscreteEpsSampling, FlowSampling

KINDS = ("flow", "eps")
PREFIX = "model.diffusion_model."
BAKED = ("first_stage_model.pixel_space_vae", "text_encoders.none")


def checkpoint_path(name: str) -> Path:
    """Where the checkpoint of that kind lies. Raises ValueError for an unknown name."""
    if name not in KINDS:
        raise ValueError(f"tiny checkpoint must be one of {', '.join(KINDS)}, not {name!r}")
    return Path(__file__).parent / f"{name}.safetensors"


def pooled_classes(classes: Tensor | None, batch: int, like: Tensor) -> Tensor:
    """The pooled embedding (batch, 2048) that names digits: one-hot in its first ten entries, zeros for None.

    Raises ValueError unless classes is an integer tensor (batch,) of digits 0..9.
    """
    pooled = like.new_zeros(batch, POOLED)
    if classes is None:
        return pooled
    if tuple(classes.shape) != (batch,) or classes.dtype != torch.int64:
        raise ValueError(f"classes must be an int64 tensor ({batch},), not {classes.dtype} {tuple(classes.shape)}")
    if batch and (int(classes.min()) < 0 or int(classes.max()) > 9):
        raise ValueError(f"classes must be digits 0..9, not {classes.tolist()}")
    return pooled.scatter_(1, classes[:, None].to(pooled.device), 1.0)


class TinyDenoiser(nn.Module):
    """A tiny checkpoint behind k-diffusion's convention: denoised = model(x, sigma, classes=...).

    kind: "flow" or "eps". Works under torch.inference_mode and, for gradients through x and sigma, outside.
    """

    LATENT_SHAPE = digits.LATENT_SHAPE

    def __init__(self, kind: str, network: MMDiT) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        super().__init__()
        self.kind = kind
        self.network = network
        self.model_sampling: FlowSampling | DiscreteEpsSampling
        self.model_sampling = FlowSampling() if kind == "flow" else DiscreteEpsSampling()

    def forward(self, x: Tensor, sigma: Tensor, *, classes: Tensor | None = None) -> Tensor:
        """x (B, 16, 8, 8) at levels sigma (B,) -> the prediction of the clean latent, (B, 16, 8, 8).

        classes: the digits asked for, int64 (B,); None leaves the choice to the network.
        Raises ValueError for another shape of x, sigma or classes.
        """
        if x.ndim != 4 or tuple(x.shape[1:]) != self.LATENT_SHAPE:
            raise ValueError(f"x must be (B, 16, 8, 8), not {tuple(x.shape)}")
        if tuple(sigma.shape) != (len(x),):
            raise ValueError(f"sigma must be ({len(x)},), not {tuple(sigma.shape)}")
        net_input = self.model_sampling.calculate_input(sigma, x)
        dtype = self.network.x_embedder.proj.weight.dtype
        pooled = pooled_classes(classes, len(x), net_input.to(dtype))
        output = self.network(net_input.to(dtype), self.model_sampling.timestep(sigma), pooled)
        return self.model_sampling.calculate_denoised(sigma, output.to(x.dtype), x)

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (B, 16, 8, 8) as sampled -> pictures (B, 8, 8) in [0, 1]."""
        return digits.decode(latent)


def load_tiny(name: str, device: str | torch.device = "cpu") -> TinyDenoiser:
    """The committed checkpoint "flow" or "eps" as a denoiser with float32 weights on a device.

    Raises ValueError for an unknown name, FileNotFoundError or ValueError for a missing or damaged file.
    """
    return load_denoiser(checkpoint_path(name), name, device)


def load_denoiser(path: str | os.PathLike[str], kind: str, device: str | torch.device = "cpu") -> TinyDenoiser:
    """Any SD3 checkpoint file of this package's making as a denoiser; errors as `load_tiny`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            state = {
                key.removeprefix(PREFIX): file.get_tensor(key).float()
                for key in file.keys()  # noqa: SIM118  (not a dict)
                if key.startswith(PREFIX)
            }
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from None
    with torch.inference_mode(False):  # weights made under inference mode could never meet autograd
        model = TinyDenoiser(kind, MMDiT.from_state_dict({key: value.clone() for key, value in state.items()}))
        return model.requires_grad_(False).eval().to(device)


def save_checkpoint(network: MMDiT, path: str | os.PathLike[str], metadata: dict[str, str]) -> None:
    """Writes the network as a self-contained SD3 checkpoint in fp16; the file appears whole or not at all."""
    tensors = {PREFIX + key: value.detach().half().contiguous() for key, value in network.state_dict().items()}
    tensors |= {key: torch.ones((), dtype=torch.float16) for key in BAKED}
    part = Path(path).with_suffix(".part")
    try:
        part.write_bytes(save(tensors, metadata=metadata))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
