"""A quick picture of the schedule being learned, drawn in a few milliseconds with Pillow alone.

The finished picture is matplotlib's (schedules/plot.py); this one is shown while the fit runs, and in its place where
matplotlib is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

# Pixels while drawing; the picture is halved at the end, which smooths the lines.
WIDTH, HEIGHT = 1024, 640
LEFT, RIGHT, TOP, BOTTOM = 124, 32, 128, 68
INK, GREY, FAINT, CURVE, ERROR = "#22262b", "#8b929a", "#dde1e6", "#d55e00", "#0072b2"
TRACE_WIDTH, TRACE_HEIGHT = 300, 150  # of the little error curve, where a falling schedule leaves room


def sketch_curve(
    sigmas: Sequence[float] | None,
    line: str = "",
    errors: Mapping[str, float] | None = None,
    beside: tuple[str, Sequence[float]] | None = None,
    others: int = 2,
    trace: Sequence[float] = (),
    traces: Mapping[str, Sequence[float]] | None = None,
) -> Image.Image:
    """The current sigmas on a log axis over the share of the run, with a line of text above.

    sigmas: highest first; a trailing 0 is drawn as the foot of the axis; None before there are any.
    errors: candidate -> mean end error; the `others` + 1 lowest are written, lowest first.
    beside: name and sigmas of a schedule to compare with, drawn in grey. The foot names each curve in its colour.
    trace: the lowest error since the fit began, drawn as a small curve of its own once it has two values.
    traces: label -> further such curves, drawn beside it from left to right.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    small = small_font(32)
    sizes = (small_font(size) for size in (40, 36, 32))  # a long line is written smaller before it is cut
    font = next((f for f in sizes if draw.textlength(line, font=f) <= WIDTH - 48), small_font(28))
    draw.text((24, 16), _cut(draw, line, font), fill=INK, font=font)
    best = sorted((errors or {}).items(), key=lambda item: item[1])[: others + 1]
    if best:
        words = "   ".join(f"{name} {value:.3g}" for name, value in best)
        draw.text((24, 70), _cut(draw, f"error: {words}", small), fill=GREY, font=small)
    curves = [(colour, _levels(values)) for colour, values in ((GREY, beside and beside[1]), (CURVE, sigmas))]
    curves = [(colour, levels) for colour, levels in curves if sum(s > 0 for s in levels) >= 2]
    if not curves:
        return picture.reduce(2)
    above = [s for _, levels in curves for s in levels if s > 0]
    high, low = math.log(max(above)), math.log(min(above))
    floor = low - 0.12 * max(high - low, 1e-6)
    span = max(high - floor, 1e-6)

    def place(share: float, level: float) -> tuple[float, float]:
        depth = (high - (math.log(level) if level > 0 else floor)) / span
        return LEFT + (WIDTH - LEFT - RIGHT) * share, TOP + (HEIGHT - TOP - BOTTOM) * depth

    for decade in range(math.ceil(floor / math.log(10)), math.floor(high / math.log(10)) + 1):
        y = place(0, 10.0**decade)[1]
        draw.line([(LEFT, y), (WIDTH - RIGHT, y)], fill=FAINT, width=2)
        draw.text((16, y - 18), f"{10.0**decade:g}", fill=GREY, font=small)
    draw.line([(LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], fill=GREY, width=2)
    if any(0.0 in levels for _, levels in curves):
        draw.text((LEFT - 36, HEIGHT - BOTTOM - 26), "0", fill=GREY, font=small)
    names = {GREY: beside[0] if beside else "", CURVE: "best so far"}
    legend = [(colour, names[colour]) for colour, _ in curves]
    x = float(LEFT)
    for colour, words in [(INK, f"sigma over {len(curves[-1][1]) - 1} steps:"), *legend]:
        draw.text((x, HEIGHT - BOTTOM + 18), words, fill=colour, font=small)
        x += draw.textlength(words, font=small) + 32
    for colour, levels in curves:
        points = [place(index / (len(levels) - 1), level) for index, level in enumerate(levels)]
        wide = 6 if colour == CURVE else 3
        draw.line(points, fill=colour, width=wide, joint="curve")
        for x, y in points:
            draw.ellipse([x - wide - 2, y - wide - 2, x + wide + 2, y + wide + 2], fill=colour)
    drawn = 0
    for label, values in {"lowest error": trace, **(traces or {})}.items():
        drawn += _draw_trace(draw, label, values, small, drawn)
    return picture.reduce(2)


def _draw_trace(draw: ImageDraw.ImageDraw, label: str, trace: Sequence[float], font: Any, place: int) -> bool:
    """Something going down, at the bottom, place 0 leftmost, its last value above it; False if it has no two values."""
    values = [float(value) for value in trace if math.isfinite(value)]
    if len(values) < 2:
        return False
    left, bottom = LEFT + 28 + place * (TRACE_WIDTH + 60), HEIGHT - BOTTOM - 24
    top = bottom - TRACE_HEIGHT
    high, low = max(values), min(values)
    points = [
        (left + TRACE_WIDTH * i / (len(values) - 1), bottom - TRACE_HEIGHT * (v - low) / max(high - low, 1e-12))
        for i, v in enumerate(values)
    ]
    draw.text((left, top - 48), f"{label} {values[-1]:.3g}", fill=ERROR, font=font)
    draw.line(points, fill=ERROR, width=4, joint="curve")
    x, y = points[-1]
    draw.ellipse([x - 7, y - 7, x + 7, y + 7], fill=ERROR)
    return True


def _cut(draw: ImageDraw.ImageDraw, text: str, font: Any) -> str:
    """As much of a text as is wide enough for the picture, with "..." where some is missing."""
    kept = text
    while kept and draw.textlength(kept, font=font) > WIDTH - 48:
        kept = kept[:-1]
    return text if kept == text else kept[:-3].rstrip() + "..."


def _levels(values: Sequence[float] | None) -> list[float]:
    return [float(s) for s in values or () if math.isfinite(float(s)) and float(s) >= 0]


def small_font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):  # Pillow before 10.1 or built without FreeType
        return ImageFont.load_default()
