"""The demo's chart: end error against model calls, one panel a sampler, one line a schedule."""

from __future__ import annotations

from typing import Any

from PIL import Image

from ..schedules import plot
from .data import FAMILY, STOCHASTIC, CheckpointResult
from .running import TITLES

MARKS = {"karras": "o", "edm": "s", "stock": "^", "art": "D"}
COLOURS = {
    "karras": plot.KNOWN["karras"],
    "edm": plot.KNOWN["edm"],
    "stock": plot.KNOWN["ddim_uniform"],
    "art": plot.LEARNED[0],
}
TICKS = (4, 8, 16, 32, 64, 128, 256)


def error_chart(result: CheckpointResult, titles: dict[str, str], width: int = 1400) -> Image.Image:
    """Log-log, two panels a row, shared axes. titles: column -> what the legend calls it."""
    figure = plot.new_figure(7.4, 6.4)
    panels = figure.subplots(3, 2, sharex=True, sharey=True).flatten()
    for axes, sampler in zip(panels, FAMILY, strict=True):
        _panel(axes, sampler, result, titles)
    calls = [run.calls for run in result.runs]
    for axes in panels:
        ticks = [tick for tick in TICKS if min(calls) * 0.8 <= tick <= max(calls) * 1.2]
        plot.log_ticks(axes, "x", ticks)
        plot.plain_log_labels(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=9.5, frameon=False)
    for text in legend.get_texts():
        text.set_color(plot.INK)
    figure.supxlabel("model calls of one picture", fontsize=9.5, color=plot.INK)
    figure.supylabel("end error, latent units", fontsize=9.5, color=plot.INK)
    return plot.render(figure, width)


def _panel(axes: Any, sampler: str, result: CheckpointResult, titles: dict[str, str]) -> None:
    plot.style_axes(axes, 8.5)
    for column in result.columns:
        runs = [run for run in result.runs if (run.sampler, run.schedule) == (sampler, column)]
        line = sorted(runs, key=lambda run: run.calls)
        learned = column == "art"
        axes.plot(
            [run.calls for run in line],
            [run.error for run in line],
            color=COLOURS[column],
            marker=MARKS[column],
            markersize=4.6 if learned else 3.6,
            linewidth=2.2 if learned else 1.3,
            zorder=3 if learned else 2,
            label=titles[column],
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    star = " *" if sampler in STOCHASTIC else ""
    axes.set_title(TITLES[sampler] + star, color=plot.INK, fontsize=9.5, loc="left", fontweight="bold")
    if sampler in STOCHASTIC:
        axes.set_facecolor("#f6f4f0")
