"""Text and file form of a learned schedule: one line of JSON; safetensors with that line as metadata. Never pickle."""

from __future__ import annotations

import json
import math
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .curve import ArtSchedule

FORMAT = "restart_art.schedule"
VERSION = 1
MAX_FILE_BYTES = 64 * 1024
MAX_TEXT_BYTES = 2048


class ScheduleError(ValueError):
    """A file or text that is not a schedule, or a schedule whose values cannot be right."""


def to_text(schedule: ArtSchedule) -> str:
    """See ArtSchedule.to_text."""
    body = {
        "format": FORMAT,
        "version": schedule.version,
        "solver": schedule.solver,
        "process": schedule.process,
        "bounds": [schedule.sigma_min, schedule.sigma_max],
        "cfg": schedule.cfg,
        "model": schedule.model,
        "name": schedule.model_name,
        "curves": {str(steps): knots for steps, knots in schedule.curves},
    }
    return json.dumps({k: v for k, v in body.items() if v is not None}, separators=(",", ":"))


def from_text(text: str) -> dict[str, Any]:
    """Fields of ArtSchedule from to_text's line. Raises ScheduleError."""
    if not isinstance(text, str) or not text.strip():
        raise ScheduleError("schedule text is empty; paste the line that a fit gives, starting with {")
    if len(text) > 16 * MAX_TEXT_BYTES:
        raise ScheduleError(f"schedule text has {len(text)} characters; a schedule is shorter than {MAX_TEXT_BYTES}")
    return _fields(_parse_json(text, "schedule text"), "schedule text")


def save(schedule: ArtSchedule, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """See ArtSchedule.save."""
    from safetensors.torch import save as to_bytes

    tensors = {f"curve_{steps}": torch.tensor(knots, dtype=torch.float64) for steps, knots in schedule.curves}
    data = to_bytes(tensors, {"schedule": to_text(schedule), "report": json.dumps(schedule.report, allow_nan=False)})
    if len(data) > MAX_FILE_BYTES:
        data = to_bytes(tensors, {"schedule": to_text(schedule), "report": "{}"})
    write_atomically(Path(path), data, overwrite=overwrite)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Fields of ArtSchedule from a file. Raises ScheduleError, OSError."""
    from safetensors import SafetensorError, safe_open

    source = f"schedule file {Path(path).name!r}"
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a folder; a pipe or a device would keep a reader waiting for ever
        raise ScheduleError(f"{source} is not a file")
    size = status.st_size
    if size > MAX_FILE_BYTES:
        raise ScheduleError(f"{source} has {size} bytes; a schedule has at most {MAX_FILE_BYTES}")
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ScheduleError(f"{source} is not a readable safetensors file ({str(error)[:200]})") from None
    if "schedule" not in metadata:
        raise ScheduleError(f"{source} is a safetensors file, but not an ART schedule")
    fields = _fields(_parse_json(metadata["schedule"], source), source)
    report = _parse_json(metadata.get("report", "{}"), f"{source}: report")
    if not isinstance(report, dict):
        raise ScheduleError(f"{source}: report is not an object")
    wanted = {f"curve_{steps}": list(knots) for steps, knots in fields["curves"]}
    same = stored.keys() == wanted.keys() and all(
        t.dtype == torch.float64 and t.tolist() == wanted[name] for name, t in stored.items()
    )
    if not same:
        raise ScheduleError(f"{source} is damaged: its tensors and its metadata disagree")
    return {**fields, "report": _with_counts(report)}


def _with_counts(report: dict[str, Any]) -> dict[str, Any]:
    """JSON has only text keys; tables by step count get their whole numbers back."""
    for table in ("chosen", "pilot", "pilot_trajectories", "left_out", "predicted", "start", "equivalent"):
        if isinstance(report.get(table), dict):
            report[table] = {int(k) if k.isdecimal() and len(k) < 6 else k: v for k, v in report[table].items()}
    return report


def _fields(body: Any, source: str) -> dict[str, Any]:
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise ScheduleError(f"{source} is not an ART schedule (no format {FORMAT!r})")
    curves, bounds = body.get("curves"), body.get("bounds")
    if not isinstance(curves, dict) or not isinstance(bounds, list) or len(bounds) != 2:
        raise ScheduleError(f"{source}: curves or bounds are missing")
    if not all(isinstance(knots, list) and steps.isdecimal() and len(steps) < 6 for steps, knots in curves.items()):
        raise ScheduleError(f"{source}: curves must map step counts to lists of sigmas")
    return {
        "curves": tuple(sorted(((int(steps), tuple(knots)) for steps, knots in curves.items()), key=lambda c: c[0])),
        "solver": body.get("solver"),
        "process": body.get("process"),
        "sigma_min": bounds[0],
        "sigma_max": bounds[1],
        "model": body.get("model"),
        "model_name": body.get("name"),
        "cfg": body.get("cfg"),
        "version": body.get("version"),
    }


def write_atomically(path: Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write a whole file or nothing: a temporary one in the same folder, flushed to disk, then renamed.

    Raises FileExistsError if there is one of that name and overwrite is False, also when two write at once.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide the file from others who share the folder
        if overwrite:
            os.replace(temporary, path)
        else:
            _rename_to_new(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _rename_to_new(temporary: str, path: Path) -> None:
    """A rename that fails where the name is taken: a second link, then the first one goes."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: the check and the rename are then two steps
        if path.exists():
            raise FileExistsError(f"{path} exists already") from None
        os.replace(temporary, path)
    else:
        os.unlink(temporary)


def _parse_json(text: str, source: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ScheduleError(f"{source} is not valid JSON ({str(error)[:200]})") from None


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_constant(text)  # such as 1e999


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name[:20]} is not a number a schedule may hold")
