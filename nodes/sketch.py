"""A quick picture of the schedule being learned, drawn in a few milliseconds with Pillow alone.

The finished picture is matplotlib's (schedules/plot.py); this one is shown while the fit runs, and in its
place where matplotlib is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 512, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 46, 30
INK, GREY, FAINT, CURVE = "#22262b", "#8b929a", "#dde1e6", "#d55e00"


def sketch_curve(
    sigmas: Sequence[float] | None, line: str = "", errors: Mapping[str, float] | None = None, others: int = 3
) -> Image.Image:
    """The current sigmas on a log axis, a line of text above, and the lowest errors measured so far.

    sigmas: highest first, a trailing 0 is drawn as the foot of the axis; None or too few: only the text.
    errors: candidate -> mean end error; the `others` + 1 lowest are written, lowest first.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    font, small = _font(14), _font(12)
    draw.text((LEFT, 8), line[:70], fill=INK, font=font)
    best = sorted((errors or {}).items(), key=lambda item: item[1])[: others + 1]
    draw.text((LEFT, 26), "   ".join(f"{name} {value:.3g}" for name, value in best)[:76], fill=GREY, font=small)
    levels = [float(s) for s in sigmas or () if math.isfinite(float(s)) and float(s) >= 0]
    above = [s for s in levels if s > 0]
    if len(above) < 2:
        return picture
    high, low = math.log(max(above)), math.log(min(above))
    floor = low - 0.12 * max(high - low, 1e-6)
    span = max(high - floor, 1e-6)

    def place(index: int, level: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * index / max(1, len(levels) - 1)
        share = (high - (math.log(level) if level > 0 else floor)) / span
        return x, TOP + (HEIGHT - TOP - BOTTOM) * share

    for decade in range(math.ceil(floor / math.log(10)), math.floor(high / math.log(10)) + 1):
        y = place(0, 10.0**decade)[1]
        draw.line([(LEFT, y), (WIDTH - RIGHT, y)], fill=FAINT)
        draw.text((8, y - 7), f"{10.0**decade:g}", fill=GREY, font=small)
    draw.line([(LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], fill=GREY)
    draw.text((LEFT, HEIGHT - BOTTOM + 8), f"sigma over {len(levels) - 1} steps", fill=GREY, font=small)
    points = [place(index, level) for index, level in enumerate(levels)]
    draw.line(points, fill=CURVE, width=3, joint="curve")
    for x, y in points:
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=CURVE)
    return picture


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):  # Pillow before 10.1 or built without FreeType
        return ImageFont.load_default()
