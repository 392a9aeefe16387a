"""Draws icon.png and banner.png: a grid of noise levels, and the noise going out of a picture along it.

python assets/draw.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
NIGHT, DUSK, EMBER, CREAM = (22, 18, 48), (74, 44, 128), (255, 138, 76), (255, 244, 228)
SUPER = 4  # drawn this many times larger, then scaled down: smooth edges


def karras(steps: int, low: float = 0.03, high: float = 14.6, rho: float = 7.0) -> np.ndarray:
    """Noise levels of Karras et al. 2022, eq. 5, highest first."""
    part = np.linspace(0.0, 1.0, steps)
    return (high ** (1 / rho) + part * (low ** (1 / rho) - high ** (1 / rho))) ** rho


def gradient(width: int, height: int, start: tuple[int, ...], end: tuple[int, ...]) -> Image.Image:
    """A diagonal run from one colour to another."""
    across = np.add.outer(np.linspace(0, 1, height), np.linspace(0, 1, width)) / 2
    colours = np.array(start) + across[..., None] * (np.array(end) - np.array(start))
    return Image.fromarray(colours.round().astype(np.uint8))


def rounded(image: Image.Image, radius: int) -> Image.Image:
    """The image with round corners, transparent outside."""
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius, fill=255)
    image = image.convert("RGBA")
    image.putalpha(mask)
    return image


def dot(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, colour: tuple[int, ...]) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def draw_icon(size: int = 256) -> Image.Image:
    """The way down from noise to picture in steps, and one restart: up again, and down once more."""
    side = size * SUPER
    image = gradient(side, side, (112, 66, 178), (40, 28, 84))
    draw = ImageDraw.Draw(image)
    x = np.linspace(0.15, 0.85, 601)
    y = 0.17 + 0.66 * ((x - 0.15) / 0.7) ** 0.55
    for a, b in zip(x, y, strict=True):
        dot(draw, (a * side, b * side), 0.0175 * side, CREAM)
    for place in range(0, 601, 100):
        dot(draw, (x[place] * side, y[place] * side), 0.047 * side, CREAM)
    box = (0.47 * side, 0.175 * side, 0.83 * side, 0.535 * side)
    draw.arc(box, 160, 75, fill=EMBER, width=round(0.052 * side))
    centre, radius, angle = np.array((0.65, 0.355)), 0.154, np.deg2rad(160.0)
    tip = centre + radius * np.array((np.cos(angle), np.sin(angle)))
    along, out = np.array((-np.sin(angle), np.cos(angle))), np.array((np.cos(angle), np.sin(angle)))
    head = [tip - 0.115 * along, tip + 0.075 * out, tip - 0.075 * out]
    draw.polygon([tuple(point * side) for point in head], fill=EMBER)
    return rounded(image, round(0.19 * side)).resize((size, size), Image.Resampling.LANCZOS)


def landscape(width: int, height: int) -> np.ndarray:
    """A sunset over hills, float in [0, 1]: what the noise goes out of."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    sky, glow = np.array((0.16, 0.12, 0.36)), np.array((1.0, 0.56, 0.32))
    picture = sky + (y**1.4)[..., None] * (glow - sky) * 1.15
    sun = np.clip((0.17 - np.hypot((x - 0.62) * width / height, y - 0.52)) * 40, 0, 1)[..., None]
    picture = picture * (1 - sun) + sun * np.array((1.0, 0.93, 0.72))
    for base, swing, waves, phase, colour in (
        (0.60, 0.07, 2.0, 0.3, (0.42, 0.22, 0.46)),
        (0.71, 0.06, 3.1, 1.9, (0.26, 0.15, 0.38)),
        (0.84, 0.05, 2.4, 4.0, (0.12, 0.08, 0.22)),
    ):
        ridge = base + swing * np.sin(waves * np.pi * x + phase) + 0.3 * swing * np.sin(7.3 * np.pi * x + phase)
        hill = np.clip((y - ridge) * height / 2, 0, 1)[..., None]
        picture = picture * (1 - hill) + hill * np.array(colour)
    return np.clip(picture, 0, 1)


def draw_banner(width: int = 1260, height: int = 540) -> Image.Image:
    """Name and purpose; below, one picture at falling noise levels under the dots of its schedule."""
    image = gradient(width, height, DUSK, NIGHT)
    draw = ImageDraw.Draw(image)
    icon = draw_icon(150)
    image.paste(icon, (60, 52), icon)
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    draw.text((244, 44), "RestART", CREAM, ImageFont.truetype(str(fonts / "DejaVuSans-Bold.ttf"), 84))
    small = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 31)
    draw.text((248, 152), "Samplers and learned schedules for ComfyUI", (222, 208, 240), small)
    count, gap = 6, 18
    side = (width - 120 - (count - 1) * gap) // count
    clean, levels = landscape(side, side), karras(count)
    noise = np.random.default_rng(7).standard_normal((side // 3 + 1, side // 3 + 1, 3))
    noise = noise.repeat(3, axis=0).repeat(3, axis=1)[:side, :side]  # grains that survive a small screen
    for index, sigma in enumerate(levels):
        # As a VE model sees it, scaled back to the range a screen can show.
        seen = 0.5 + (clean - 0.5 + 0.25 * sigma * noise) / np.hypot(1.0, 0.7 * sigma)
        tile = rounded(Image.fromarray((np.clip(seen, 0, 1) * 255).round().astype(np.uint8)), 14)
        left = 60 + index * (side + gap)
        image.paste(tile, (left, 308), tile)
    big = Image.new("RGBA", (width * SUPER, 100 * SUPER), (0, 0, 0, 0))
    pen = ImageDraw.Draw(big)
    heights = (np.log(levels[0]) - np.log(levels)) / (np.log(levels[0]) - np.log(levels[-1]))
    points = [
        ((60 + side / 2 + index * (side + gap)) * SUPER, (14 + 70 * part) * SUPER) for index, part in enumerate(heights)
    ]
    pen.line(points, fill=EMBER, width=5 * SUPER, joint="curve")
    for point in points:
        dot(pen, point, 9 * SUPER, CREAM)
    small_pen = big.resize((width, 100), Image.Resampling.LANCZOS)
    image.paste(small_pen, (0, 206), small_pen)
    return image


if __name__ == "__main__":
    draw_icon().save(HERE / "icon.png", optimize=True)
    draw_banner().save(HERE / "banner.png", optimize=True)
