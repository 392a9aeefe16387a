"""Pictures of a comparison: errors against model calls, and the pictures it ended with side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from .art.compare import Comparison, by_pair
from .plot import (
    FAINT,
    INCHES,
    INK,
    MARKERS,
    assign_colours,
    is_learned,
    log_ticks,
    new_figure,
    plain_log_labels,
    plain_text,
    render,
    style_axes,
)

LINES = ("-", "--", ":", "-.")
NAMED = 6  # most ticks on the axis of model calls


def comparison_chart(comparison: Comparison, width: int = 960) -> Image.Image:
    """Mean end error against model calls, one line a solver and schedule; ``width`` pixels wide.

    A colour is a schedule and a dash pattern a solver; the best at each step count is ringed. With one step count
    there are no lines to draw: bars, best first.
    """
    lines = by_pair(comparison)
    colours = assign_colours(name for _, name in lines)
    inches = 1.5 * INCHES
    if len(comparison.steps) == 1:
        return _bars(comparison, colours, inches, width)
    figure = new_figure(max(0.56 * inches, 0.19 * len(lines) + 0.5), inches)
    axes = figure.subplots()
    style_axes(axes)
    solvers, names = comparison.solvers, list(colours)
    for (solver, name), runs in lines.items():
        ordered = sorted((run for run in runs if math.isfinite(run.mean)), key=lambda run: run.calls)
        axes.plot(
            [run.calls for run in ordered],
            [run.mean for run in ordered],
            color=colours[name],
            linestyle=LINES[solvers.index(solver) % len(LINES)],
            linewidth=2.2 if is_learned(name) else 1.3,
            marker=MARKERS[names.index(name) % len(MARKERS)],
            markersize=4.6 if is_learned(name) else 3.6,
            label=plain_text(_label(comparison, solver, name)),
            zorder=3 if is_learned(name) else 2,
        )
    best = [run for steps in comparison.steps if math.isfinite((run := comparison.best(steps)).mean)]
    axes.scatter(
        [run.calls for run in best], [run.mean for run in best], s=110, facecolors="none", edgecolors=INK,
        linewidths=1.3, zorder=4, label="least error",
    )  # fmt: skip
    log_ticks(axes, "x", _spread(sorted({run.calls for run in comparison.runs})))
    axes.set_yscale("log")
    plain_log_labels(axes)
    axes.set_xlabel("model calls", color=INK, fontsize=9.5)
    axes.set_ylabel("mean end error (lower is better)", color=INK, fontsize=9.5)
    legend = axes.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5, frameon=False, labelspacing=0.45, handlelength=3.2
    )
    for text in legend.get_texts():
        text.set_color(INK)
    return render(figure, width)


def _bars(comparison: Comparison, colours: Mapping[str, str], inches: float, width: int) -> Image.Image:
    (steps,) = comparison.steps
    ranked = [run for run in comparison.ranked(steps) if math.isfinite(run.mean)]
    figure = new_figure(max(2.0, 0.26 * len(ranked) + 0.9), inches)
    axes = figure.subplots()
    style_axes(axes)
    axes.grid(False, axis="y")
    places = range(len(ranked))
    bars = axes.barh(places, [run.mean for run in ranked], color=[colours[run.name] for run in ranked], height=0.7)
    axes.bar_label(bars, [f"{run.mean:.3g}  ({run.calls} calls)" for run in ranked], padding=4, fontsize=8.5, color=INK)
    axes.set_yticks(places, [plain_text(_label(comparison, run.solver, run.name)) for run in ranked])
    axes.invert_yaxis()
    axes.margins(x=0.26)
    axes.set_xlabel("mean end error (lower is better)", color=INK, fontsize=9.5)
    axes.set_title(f"{steps} steps", color=INK, fontsize=10.5, loc="left", fontweight="bold")
    return render(figure, width)


def _label(comparison: Comparison, solver: str, name: str) -> str:
    return f"{solver}, {name}" if len(comparison.solvers) > 1 else name


def _spread(values: list[int]) -> list[int]:
    """Some of the values, far enough apart on a logarithmic axis to be written."""
    apart = (values[-1] / values[0]) ** (1 / NAMED) * 0.999
    kept = values[:1]
    for value in values[1:]:
        if value >= kept[-1] * apart:
            kept.append(value)
    return kept


def picture_grid(
    comparison: Comparison, pictures: Sequence[Image.Image | None], exact: Image.Image, cell: int = 256
) -> Image.Image:
    """The pictures of the first noise: one row a solver and schedule, one column a step count, the exact one last.

    pictures: one for each of ``comparison.runs``, in that order; None leaves a grey field. cell: pixels of a picture's
    longer side; smaller ones are enlarged by repeating pixels. Each has its error written below.
    """
    rows = list(dict.fromkeys((run.solver, run.name) for run in comparison.runs))
    columns = comparison.steps
    wide, high = _fit(exact.size, cell)
    font, gap = ImageFont.load_default(size=max(12, cell // 16)), max(6, cell // 32)
    line = int(1.5 * max(12, cell // 16))
    labels = [_label(comparison, *row) for row in rows]
    left = 2 * gap + max(int(font.getlength(label)) for label in labels)
    size = (left + (len(columns) + 1) * (wide + gap), line + gap + len(rows) * (high + line + gap))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for k, title in enumerate([*(f"{steps} steps" for steps in columns), "exact"]):
        draw.text((left + k * (wide + gap), gap), title, fill=INK, font=font)
    for r, label in enumerate(labels):
        top = line + gap + r * (high + line + gap)
        draw.text((gap, top + high // 2 - line // 2), label, fill=INK, font=font)
        sheet.paste(_resized(exact, (wide, high)), (left + len(columns) * (wide + gap), top))
    for run, picture in zip(comparison.runs, pictures, strict=True):
        x = left + columns.index(run.steps) * (wide + gap)
        y = line + gap + rows.index((run.solver, run.name)) * (high + line + gap)
        shown = Image.new("RGB", (wide, high), FAINT) if picture is None else _resized(picture, (wide, high))
        sheet.paste(shown, (x, y))
        mark = " *" if run is comparison.best(run.steps) else ""
        draw.text((x, y + high + 2), f"{run.errors[0]:.3g}{mark}", fill=INK, font=font)
    return sheet


def _fit(size: tuple[int, int], cell: int) -> tuple[int, int]:
    scale = cell / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    smaller = picture.width > size[0]
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST)
