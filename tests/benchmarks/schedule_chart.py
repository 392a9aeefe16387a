"""The picture of the schedule benchmark: end error over Karras' against steps, a panel a problem and solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from restart_art.schedules import plot

from schedule_cases import MIXTURES, SOLVERS, TINY, TITLES
from schedule_fits import DIRECT, PROPAGATED, RAW, REFINED, RL

Case = Mapping[str, Any]
LINES = {
    RAW: ("#cc79a7", "^", 1.2), PROPAGATED: ("#882255", "v", 1.2), RL: ("#009e73", "P", 1.2),
    DIRECT: ("#0072b2", "s", 1.6), REFINED: (plot.LEARNED[0], "o", 2.4),
}  # fmt: skip
FLOOR = "floor (optimised to convergence)"
LOWEST, HIGHEST = 0.02, 5.0


def chart(cases: Sequence[Case], width: int = 1800) -> Image.Image:
    """Rows: solvers. Columns: problems. Both axes are logarithmic; the stock schedulers are the grey lines."""
    columns = [name for name in (*MIXTURES, *TINY) if any(c["problem"] == name for c in cases) and "CFG" not in name]
    rows = [solver for solver in SOLVERS if any(c["solver"] == solver for c in cases)]
    figure = plot.new_figure(3.1 * len(rows) + 1.1, 2.5 * len(columns) + 0.4)
    panels = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    for solver, line in zip(rows, panels, strict=True):
        for name, axes in zip(columns, line, strict=True):
            case = next((c for c in cases if (c["problem"], c["solver"]) == (name, solver)), None)
            plot.style_axes(axes)
            if case is not None:
                _panel(axes, case)
            axes.set_title(f"{TITLES[solver]}: {name}", fontsize=9.5, loc="left", color=plot.INK)
    axes = panels[0, 0]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(LOWEST, HIGHEST)
    plot.log_ticks(axes, "x", (5, 8, 12, 20, 30))
    plot.log_ticks(axes, "y", (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5))
    pairs = [zip(*panel.get_legend_handles_labels(), strict=True) for panel in panels.flatten()]
    found = {label: handle for panel in pairs for handle, label in panel}
    legend = figure.legend(
        list(found.values()), list(found), loc="outside upper left", ncols=6, fontsize=10, frameon=False
    )
    for text in legend.get_texts():
        text.set_color(plot.INK)
    figure.supxlabel("steps", fontsize=10, color=plot.INK)
    figure.supylabel("end error / Karras' end error", fontsize=10, color=plot.INK)
    return plot.render(figure, width)


def _panel(axes: Any, case: Case) -> None:
    karras = case["stock"]["karras"]
    for name, errors in case["stock"].items():
        if name not in ("karras", "uniform"):
            _line(axes, errors, karras, color="#b9bfc6", linewidth=0.9, label="stock schedulers of ComfyUI")
    _line(axes, case["stock"]["uniform"], karras, color="#d8c48f", linewidth=1.1, label="uniform in sigma")
    axes.axhline(1, color=plot.INK, linewidth=1.0, label="Karras")
    for name, (colour, mark, wide) in LINES.items():
        if name in case["learned"]:
            _line(
                axes, case["learned"][name], karras, color=colour, marker=mark, linewidth=wide, label=name,
                markersize=5 if wide > 2 else 3.8, zorder=4 if wide > 2 else 3,
            )  # fmt: skip
    floors = {n: floor["error"] for n, floor in case["floor"].items()}
    label = FLOOR if case["problem"] in MIXTURES else "autograd from refined (tiny)"
    style = {"linestyle": "--"} if case["problem"] in MIXTURES else {"linestyle": "", "marker": "x", "markersize": 6}
    _line(axes, floors, karras, color=plot.INK, linewidth=1.1, label=label, zorder=5, **style)


def _line(axes: Any, errors: Mapping[str, float], karras: Mapping[str, float], **style: Any) -> None:
    counts = sorted((n for n in errors if n in karras), key=int)
    axes.plot([int(n) for n in counts], [errors[n] / karras[n] for n in counts], **style)
