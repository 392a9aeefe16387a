"""Draws the pictures of the help pages, web/docs/pictures, from real runs on the tiny checkpoints.

python assets/help.py

The nodes' own drawing is used wherever a node has one. save.png is a screenshot of ComfyUI's editor, not made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from restart_art.cli.fitting import fit_checkpoint
from restart_art.cli.running import load_checkpoint, sample_digits, schedules_of, starting_noise
from restart_art.schedules import ArtSchedule, edm_sigmas
from restart_art.schedules.art.compare import Entry, compare, plan
from restart_art.schedules.art.trajectories import Field
from restart_art.schedules.plot import pilot_chart, schedule_curves
from restart_art.schedules.plot_compare import comparison_chart

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "web" / "docs" / "pictures"
SHARED = ROOT / "tests" / "comfyui" / "shared_schedule.json"
WIDTH = 560
SMALL = {"width": WIDTH, "height": 330}
INK, GREY, ORANGE = "#22262b", "#8b929a", "#d55e00"
STEPS = (6, 8, 12)


class Watched:
    """A denoiser that notes the levels of each of its calls."""

    def __init__(self, model: Any) -> None:
        self.inner_model, self.model_sampling = model, model.model_sampling
        self.levels: list[list[float]] = []

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **options: Any) -> torch.Tensor:
        self.levels.append(sorted(set(sigma.tolist())))
        out: torch.Tensor = self.inner_model(x, sigma, **options)
        return out


def save(picture: Image.Image, name: str) -> None:
    picture.quantize(64, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


def calls_picture(sampler: str, options: Mapping[str, Any], title: str, steps: int, plain: int) -> Image.Image:
    """The level of every model call of one run, beside those of `plain` steps of a one-call solver."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    model = load_checkpoint("eps").model
    low, high = (float(value) for value in (model.model_sampling.sigma_min, model.model_sampling.sigma_max))
    watched = Watched(model)
    grid = edm_sigmas(steps, low, high)
    sample_digits(watched, sampler, grid, noise=starting_noise(1, 0), classes=torch.tensor([3]), options=options)
    figure, axes = plt.subplots(figsize=(6.2, 3.4), dpi=100)
    reference = edm_sigmas(plain, low, high)[:-1].tolist()
    axes.plot(reference, color=GREY, linewidth=1, marker="o", markersize=3, label=f"euler, {plain} steps")
    axes.plot([max(levels) for levels in watched.levels], color=ORANGE, linewidth=1, alpha=0.6)
    points = [(call, level) for call, levels in enumerate(watched.levels) for level in levels]
    axes.scatter(*zip(*points, strict=True), color=ORANGE, s=20, zorder=3, label=f"{title}, {steps} steps")
    axes.set_yscale("log")
    axes.set_xlabel("model call, one after another", color=INK)
    axes.set_ylabel("noise level", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.canvas.draw()
    picture = Image.frombytes("RGBA", figure.canvas.get_width_height(), bytes(figure.canvas.buffer_rgba()))
    plt.close(figure)
    return picture.convert("RGB")


def draw_fit() -> None:
    """A fit of the tiny flow checkpoint: what was learned, and what was measured."""
    checkpoint = load_checkpoint("flow")
    stock = schedules_of(checkpoint)
    learned = fit_checkpoint(checkpoint, solver="euler", steps=STEPS, trajectories=24, seed=0, method="refined")
    curves = {name: stock[name](12).tolist() for name in ("simple", "normal", "karras")}
    curves["ART (learned)"] = learned.sigmas(12).tolist()
    above = schedule_curves(curves, title="euler, 12 steps: what was learned", **SMALL)
    below = pilot_chart(learned.report, WIDTH, 330)
    sheet = Image.new("RGB", (WIDTH, above.height + below.height), "white")
    sheet.paste(above, (0, 0))
    sheet.paste(below, (0, above.height))
    save(sheet, "fit")


def draw_compare() -> None:
    """What Compare Schedules draws, on the tiny eps checkpoint with the schedule of "use a shared schedule"."""
    checkpoint = load_checkpoint("eps")
    stock, (low, high) = schedules_of(checkpoint), checkpoint.bounds
    learned = ArtSchedule.from_text(SHARED.read_text(encoding="utf-8"))
    makers = {name: stock[name] for name in ("simple", "karras", "exponential")}
    makers["ART schedule"] = lambda steps: learned.sigmas_for(steps, 1.0, low, high)
    entries = [Entry("euler", name, make) for name, make in makers.items()]
    field = Field(checkpoint.model, starting_noise(4, 0), {"classes": torch.arange(4)}, lambda _: None)
    with torch.inference_mode():
        save(comparison_chart(compare(field, range(4), plan(entries, (8, 12, 20)), low, high), 720), "compare")


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    # Karras levels; Restart's default restart and the defaults of the other two, at equal rounds where it can be.
    save(calls_picture("restart", {"solver": "euler"}, "restart, solver euler", 18, 22), "restart")
    save(calls_picture("randomized_midpoint", {}, "randomized midpoint", 8, 15), "randomized_midpoint")
    save(calls_picture("parallel_midpoint", {}, "parallel midpoint", 12, 13), "parallel_midpoint")
    low, high = load_checkpoint("eps").bounds
    rhos = {f"rho {rho:g}": edm_sigmas(12, low, high, rho).tolist() for rho in (1.0, 3.0, 7.0)}
    save(schedule_curves(rhos, title="EDM Scheduler, 12 steps", **SMALL), "edm")
    learned = ArtSchedule.from_text(SHARED.read_text(encoding="utf-8"))
    lines = {f"ART, {steps} steps": learned.sigmas_for(steps, 1.0, low, high).tolist() for steps in (6, 12, 24)}
    lines["karras, 12 steps"] = edm_sigmas(12, low, high).tolist()
    save(schedule_curves(lines, title="one schedule, learned at 12 steps", **SMALL), "art")
    stock = schedules_of(load_checkpoint("eps"))
    lines = {name: stock[name](12).tolist() for name in ("karras", "simple", "exponential")}
    lines["ART"] = learned.sigmas_for(12, 1.0, low, high).tolist()
    save(schedule_curves(lines, width=640, height=400), "plot")
    draw_compare()
    draw_fit()


if __name__ == "__main__":
    main()
