"""The picture of the sampler benchmark: one row of panels a part."""

from __future__ import annotations

import math
from typing import Any

from PIL import Image

from restart_art.schedules import plot

OWN = plot.LEARNED[0]
RESTART = {
    "ODE 19": "#9ecae1", "SDE 19": "#c9c9c9", "ODE 75": "#0072b2", "SDE 75": "#5a5f66",
    "Restart 75, published": "#f0b58c", "Restart 75, tuned": OWN,
}  # fmt: skip
LINES = {
    "randomized midpoint, grid for Heun": (OWN, "o"), "randomized midpoint, Karras": ("#f0b58c", "o"),
    "DPM++ 2M, exponential": ("#56b4e9", "s"), "DPM++ 2M, Karras": ("#0072b2", "s"),
    "DPM++ 2M, grid for DPM++ 2M": ("#332288", "s"),
    "Heun, Karras": ("#8b929a", "^"), "Heun, grid for Heun": ("#117733", "^"),
}  # fmt: skip
POINTS = {
    "DDIM": ("#8b929a", "o"), "ParaDiGMS": ("#0072b2", "s"), "parallel midpoint": (OWN, "D"),
    "DPM++ 2M, equal rounds": ("#56b4e9", "v"), "DPM++ 2M, fewest rounds": ("#009e73", "^"),
}  # fmt: skip


def chart(
    restart: dict[str, Any], randomized: dict[str, Any], parallel: dict[str, Any], width: int = 1600
) -> Image.Image:
    """The numbers of the three sections as one picture."""
    figure = plot.new_figure(13.2, 11.5)
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(1, 1.08, 1.08))
    _restart(top, restart["bars"])
    _randomized(middle, randomized["lines"])
    _parallel(bottom, parallel["points"])
    return plot.render(figure, width)


def _title(figure: Any, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold", color=plot.INK)


def _legend(figure: Any, *panels: Any) -> None:
    found = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles, labels = zip(*found, strict=True)
    legend = figure.legend(handles, labels, loc="outside right upper", fontsize=9, frameon=False)
    for text in legend.get_texts():
        text.set_color(plot.INK)


def _restart(figure: Any, bars: dict[str, dict[str, list[float]]]) -> None:
    _title(figure, "(a) Restart: energy distance, thousandths, by the sigmas at which the denoiser errs")
    panels = figure.subplots(1, 2, width_ratios=(1, 1.6))
    for axes, calls in zip(panels, ("19", "75"), strict=True):
        plot.style_axes(axes)
        names = [name for name in RESTART if name.split()[1].startswith(calls)]
        wide = 0.8 / len(names)
        for rank, name in enumerate(names):
            values = [row[name] for row in bars.values()]
            spread = [1000 * math.hypot(noise, 0 if math.isnan(other) else other) for _, noise, other in values]
            axes.bar(
                [i + (rank - (len(names) - 1) / 2) * wide for i in range(len(bars))], [1000 * v[0] for v in values],
                0.92 * wide, yerr=spread, color=RESTART[name], label=name, ecolor=plot.INK, error_kw={"linewidth": 0.8},
            )  # fmt: skip
        axes.axhline(0, color=plot.GREY, linewidth=0.8)
        axes.set_xticks(range(len(bars)), [name.replace("error at ", "").replace(" denoiser", "") for name in bars])
        axes.grid(False, axis="x")
        axes.set_title(f"{calls} calls", fontsize=9.5, loc="left", color=plot.INK)
    _legend(figure, *panels)


def _randomized(figure: Any, problems: dict[str, dict[str, dict[int, float]]]) -> None:
    _title(figure, "(b) Few calls: sliced Wasserstein-2 distance, thousandths, against model calls")
    panels = figure.subplots(1, len(problems), sharey=True)
    for axes, (problem, lines) in zip(panels, problems.items(), strict=True):
        plot.style_axes(axes)
        for name, (colour, mark) in LINES.items():
            line = {int(calls): 1000 * value for calls, value in lines[name].items()}
            own = colour == OWN
            axes.plot(
                list(line), list(line.values()), color=colour, marker=mark, label=name,
                markersize=6 if own else 4.5, linewidth=2.4 if own else 1.3, zorder=3 if own else 2,
            )  # fmt: skip
            axes.set_xticks(list(line))
        axes.set_yscale("log")
        axes.set_title(problem, fontsize=9.5, loc="left", color=plot.INK)
    plot.plain_log_labels(panels[0])
    _legend(figure, panels[0])


def _parallel(figure: Any, problems: dict[str, dict[str, dict[str, float] | None]]) -> None:
    _title(
        figure,
        "(c) The accuracy of 100-step DDIM: evaluations against sequential rounds (numbers: end error)",
    )
    panels = figure.subplots(1, len(problems), sharey=True)
    for axes, (problem, outcomes) in zip(panels, problems.items(), strict=True):
        plot.style_axes(axes)
        for name, (colour, mark) in POINTS.items():
            outcome = outcomes[name]
            hollow = name == "DPM++ 2M, equal rounds"
            axes.plot(
                [outcome["rounds"]] if outcome else [], [outcome["evaluations"]] if outcome else [], mark, color=colour,
                label=name, markersize=8, fillstyle="none" if hollow else "full", linestyle="",
            )  # fmt: skip
            if outcome:
                left = name == "parallel midpoint"  # DPM++ 2M is often close to its right
                axes.annotate(
                    f"{outcome['error']:.4f}", (outcome["rounds"], outcome["evaluations"]), fontsize=7.5,
                    xytext=(0, 7) if left else (6, 4), ha="center" if left else "left",
                    textcoords="offset points", color=plot.INK,
                )  # fmt: skip
        plot.log_ticks(axes, "x", (5, 10, 20, 50, 100))
        axes.set_xlim(4, 200)
        axes.set_yscale("log")
        axes.set_title(problem, fontsize=9.5, loc="left", color=plot.INK)
    plot.plain_log_labels(panels[0])
    _legend(figure, panels[0])
