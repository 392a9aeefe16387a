"""Draws the thumbnails of the shipped workflows from what their tiny twins do on a real ComfyUI."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from workflow_recipes import LEARN, SHARED, TINY_EPS
from workflow_twins import TwinRun, put_photo, run_twin

from restart_art.schedules import ArtSchedule, edm_sigmas

from comfy_server import ComfyServer, digit_server
from locate import HOW_TO_INSTALL, find_checkout

SIZE = 512, 384
LARGEST = 60_000  # bytes
RELATED = {"RestART_FitARTSchedule", "RestART_ARTScheduler"}  # shown beside a stock schedule
INK, GREY, BLUE, ORANGE = "#22262b", "#8b929a", "#0072b2", "#d55e00"


@contextmanager
def running() -> Iterator[ComfyServer]:
    """A ComfyUI with the pack, the digit pack and the tiny checkpoints. SystemExit where there is none."""
    checkout = find_checkout()
    if checkout is None:
        raise SystemExit(HOW_TO_INSTALL)
    with (
        tempfile.TemporaryDirectory(prefix="restart-art-workflows-") as folder,
        digit_server(checkout, Path(folder)) as server,
    ):
        put_photo(server)
        yield server


def learn_shared() -> None:
    """Learn the text that "use a shared schedule" ships, with the twin of LEARN."""
    with running() as server:
        changes = {"RestART_FitARTSchedule": {"trajectories": 24}}
        fit = run_twin(server, server.object_info(), LEARN, changes, shown={"RestART_FitARTSchedule": 4})
    SHARED.write_text(fit.shown["RestART_FitARTSchedule"] + "\n", encoding="utf-8")


def draw_all(paths: dict[str, Path]) -> None:
    """A JPG for every workflow name."""
    with running() as server:
        info = server.object_info()
        painted = Image.open(server.base / "input" / TINY_EPS.photo)
        for name, path in paths.items():
            run = run_twin(server, info, name)
            photo = painted if "SetLatentNoiseMask" in run.types() else painted.convert("RGB")
            path.write_bytes(_jpeg(draw(run, photo if "LoadImage" in run.types() else None)))


def draw(run: TwinRun, photo: Image.Image | None) -> Image.Image:
    """Above what came out (after what went in), below the level of every model call."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100)
    _pictures(figure, run, photo)
    axes = figure.add_axes((0.15, 0.14, 0.81, 0.38))
    if RELATED & run.types():
        (calls,) = run.calls.values()
        learned = ArtSchedule.from_text(SHARED.read_text(encoding="utf-8"))
        karras = edm_sigmas(len(calls), learned.sigma_min, learned.sigma_max)
        axes.plot(karras[:-1].tolist(), color=GREY, marker="o", markersize=3, linewidth=1)
        axes.annotate(
            "karras", (len(calls) - 3, float(karras[-4])), (-8, -8), textcoords="offset points", color=GREY,
            fontsize=11, ha="right", va="center",
        )  # fmt: skip
    for place, calls in enumerate(run.calls.values()):
        colour = (BLUE if len(run.calls) > 1 else ORANGE, ORANGE)[place]
        axes.plot([max(levels) for levels in calls], color=colour, linewidth=1.2, alpha=0.6)
        dots = [(i, level) for i, levels in enumerate(calls) for level in levels]
        axes.scatter(*zip(*dots, strict=True), color=colour, s=22, zorder=3)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.set_xlabel("model call", color=INK, fontsize=12, labelpad=1)
    axes.set_ylabel("noise level", color=INK, fontsize=12, labelpad=1)
    axes.tick_params(colors=GREY, labelsize=9, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    canvas = io.BytesIO()
    figure.savefig(canvas, format="png")
    plt.close(figure)
    return Image.open(canvas).convert("RGB")


def _pictures(figure: Any, run: TwinRun, photo: Image.Image | None) -> None:
    rows = list(run.pictures.items())
    tall = 0.38 / len(rows)
    wide = tall * SIZE[1] / SIZE[0]
    for row, (title, pictures) in enumerate(rows):
        shown = [*([] if photo is None else [photo]), *pictures][: 3 if len(rows) == 1 else 4]
        for column, picture in enumerate(shown):
            left = 0.55 + (column - len(shown) / 2) * (wide + 0.02)
            axes = figure.add_axes((left, 0.97 - (row + 1) * (tall + 0.02), wide, tall))
            axes.imshow(picture, interpolation="nearest")
            axes.set_facecolor(ORANGE)  # shines through where the mask is painted
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0 and len(rows) > 1:
                colour = (BLUE, ORANGE)[row]
                axes.set_ylabel(title, rotation=0, ha="right", va="center", color=colour, fontsize=13, labelpad=8)


def _jpeg(picture: Image.Image) -> bytes:
    """At the best quality that stays under LARGEST."""
    for quality in (92, 85, 75, 60):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if len(file.getvalue()) <= LARGEST:
            break
    return file.getvalue()
