"""The demo's report: plain data in, ``report.html`` with its pictures, ``results.json`` and schedules out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..schedules.plot import pilot_chart, schedule_curves
from . import sections
from .charts import error_chart
from .data import CheckpointResult, DemoResult
from .options import write_whole
from .page import document
from .pictures import contact_sheet, png_bytes
from .running import TITLES
from .tables import column_titles


def write_report(folder: Path, result: DemoResult) -> Path:
    """Writes the report into ``folder``, each file whole and ``report.html`` last. Returns its path.

    Files of an earlier run are replaced one by one; other files in the folder are left alone.
    """
    files = report_files(result)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for found in result.checkpoints:
        for solver, schedule in found.schedules.items():
            schedule.save(folder / schedule_file(found, solver))
    for name, data in files.items():
        write_whole(folder / name, data)
    return folder / "report.html"


def report_files(result: DemoResult) -> dict[str, bytes]:
    """Everything but the schedules: relative path -> content, ``report.html`` last."""
    files: dict[str, bytes] = {}
    for found in result.checkpoints:
        name = found.name
        files[f"images/{name}-reference.png"] = png_bytes(contact_sheet(found.reference_pictures[:10], 5))
        for (sampler, column), images in found.pictures.items():
            files[f"images/{name}-{sampler}-{column}.png"] = png_bytes(contact_sheet(images, 5))
        for solver, curves in found.curves.items():
            picture = schedule_curves(curves, f"{TITLES[solver]}, {name}", 900, 720, inches=4.1)
            files[f"images/{name}-curves-{solver}.png"] = png_bytes(picture)
            picture = pilot_chart(found.fits[solver], 1200, 760)
            files[f"images/{name}-pilot-{solver}.png"] = png_bytes(picture)
        files[f"images/{name}-errors.png"] = png_bytes(error_chart(found, column_titles(found)))
    files["results.json"] = (json.dumps(plain(result), indent=1) + "\n").encode()
    body = "\n".join(
        [
            sections.opening(result),
            *(sections.checkpoint(found, result, schedule_file) for found in result.checkpoints),
            sections.commands(result, schedule_file),
            sections.limits(result),
        ]
    )
    files["report.html"] = document("RestART demo report", body).encode()
    return files


def schedule_file(found: CheckpointResult, solver: str) -> str:
    """Name of the file that a fitted schedule is saved in."""
    return f"art-{found.name}-{solver}.safetensors"


def plain(result: DemoResult) -> dict[str, Any]:
    """The numbers of a demo as plain JSON data."""
    return {
        "seed": result.seed,
        "seconds": result.seconds,
        "settings": asdict(result.settings),
        "checkpoints": [
            {
                "name": found.name,
                "process": found.process,
                "reference": asdict(found.reference),
                "runs": [asdict(run) for run in found.runs],
                "curves": found.curves,
                "fits": found.fits,
            }
            for found in result.checkpoints
        ],
    }


def summary(result: DemoResult) -> str:
    """A few lines for the terminal: the verdict of each fit, and how long it all took."""
    lines = [
        f"{found.name}, {TITLES[solver]}: {report['verdict']}"
        for found in result.checkpoints
        for solver, report in found.fits.items()
    ]
    return "\n".join([*lines, f"Took {result.seconds:.0f} s."])
