"""Part (f): a model trained on the spot on glyphs of free fonts: Frechet distance by schedule, sampler and calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpu_glyph_data import CHARACTERS, find_fonts, glyphs, prompts, to_latents, to_pictures
from gpu_glyph_nets import Classifier, frechet, train_classifier, train_denoiser
from gpu_live import Live
from gpu_part_fit import fit
from gpu_report import Result, Table
from gpu_samplers import OPTIONS, Grid, grid_for
from gpu_specs import GLYPH, SAMPLERS

HEADER = ["schedule", "sampler", "calls", "steps", "Fréchet distance", "characters told right"]


@dataclass(frozen=True)
class Studio:
    """The trained model and what its pictures are measured by. real: features of pictures it was not trained on."""

    live: Live
    patcher: Any
    classifier: Classifier
    real: Tensor
    floor: float
    text: list[str]


def open_studio(live: Live) -> Studio:
    """Render, train the denoiser and the classifier."""
    sizes, device, fonts = live.size.glyphs, live.device, find_fonts()
    pictures, classes = (t.to(device) for t in glyphs(sizes.pixels, sizes.renderings, live.seed, fonts))
    patcher = live.build(GLYPH, steady=False)
    sampling = live.sampling(patcher)
    losses = train_denoiser(
        patcher.model.diffusion_model, sampling.sigmas.to(device), to_latents(pictures), classes, live.width(GLYPH),
        steps=sizes.train_steps, batch=sizes.train_batch, seed=live.seed,
    )  # fmt: skip
    classifier = train_classifier(pictures, classes, steps=sizes.classifier_steps, seed=live.seed)
    needed = -(-2 * sizes.images // len(CHARACTERS))
    fresh, labels = (t.to(device) for t in glyphs(sizes.pixels, needed, live.seed + 1, fonts))
    halves = torch.randperm(len(fresh), generator=torch.Generator().manual_seed(live.seed)).to(device)
    features = seen_by(classifier, fresh)[halves]
    right = float((torch.cat([classifier(p) for p in fresh.split(512)]).argmax(1) == labels).float().mean())
    middle = len(features) // 2
    last = losses[-max(1, len(losses) // 20) :]
    text = [
        f"{len(CHARACTERS)} characters in {len(fonts)} free fonts ({', '.join(f.stem for f in fonts[:6])} ...), "
        f"{sizes.pixels} x {sizes.pixels} pixels, {len(pictures)} pictures; {sizes.train_steps} steps of "
        f"{sizes.train_batch}, loss {losses[0]:.3f} at first and {sum(last) / len(last):.3f} at last; the classifier "
        f"tells {100 * right:.1f} % of fresh pictures right. Trained in this run, on this data only.",
    ]
    return Studio(live, patcher, classifier, features[:middle], frechet(features[:middle], features[middle:]), text)


def seen_by(classifier: Classifier, pictures: Tensor) -> Tensor:
    return torch.cat([classifier.features(part) for part in pictures.split(512)])


def draw(studio: Studio, name: str, sigmas: Tensor) -> tuple[Tensor, Tensor]:
    """(latents, classes): all characters alike, in batches, each picture prompted with its own."""
    live, sizes = studio.live, studio.live.size.glyphs
    side = sizes.pixels // 2
    latent_format = studio.patcher.model.latent_format
    sampler = live.samplers.ksampler(name, dict(OPTIONS.get(name, {})))
    found, classes = [], torch.arange(sizes.images) % len(CHARACTERS)
    for number, labels in enumerate(classes.split(sizes.batch)):
        condition = [[prompts(labels, live.width(GLYPH)), {}]]
        guider = live.host.cfg_guider(studio.patcher, condition, condition, 1.0)
        shape = (len(labels), 4, side, side)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(1000 * live.seed + number))
        with torch.inference_mode():
            end = guider.sample(noise, torch.zeros(shape), sampler, sigmas, disable_pbar=True, seed=live.seed + number)
        found.append(latent_format.process_in(end).to(live.device, torch.float32))
    return torch.cat(found), classes.to(live.device)


def schedules(studio: Studio) -> dict[str, Grid]:
    """ComfyUI's by name, and one that was learned for Euler on this model."""
    live = studio.live
    found: dict[str, Grid] = {}
    for name in live.size.glyphs.schedules:
        found[name] = learned(studio) if name == "learned" else _stock(live, studio.patcher, name)
    return found


def _stock(live: Live, patcher: Any, name: str) -> Grid:
    return lambda steps: live.sigmas(patcher, name, steps)


def learned(studio: Studio) -> Grid:
    live, side = studio.live, studio.live.size.glyphs.pixels // 2
    condition = [[prompts(torch.tensor([10]), live.width(GLYPH)), {}]]
    guider = live.host.cfg_guider(studio.patcher, condition, condition, 1.0)
    schedule = fit(live, studio.patcher, guider, (1, 4, side, side), "direct").schedule
    grid: Callable[[int], Tensor] = schedule.sigmas
    return grid


def run(live: Live, models: list[str]) -> Result:
    studio = open_studio(live)
    sampling, rows, points = live.sampling(studio.patcher), [], {}
    for schedule, grid in schedules(studio).items():
        for name in SAMPLERS:
            for calls in live.size.glyphs.calls:
                sigmas = grid_for(live, sampling, name, grid, calls)
                if sigmas is None:
                    rows.append([schedule, name, str(calls), "none fits", "", ""])
                    continue
                latents, classes = draw(studio, name, sigmas)
                pictures = to_pictures(latents).clamp(-1, 1)
                distance = frechet(seen_by(studio.classifier, pictures), studio.real)
                said = torch.cat([studio.classifier(p) for p in pictures.split(512)]).argmax(1)
                right = float((said == classes).float().mean())
                rows.append([schedule, name, str(calls), str(len(sigmas) - 1), f"{distance:.3f}", f"{right:.3f}"])
                points.setdefault(f"{schedule}, {name}", []).append([calls, distance])
    live.release()
    text = [
        *studio.text,
        f"Fréchet distance of the classifier's features ({live.size.glyphs.images} pictures each) to those of fresh "
        f"real pictures; real pictures among themselves: {studio.floor:.3f}. It is like FID in kind, not in scale. "
        'The schedule "learned" was fitted for Euler on this model (direct). Parallel midpoint\'s calls hold four '
        "pictures each.",
    ]
    return Result([Table("(f) Glyphs: distance to real pictures", HEADER, rows, text, {"distance": points})], [])
