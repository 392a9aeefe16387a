"""Pictures of schedules: the sigma curves, and the error table of a fit.

Both functions return a ``PIL.Image`` in RGB on white, drawn with matplotlib's object API (no pyplot, no
global state, so they may run in any thread). matplotlib is imported when the first picture is drawn.
The colours are Okabe and Ito's eight (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

INK = "#22262b"
FAINT = "#d9dde2"
GREY = "#8b929a"
# Warm colours are kept for what was learned. Well-known schedules always look the same; others take the rest.
LEARNED = ("#d55e00", "#cc79a7", "#882255")
KNOWN = {
    "karras": "#0072b2",
    "edm": "#009e73",
    "exponential": "#56b4e9",
    "simple": "#b58900",
    "ddim_uniform": "#5a5f66",
    "normal": "#117733",
}
UNCHOSEN = "#f0b58c"
OTHERS = ("#88a0b8", "#332288", "#44aa99", "#999933", "#6b4c9a", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LEARNED_WORDS = {"art", "learned", "fitted", "direct", "refined", "propagated"}
INCHES = 5.12  # pictures are laid out this wide; more pixels only make them sharper


def is_learned(name: str) -> bool:
    """Whether a curve's name says that it was learned: a word such as "ART", or a "+" of a blend."""
    words = re.split(r"[^a-z]+", name.lower())
    return "+" in name or not LEARNED_WORDS.isdisjoint(words)


def assign_colours(names: Iterable[str]) -> dict[str, str]:
    """One colour a name: warm for learned ones, a fixed one for well-known ones, the next free one for others."""
    colours: dict[str, str] = {}
    free = {True: iter(LEARNED * 8), False: iter(OTHERS * 8)}
    for name in dict.fromkeys(names):
        fixed = None if is_learned(name) else KNOWN.get(name.lower())
        colours[name] = fixed or next(free[is_learned(name)], GREY)
    return colours


def new_figure(height: float, width: float = INCHES) -> Any:
    """An empty white matplotlib ``Figure`` of ``width`` x ``height`` inches with an Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Any, size: float = 9.0) -> None:
    """Light grid, no box, dark text of ``size`` points."""
    axes.set_facecolor("white")
    axes.grid(True, which="major", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(which="both", colors=INK, labelsize=size, length=3, width=0.6)
    axes.tick_params(which="minor", length=0)


def render(figure: Any, width: int) -> Image.Image:
    """Draws ``figure`` ``width`` pixels wide and returns it as an RGB picture."""
    inches = figure.get_size_inches()[0]
    figure.set_dpi((width + 1e-3) / inches)
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")


def schedule_curves(
    curves: Mapping[str, Sequence[float]],
    title: str = "",
    width: int = 640,
    height: int = 400,
    *,
    inches: float = INCHES,
    log_axis: bool = True,
) -> Image.Image:
    """Sigma against step, one line a schedule, on a logarithmic axis (log_axis=False: on a plain one).

    curves: name -> sigmas, highest first; a tensor, an array or a list. A trailing 0 has no place on a
    logarithmic axis, so the last step is drawn as a short dotted drop. Curves of different lengths share the
    axis "share of the run" instead of the step number.
    width, height: pixels. inches: the width it is laid out for; the smaller, the larger the text.
    Returns a ``PIL.Image`` (RGB). Raises ValueError if there is nothing to draw.
    """
    series = {str(name): [float(s) for s in sigmas] for name, sigmas in curves.items()}
    series = {name: values for name, values in series.items() if any(_drawable(v) for v in values)}
    if not series:
        raise ValueError("curves: nothing to draw; give at least one schedule with a sigma above 0")
    figure = new_figure(inches * height / width, inches)
    axes = figure.subplots()
    style_axes(axes)
    same_length = len({len(values) for values in series.values()}) == 1
    colours = assign_colours(series)
    lowest = min(v for values in series.values() for v in values if _drawable(v))
    floor = lowest / 2.2
    for rank, (name, values) in enumerate(series.items()):
        span = 1.0 if same_length else 1.0 / max(1, len(values) - 1)
        points = [(k * span, v) for k, v in enumerate(values) if _drawable(v) or (v == 0.0 and not log_axis)]
        learned = is_learned(name)
        axes.plot(
            [p[0] for p in points],
            [p[1] for p in points],
            color=colours[name],
            linewidth=2.4 if learned else 1.4,
            marker=MARKERS[rank % len(MARKERS)],
            markersize=4.4 if learned else 3.2,
            label=plain_text(name),
            zorder=3 if learned else 2,
        )
        if values[-1] == 0.0 and log_axis:
            last, end = points[-1], (len(values) - 1) * span
            axes.plot([last[0], end], [last[1], floor], color=colours[name], linewidth=1.0, linestyle=":")
    if log_axis:
        axes.set_yscale("log")
        axes.set_ylim(bottom=floor)
        plain_log_labels(axes)
    else:
        axes.set_ylim(bottom=0.0)
    axes.set_ylabel("sigma (noise level)", color=INK, fontsize=9.5)
    axes.set_xlabel("step" if same_length else "share of the run", color=INK, fontsize=9.5)
    if same_length:
        axes.xaxis.get_major_locator().set_params(integer=True)
    if title:
        axes.set_title(title, color=INK, fontsize=10.5, loc="left", fontweight="bold")
    corner = "lower left" if log_axis else "upper right"
    legend = axes.legend(loc=corner, fontsize=9, frameon=True, framealpha=0.9, edgecolor="none")
    for text in legend.get_texts():
        text.set_color(INK)
    return render(figure, width)


def pilot_chart(report: Mapping[str, Any], width: int = 640, height: int = 400) -> Image.Image:
    """The pilot of a fit: mean end error against steps, one line a candidate, the chosen ones ringed.

    report: the ``report`` of an ``ArtSchedule``; ``pilot`` is steps -> candidate -> mean end error, and
    ``chosen`` steps -> candidate. Learned candidates that were not chosen share one faint colour; candidates
    that were dropped early have fewer points.
    Returns a ``PIL.Image`` (RGB). Raises ValueError if the report holds no pilot table.
    """
    table: dict[int, dict[str, float]] = {}
    for steps, row in sorted(dict(report.get("pilot") or {}).items(), key=lambda item: int(item[0])):
        table[int(steps)] = {str(name): float(error) for name, error in row.items() if _drawable(error)}
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    if not names:
        raise ValueError("report: it holds no pilot table, so there is nothing to draw")
    chosen = {int(steps): str(name) for steps, name in dict(report.get("chosen") or {}).items()}
    figure = new_figure(INCHES * height / width)
    axes = figure.subplots()
    style_axes(axes)
    kept = [name for name in names if name in chosen.values()]
    stock = [name for name in names if name not in kept and not is_learned(name)]
    others = [name for name in names if name not in kept and is_learned(name)]
    colours = {**assign_colours([*kept, *stock]), **dict.fromkeys(others, UNCHOSEN)}
    for rank, name in enumerate([*kept, *stock, *others]):
        points = [(steps, row[name]) for steps, row in table.items() if name in row]
        label = name if name not in others else "" if name != others[0] else "other learned"
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            color=colours[name],
            linewidth=2.4 if name in kept else 1.2,
            marker="." if name in others else MARKERS[rank % len(MARKERS)],
            markersize=5.0 if name in kept else 3.6,
            label=label or "_",
            zorder=3 if name in kept else 1 if name in others else 2,
        )
    ringed = [(steps, table[steps][name]) for steps, name in chosen.items() if name in table.get(steps, {})]
    axes.scatter(
        [point[0] for point in ringed],
        [point[1] for point in ringed],
        s=110,
        facecolors="none",
        edgecolors=INK,
        linewidths=1.3,
        zorder=4,
        label="chosen" if ringed else "_",
    )
    log_ticks(axes, "x", list(table))
    axes.set_yscale("log")
    plain_log_labels(axes)
    axes.set_xlabel("steps", color=INK, fontsize=9.5)
    axes.set_ylabel("mean end error", color=INK, fontsize=9.5)
    title = ", ".join(["Pilot", *([str(report["solver"])] if report.get("solver") else [])])
    axes.set_title(title, color=INK, fontsize=10.5, loc="left", fontweight="bold")
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5, frameon=False, labelspacing=0.45)
    for text in legend.get_texts():
        text.set_color(INK)
    return render(figure, width)


def log_ticks(axes: Any, which: str, values: Sequence[float]) -> None:
    """A logarithmic x or y axis whose ticks are exactly ``values``, written as plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def plain_log_labels(axes: Any) -> None:
    """Ticks at 1, 2 and 5 of each decade on a logarithmic y axis, written as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if math.log10(high / low) < 2.2 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(base=10.0, subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def plain_text(text: str) -> str:
    """A text that matplotlib writes as it is: no formulas between dollar signs, and not left out of a legend."""
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def _drawable(value: Any) -> bool:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return math.isfinite(number) and number > 0.0
