"""The picture of the results page: four quiet panels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from records import pick
from results_art import EDM, errors
from results_judged import Data

from restart_art.schedules import plot

from samplers_report import Target

OWN, PLAIN, SOFT = plot.LEARNED[0], plot.KNOWN["karras"], plot.GREY
LINES = (
    ("uniform", "uniform", SOFT, ":"),
    ("raw ART", "ART, closed form", OWN, "-"),
    ("ART-RL", "ART-RL", "#009e73", "--"),
    ("refined", "ours, refined", "#332288", "-"),
)


def chart(data: Data, targets: Mapping[str, Sequence[Target]], width: int = 1600) -> Image.Image:
    """Grids against Karras; growth with the dimension; contraction; how far each target was met or missed."""
    figure = plot.new_figure(8.2, 11.0)
    panels = figure.subplots(2, 2)
    for axes in panels.flatten():
        plot.style_axes(axes)
    _grids(panels[0, 0], data)
    _dimensions(panels[0, 1], pick(data["claims"], "dimensions"))
    _contraction(panels[1, 0], pick(data["claims"], "contraction/repeats"))
    _targets(panels[1, 1], targets)
    return plot.render(figure, width)


def _title(axes: Any, text: str) -> None:
    axes.set_title(text, fontsize=10.5, loc="left", color=plot.INK)


def _legend(axes: Any, **where: Any) -> None:
    for text in axes.legend(fontsize=8.5, frameon=False, **where).get_texts():
        text.set_color(plot.INK)


def _grids(axes: Any, data: Data) -> None:
    """Geometric mean over the mixtures of EDM's range; a thin line each."""
    cases = errors(data, "euler", EDM)
    for key, label, colour, dashes in LINES:
        ratios = {}
        for name, case in cases:
            known = {**case["stock"], **case["learned"]}[key]
            ratios[name] = {int(n): known[n] / case["stock"]["karras"][n] for n in known}
        counts = sorted(set.intersection(*(set(row) for row in ratios.values())))
        for row in ratios.values():
            axes.plot(counts, [row[n] for n in counts], color=colour, linewidth=0.6, alpha=0.35)
        middle = [math.exp(sum(math.log(row[n]) for row in ratios.values()) / len(ratios)) for n in counts]
        axes.plot(counts, middle, dashes, color=colour, linewidth=2, label=label)
    axes.axhline(1, color=plot.INK, linewidth=0.9)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plot.log_ticks(axes, "x", (5, 8, 10, 15, 20, 30))
    plot.log_ticks(axes, "y", (0.5, 1, 2, 5, 10))
    axes.set_xlabel("Euler steps", fontsize=9, color=plot.INK)
    _title(axes, "End error over Karras', exact mixtures, EDM's range")
    _legend(axes, loc="upper left")


def _dimensions(axes: Any, found: Mapping[str, Any]) -> None:
    dims = found["dims"]
    for name, colour, mark in (
        ("Euler", SOFT, "s"), ("randomized midpoint", PLAIN, "o"), ("parallel rounds", OWN, "D"),
    ):  # fmt: skip
        label = f"{name}: d^{found['exponents'][name]:.2f}"
        axes.plot(dims, found["steps"][name], color=colour, marker=mark, linewidth=1.8, markersize=5, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plot.log_ticks(axes, "x", dims)
    plot.log_ticks(axes, "y", (3, 5, 10, 20, 50, 100))
    axes.set_xlabel("dimension d", fontsize=9, color=plot.INK)
    _title(axes, "Steps (parallel: rounds) to one fixed error of a sample")
    _legend(axes, loc="upper left")


def _contraction(axes: Any, rows: Mapping[str, Any]) -> None:
    places = range(len(rows))
    styles = (("ODE", "ODE, equal calls", SOFT), ("SDE", "best SDE, equal calls", PLAIN), ("Restart", "Restart", OWN))
    for rank, (name, label, colour) in enumerate(styles):
        spread = [1000 * row["errors"][name] for row in rows.values()]
        axes.bar(
            [i + (rank - 1) * 0.27 for i in places], [1000 * row[name] for row in rows.values()], 0.25, color=colour,
            label=label, yerr=spread, ecolor=plot.INK, error_kw={"linewidth": 0.8},
        )  # fmt: skip
    axes.axhline(0, color=plot.GREY, linewidth=0.8)
    axes.set_xticks(list(places), [f"K {k}\n{row['calls']} calls" for k, row in rows.items()])
    axes.grid(False, axis="x")
    _title(axes, "What is left of an error made at sigma 5 (energy distance, thousandths)")
    axes.set_ylim(top=1.15 * axes.get_ylim()[1])
    _legend(axes, loc="upper left", ncols=3)


def _targets(axes: Any, targets: Mapping[str, Sequence[Target]]) -> None:
    """Measured over limit, sorted; below 1 is met."""
    for (command, found), mark in zip(targets.items(), ("o", "^"), strict=False):
        limited = sorted(t.value / t.limit for t in found if t.limit)
        places = [(i + 0.5) / len(limited) for i in range(len(limited))]
        met = sum(v <= 1 for v in limited)
        axes.plot(places[:met], limited[:met], mark, color=PLAIN, markersize=4.5, label=f"{command}: {met} met")
        axes.plot(places[met:], limited[met:], mark, color=OWN, markersize=4.5, label=f"{len(limited) - met} missed")
    axes.axhline(1, color=plot.INK, linewidth=0.9)
    axes.set_yscale("log")
    plot.log_ticks(axes, "y", (0.2, 0.5, 1, 2, 4))
    axes.set_xticks([])
    axes.grid(False, axis="x")
    _title(axes, "Every target, measured over limit (below the line: met)")
    _legend(axes, loc="upper left")
