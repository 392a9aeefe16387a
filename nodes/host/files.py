"""ComfyUI's folders: saved schedules, and each of them as a scheduler `art/<name>`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import comfy.samplers
import folder_paths
from torch import Tensor

from ...schedules import ArtSchedule, ScheduleError
from ..library import SUFFIX, save_named, sweep
from .models import bounds_of, process_of
from .registry import scheduler_lists

log = logging.getLogger(__name__)

FOLDER = "art_schedules"
PREFIX = "art/"


def register_folder() -> None:
    """Make models/art_schedules known, beside any that extra_model_paths.yaml names. Creates nothing on disk."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    paths, extensions = folder_paths.folder_names_and_paths[FOLDER]
    if not extensions:
        folder_paths.folder_names_and_paths[FOLDER] = (paths, {SUFFIX})


def saved_names() -> list[str]:
    """Names of the saved schedules, with "/" between folders and without the suffix."""
    names = (name.replace(os.sep, "/") for name in _files())
    return [name[: -len(SUFFIX)] for name in names if not os.path.basename(name).startswith(".")]


def _files() -> list[str]:
    """ComfyUI's list of the files, which it cannot give from its cache when a folder has gone since."""
    try:
        return list(folder_paths.get_filename_list(FOLDER))
    except FileNotFoundError:
        folder_paths.filename_list_cache.pop(FOLDER, None)
        return list(folder_paths.get_filename_list(FOLDER))


def saved_path(name: str) -> Path:
    """The file of a saved schedule. Raises FileNotFoundError, saying where was looked."""
    found = folder_paths.get_full_path(FOLDER, f"{name}{SUFFIX}")
    if found is None:
        raise _missing(name)
    return Path(found)


def _missing(name: str) -> FileNotFoundError:
    looked = ", ".join(folder_paths.get_folder_paths(FOLDER))
    return FileNotFoundError(f"there is no saved schedule {name!r} (looked in {looked}); was it deleted?")


def file_state(name: str) -> str:
    """Changes when the file does; for ComfyUI's cache."""
    try:
        status = saved_path(name).stat()
    except OSError:
        return "missing"
    return f"{status.st_mtime_ns} {status.st_size}"


_loaded: dict[str, tuple[str, ArtSchedule]] = {}


def load_saved(name: str) -> ArtSchedule:
    """A saved schedule, read again only when its file has changed.

    Raises:
        FileNotFoundError: it is not there. ScheduleError: it is not a schedule. OSError: it cannot be read.
    """
    path, state = saved_path(name), file_state(name)
    known = _loaded.get(str(path))
    if known is None or known[0] != state:
        try:
            known = _loaded[str(path)] = (state, ArtSchedule.load(path))
        except FileNotFoundError:  # it went between the look and the reading
            raise _missing(name) from None
    return known[1]


def save_schedule(schedule: ArtSchedule, name: str, *, overwrite: bool) -> tuple[str, Path]:
    """Save into the first art_schedules folder and offer it as a scheduler; the name it got and its file."""
    folder = Path(folder_paths.get_folder_paths(FOLDER)[0])
    given = save_named(schedule, folder, name, overwrite=overwrite)
    folder_paths.filename_list_cache.pop(FOLDER, None)
    refresh_schedulers()
    return given, folder / f"{given}{SUFFIX}"


class SavedScheduler:
    """The handler behind a scheduler name `art/<name>`: reads the file when a run asks for its sigmas."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, model_sampling: Any, steps: int) -> Tensor:
        """(steps + 1,) sigmas for this model; a mismatch of process is logged, as a drop-down has no text."""
        schedule = load_saved(self.name)
        for sentence in schedule.warnings_for(process=process_of(model_sampling).kind):
            log.warning("scheduler %s%s: %s", PREFIX, self.name, sentence)
        return schedule.sigmas_for(steps, 1.0, *bounds_of(model_sampling))


def refresh_schedulers() -> list[str]:
    """Bring the host's scheduler lists in line with the files, in place; the names that are ours.

    A handler once added stays: a list that another pack copied earlier still works, or says that the file is gone.
    """
    handlers = comfy.samplers.SCHEDULER_HANDLERS
    lists = scheduler_lists()
    names = [f"{PREFIX}{name}" for name in saved_names()]
    ours = []
    for name in names:
        owner = handlers.get(name)
        if owner is not None and not isinstance(owner.handler, SavedScheduler):
            log.warning("scheduler name %r is already taken and is left alone", name)
            continue
        if owner is None:
            handler = SavedScheduler(name[len(PREFIX) :])
            handlers[name] = comfy.samplers.SchedulerHandler(handler, use_ms=True)
        ours.append(name)
        for known in lists:
            if name not in known:
                known.append(name)
    gone = {n for n, h in handlers.items() if isinstance(h.handler, SavedScheduler)} - set(names)
    for known in lists:
        known[:] = [name for name in known if name not in gone]
    return ours


def is_saved_scheduler(name: str) -> bool:
    """Whether a scheduler of the host's list is a saved schedule of ours."""
    owner = comfy.samplers.SCHEDULER_HANDLERS.get(name)
    return owner is not None and isinstance(owner.handler, SavedScheduler)


def register_files() -> list[str]:
    """At import: the folder, swept of killed saves, and every saved schedule in the scheduler lists.

    Never stops ComfyUI from starting.
    """
    register_folder()
    try:
        for folder in folder_paths.get_folder_paths(FOLDER):
            sweep(Path(folder))
        return refresh_schedulers()
    except (OSError, ScheduleError) as error:
        log.warning("saved schedules are not listed: %s", error)
        return []
