"""Trains a tiny checkpoint: `python -m restart_art.tiny.train flow|eps`, minutes on one core.

An SD3 network of depth 2 (1.88 M weights) learns scikit-learn's 1,797 digits. Flow: the velocity n - x0 at
sigma drawn as SD3's shifted uniform. Eps: the noise n at a uniform timestep 0..999, its squared error times
(1 + sigma)^2, which is what the flow loss amounts to. Both: AdamW, a running average of the weights (which
is what is saved), and the class left out in one picture of five so that the same network also samples
without being told a digit.

One seed gives one file, bit for bit, on the same kind of processor with the same torch.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from . import digits
from .checkpoint import KINDS, checkpoint_path, pooled_classes, save_checkpoint
from .mmdit import MMDiT
from .sampling import DiscreteEpsSampling, FlowSampling

DEPTH = 2
BATCH = 64
STEPS = 2400
PEAK_RATE = 8e-3
EMA = 0.995
UNNAMED = 0.2  # share of training pictures whose class is withheld


@dataclass(frozen=True)
class Trained:
    """network: the averaged weights. losses: the training loss of every step. seconds: wall time."""

    network: MMDiT
    losses: list[float]
    seconds: float


def initialise(network: MMDiT) -> None:
    """Starts every block as the identity and the output at zero (adaLN-Zero, Peebles & Xie 2023).

    Weights that no digit ever reaches (context, pooled entries above 9) are zero, and stay so.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for name, parameter in network.named_parameters():
        if "adaLN_modulation" in name or name.startswith(("final_layer.linear", "context_embedder.weight")):
            nn.init.zeros_(parameter)
    nn.init.xavier_uniform_(network.x_embedder.proj.weight.data.view(network.hidden, -1))
    nn.init.constant_(network.x_embedder.get_parameter("proj.bias"), 0.0)
    nn.init.normal_(network.context_embedder.bias, std=0.02)
    first = network.y_embedder.get_parameter("mlp.0.weight")
    nn.init.zeros_(first)
    nn.init.normal_(first[:, :10])


def stratified(count: int) -> Tensor:
    """(count,) numbers in [0, 1), one from each of count equal parts: less noise in the loss than free ones."""
    return (torch.arange(count) + torch.rand(count)) / count


def flow_loss(network: MMDiT, latent: Tensor, pooled: Tensor) -> Tensor:
    """Mean squared error of the velocity at levels uniform in the sampler's own (shifted) time."""
    sampling, noise = FlowSampling(), torch.randn_like(latent)
    sigma = sampling.sigma(1000 * stratified(len(latent)))
    velocity = network(sampling.noise_scaling(sigma, noise, latent), sampling.timestep(sigma), pooled)
    return (velocity - (noise - latent)).square().mean()


def eps_loss(network: MMDiT, latent: Tensor, pooled: Tensor) -> Tensor:
    """Mean squared error of the noise at uniform discrete timesteps, weighted by (1 + sigma)^2.

    That is the error of the clean picture over (sigma / (1 + sigma))^2, the same weight as in `flow_loss`;
    unweighted, the noisy levels that decide which digit appears would hardly count.
    """
    sampling, noise = DiscreteEpsSampling(), torch.randn_like(latent)
    timestep = (len(sampling.sigmas) * stratified(len(latent))).long().clamp(max=len(sampling.sigmas) - 1)
    sigma = sampling.sigmas[timestep]
    noised = sampling.calculate_input(sigma, sampling.noise_scaling(sigma, noise, latent))
    error = (network(noised, timestep, pooled) - noise).square().mean((1, 2, 3))
    return (error * (1 + sigma) ** 2).mean()


LOSSES = {"flow": flow_loss, "eps": eps_loss}


def rate_at(step: int, steps: int) -> float:
    """Learning rate: a linear warm-up over the first 5 %, then half a cosine down to 2 % of the peak."""
    warm = max(1, steps // 20)
    if step < warm:
        return PEAK_RATE * (step + 1) / warm
    return PEAK_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


Report = Callable[[int, float], None]


def train(kind: str, steps: int = STEPS, seed: int = 0, report: Report | None = None) -> Trained:
    """Trains one network from scratch on one thread; torch's own random state is left as it was.

    report(step, loss) is called after every step. Raises ValueError for an unknown kind or steps < 1.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(seed)
            return _train(kind, steps, report)
    finally:
        torch.set_num_threads(threads)


def _train(kind: str, steps: int, report: Report | None) -> Trained:
    start = time.perf_counter()
    images, classes = digits.digits()
    latents = digits.encode(images)
    network, average = MMDiT(DEPTH), MMDiT(DEPTH)
    initialise(network)
    average.load_state_dict(network.state_dict())
    average.requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), fused=True)
    losses = []
    for step in range(steps):
        pick = torch.randint(len(latents), (BATCH,))
        named = (torch.rand(BATCH) >= UNNAMED).float()
        pooled = pooled_classes(classes[pick], BATCH, latents) * named[:, None]
        loss = LOSSES[kind](network, latents[pick], pooled)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps)
        optimizer.step()
        decay = min(EMA, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        losses.append(float(loss.detach()))
        if report is not None:
            report(step, losses[-1])
    return Trained(average, losses, time.perf_counter() - start)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m restart_art.tiny.train", description="Train a tiny digit checkpoint (one core, minutes)."
    )
    parser.add_argument("kind", choices=KINDS, help="flow: SD3's rectified flow; eps: noise prediction")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps (default {STEPS})")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    parser.add_argument("--out", type=Path, help="file to write (default: the package's own checkpoint)")
    args = parser.parse_args(argv)
    if args.steps < 1:
        parser.error(f"--steps must be at least 1, not {args.steps}")
    recent: list[float] = []

    def report(step: int, loss: float) -> None:
        recent.append(loss)
        if len(recent) == 100 or step + 1 == args.steps:
            print(f"step {step + 1:5d}  loss {sum(recent) / len(recent):.4f}", flush=True)
            recent.clear()

    trained = train(args.kind, args.steps, args.seed, report)
    out = args.out or checkpoint_path(args.kind)
    command = f"python -m restart_art.tiny.train {args.kind} --steps {args.steps} --seed {args.seed}"
    metadata = {
        "command": command,
        "seed": str(args.seed),
        "kind": args.kind,
        "torch": torch.__version__.split("+")[0],
        "data": "scikit-learn load_digits",
    }
    save_checkpoint(trained.network, out, metadata)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, trained in {trained.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
