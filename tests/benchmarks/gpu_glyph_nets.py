"""Training on glyphs: ComfyUI's UNet as an epsilon model, and a classifier whose features measure pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gpu_glyph_data import CHARACTERS, prompts

FEATURES = 64
DECAY = 0.999  # of the averaged weights that are drawn from


def autocast(device: str) -> Any:
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def train_denoiser(
    network: Any,
    sigmas: Tensor,
    latents: Tensor,
    classes: Tensor,
    width: int,
    *,
    steps: int,
    batch: int,
    seed: int,
    rate: float = 3e-4,
) -> list[float]:
    """Train in place on E|network(x / sqrt(1 + s^2), t) - noise|^2, t uniform on the table of sigmas; the losses.

    The averaged weights of the end are left in the network.
    """
    device = latents.device
    generator = torch.Generator(device).manual_seed(seed)
    network.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / warm) * (1 - i / steps))
    average = [p.detach().clone() for p in network.parameters()]
    losses = []
    for step in range(steps):
        rows = torch.randint(len(latents), (batch,), generator=generator, device=device)
        times = torch.randint(len(sigmas), (batch,), generator=generator, device=device)
        level = sigmas[times].reshape(-1, 1, 1, 1)
        clean = latents[rows]
        noise = torch.randn(clean.shape, generator=generator, device=device)
        with autocast(device.type):
            found = network((clean + level * noise) / (1 + level**2).sqrt(), times.float(),
                            context=prompts(classes[rows], width))  # fmt: skip
        loss = (found.float() - noise).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        keep = min(DECAY, step / (step + 10))
        torch._foreach_lerp_(average, [p.detach() for p in network.parameters()], 1 - keep)
        losses.append(loss.detach())
    with torch.no_grad():
        for value, mean in zip(network.parameters(), average, strict=True):
            value.copy_(mean)
    network.requires_grad_(False).eval()
    return torch.stack(losses).tolist()


class Classifier(nn.Module):
    """Says which character; `features` are what it says it by."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(512, FEATURES), nn.SiLU())
        self.head = nn.Linear(FEATURES, len(CHARACTERS))

    def features(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.body(pictures)
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(pictures))
        return found


def train_classifier(pictures: Tensor, classes: Tensor, *, steps: int, seed: int) -> Classifier:
    """On pictures with a little noise, so that the features do not hang on single pixels."""
    device = pictures.device
    torch.manual_seed(seed)
    network = Classifier().to(device)
    generator = torch.Generator(device).manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    for _ in range(steps):
        rows = torch.randint(len(pictures), (256,), generator=generator, device=device)
        noisy = pictures[rows] + 0.1 * torch.randn(pictures[rows].shape, generator=generator, device=device)
        loss = nn.functional.cross_entropy(network(noisy), classes[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return network.requires_grad_(False).eval()


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance of the Gaussians with the means and covariances of (n, features) and (m, features)."""
    a, b = a.double().cpu(), b.double().cpu()
    first, second = torch.cov(a.T), torch.cov(b.T)
    # tr sqrt(AB): AB of two covariances has real eigenvalues >= 0.
    cross = torch.linalg.eigvals(first @ second).real.clamp_min(0).sqrt().sum()
    mean = (a.mean(0) - b.mean(0)).square().sum()
    return float(mean + first.trace() + second.trace() - 2 * cross)
