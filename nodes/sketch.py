"""A quick picture of the schedule being learned, drawn in a few milliseconds with Pillow alone.

The finished picture is matplotlib's (schedules/plot.py); this one is shown while the fit runs, and in its
place where matplotlib is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

# Pixels while drawing; the picture is halved at the end, which smooths the lines.
WIDTH, HEIGHT = 1024, 640
LEFT, RIGHT, TOP, BOTTOM = 124, 32, 128, 68
INK, GREY, FAINT, CURVE = "#22262b", "#8b929a", "#dde1e6", "#d55e00"


def sketch_curve(
    sigmas: Sequence[float] | None, line: str = "", errors: Mapping[str, float] | None = None, others: int = 2
) -> Image.Image:
    """The current sigmas on a log axis, a line of text above, and the lowest errors measured so far.

    sigmas: highest first, a trailing 0 is drawn as the foot of the axis; None or too few: only the text.
    errors: candidate -> mean end error; the `others` + 1 lowest are written, lowest first.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    font, small = _font(40), _font(32)
    draw.text((24, 16), line[:52], fill=INK, font=font)
    best = sorted((errors or {}).items(), key=lambda item: item[1])[: others + 1]
    if best:
        words = "   ".join(f"{name} {value:.3g}" for name, value in best)
        draw.text((24, 70), f"error: {words}"[:56], fill=GREY, font=small)
    levels = [float(s) for s in sigmas or () if math.isfinite(float(s)) and float(s) >= 0]
    above = [s for s in levels if s > 0]
    if len(above) < 2:
        return picture.reduce(2)
    high, low = math.log(max(above)), math.log(min(above))
    floor = low - 0.12 * max(high - low, 1e-6)
    span = max(high - floor, 1e-6)

    def place(index: int, level: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * index / max(1, len(levels) - 1)
        share = (high - (math.log(level) if level > 0 else floor)) / span
        return x, TOP + (HEIGHT - TOP - BOTTOM) * share

    for decade in range(math.ceil(floor / math.log(10)), math.floor(high / math.log(10)) + 1):
        y = place(0, 10.0**decade)[1]
        draw.line([(LEFT, y), (WIDTH - RIGHT, y)], fill=FAINT, width=2)
        draw.text((16, y - 18), f"{10.0**decade:g}", fill=GREY, font=small)
    draw.line([(LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], fill=GREY, width=2)
    draw.text((LEFT, HEIGHT - BOTTOM + 18), f"sigma over {len(levels) - 1} steps", fill=GREY, font=small)
    points = [place(index, level) for index, level in enumerate(levels)]
    draw.line(points, fill=CURVE, width=6, joint="curve")
    for x, y in points:
        draw.ellipse([x - 8, y - 8, x + 8, y + 8], fill=CURVE)
    return picture.reduce(2)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):  # Pillow before 10.1 or built without FreeType
        return ImageFont.load_default()
