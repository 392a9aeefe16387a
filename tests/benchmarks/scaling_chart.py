"""The picture of docs/scaling.md: how many times as fast a fit and parallel midpoint are, by number of devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from restart_art.schedules import plot

from scaling_machines import CLUSTERS, NVLINK, PCIE, SAMPLING_LINKS, models
from scaling_model import Cost, Row
from scaling_results import DEVICES, Record, ceiling, equal_error, fit_curve, fits
from scaling_results import sampling_table as sampling

COLOURS = ("#8b929a", "#009e73", "#0072b2", "#b58900", "#d55e00")
SHOWN = "SDXL-sized, 1024 px"
SETTINGS = ((16, 4, 1), (13, 8, 2))
PANEL = "direct, 8, 12, 20 steps", "refined, 8, 12, 20 steps"


def chart(record: Record, width: int = 1600) -> Image.Image:
    """Top: fits. Bottom: one run of parallel midpoint, and the time to DDIM-100's error against DPM++ 2M."""
    figure = plot.new_figure(9.6, 13.2)
    panels = figure.subplots(2, 2)
    for axes, name in zip(panels[0], PANEL, strict=True):
        _fit(axes, record, name)
    _sampling(panels[1][0], record)
    _equal(panels[1][1], record)
    return plot.render(figure, width)


def _axes(axes: Any, title: str, label: str) -> None:
    plot.style_axes(axes)
    axes.set_title(title, loc="left", fontsize=10.5, color=plot.INK)
    axes.set_xscale("log", base=2)
    axes.set_xticks(DEVICES, [str(n) for n in DEVICES])
    axes.set_xlabel("devices", fontsize=9.5, color=plot.INK)
    axes.set_ylabel(label, fontsize=9.5, color=plot.INK)


def _legend(axes: Any, place: str) -> None:
    for text in axes.legend(loc=place, fontsize=8.5, frameon=False).get_texts():
        text.set_color(plot.INK)


def chosen_model(record: Record) -> Any:
    """The model the picture shows: SDXL-sized, of the device that one picture fills if its times are assumed."""
    return next(m for m in models(record["gpu"]) if m.name == SHOWN)


def _fit(axes: Any, record: Record, name: str) -> None:
    fit, model = next(f for f in fits(record) if f.name == name), chosen_model(record)
    _axes(axes, f"Fit: {name} ({model.name}, {1000 * model.call:.0f} ms a call, {model.source})", "times as fast")
    for colour, (place, cluster) in zip(COLOURS, CLUSTERS.items(), strict=True):
        for rounds, style in ((fit.rounds, "-"), (fit.merged, ":")):
            curve = fit_curve(rounds, model.cost, cluster, model.row, DEVICES, fit.outside, model.loading)
            base = fit_curve(fit.rounds, model.cost, cluster, model.row, [1], fit.outside, model.loading)[0].seconds
            label = place if style == "-" else None
            axes.plot(
                DEVICES, [base / c.seconds for c in curve], style, color=colour, label=label, lw=1.8, marker="o", ms=3
            )
    axes.axhline(ceiling(fit.rounds, model.cost), color=plot.GREY, lw=1, ls="--")
    axes.plot([], [], ":", color=plot.INK, label="the same, if independent solves shared rounds (not built)")
    axes.plot([], [], "--", color=plot.GREY, label="as built, any number of devices, model calls alone")
    axes.set_ylim(0, None)
    _legend(axes, "upper left")


def _sampling(axes: Any, record: Record) -> None:
    model = chosen_model(record)
    _axes(axes, "Parallel midpoint, the same run on one device = 1", "times as fast")
    for setting, style in zip(SETTINGS, ("-", "--"), strict=True):
        table = [row for row in sampling(record, setting, DEVICES) if row["model"] == model]
        for colour, link, row in zip(COLOURS, SAMPLING_LINKS, table, strict=False):
            if link is NVLINK:  # as PCIe, to the eye
                continue
            base = row["curve"][0].seconds
            label = f"R {setting[1]}, K {setting[2]}: {link.name}"
            axes.plot(
                DEVICES, [base / c.seconds for c in row["curve"]], style, color=colour, label=label, lw=1.8,
                marker="o", ms=3,
            )  # fmt: skip
    axes.set_ylim(0, None)
    _legend(axes, "upper left")


def _equal(axes: Any, record: Record) -> None:
    model = chosen_model(record)
    _axes(axes, "To DDIM-100's error, over DPM++ 2M on one device", "times as fast as DPM++ 2M")
    costs: Sequence[tuple[str, Cost]] = [("-", model.cost), (":", Cost.of_call(model.call, 1.0))]
    row: Row = model.row
    for style, cost in costs:
        problems = equal_error(record, cost, PCIE, row, DEVICES)
        for colour, wide, found in zip(COLOURS, (2, 4, 2, 2), problems, strict=False):
            times = [found["dpmpp_2m"] / s for s in found["seconds"]]
            label = f"{found['problem']}, R {found['setting'][1]}" if style == "-" else None
            axes.plot(DEVICES, times, style, color=colour, label=label, lw=wide, marker="o", ms=3)
    axes.plot([], [], ":", color=plot.INK, label="if a batch cost one call (idle device)")
    axes.axhline(1, color=plot.INK, lw=0.8)
    axes.set_ylim(0, None)
    _legend(axes, "lower right")
