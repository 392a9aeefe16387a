"""Saving a learned schedule in models/art_schedules and loading it again."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..schedules import ArtSchedule as Schedule
from . import host
from .library import check_name
from .nodes_schedules import CATEGORY
from .schema import ArtSchedule, build
from .sockets import check_sockets

KEEP, OVERWRITE = "keep both", "overwrite"


class SaveARTSchedule(io.ComfyNode):
    """A learned schedule as a file, which is a scheduler name too."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_SaveARTSchedule",
            display_name="Save ART Schedule",
            category=CATEGORY,
            description="Saves a learned schedule in models/art_schedules. After a refresh (R) it is also a "
            "scheduler, art/<name>, in every KSampler.",
            search_aliases=["save schedule", "export schedule"],
            is_output_node=True,
            inputs=[
                ArtSchedule.Input("schedule", tooltip="From Fit ART Schedule or Load ART Schedule."),
                io.String.Input(
                    "name", default="my model",
                    tooltip='The file\'s name. "/" makes a subfolder, such as "portraits/my model".',
                ),
                io.Combo.Input(
                    "if_exists", options=[KEEP, OVERWRITE], default=KEEP,
                    tooltip="What to do when another schedule has that name: keep both (the new one gets a number) "
                    "or overwrite it. The very same schedule is never saved twice.",
                ),
            ],
            outputs=[
                ArtSchedule.Output("schedule", display_name="schedule", tooltip="The schedule, as it came in."),
                io.String.Output("scheduler", display_name="scheduler", tooltip="Its name as a scheduler."),
            ],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(cls, schedule: Schedule, name: str, if_exists: str = KEEP) -> io.NodeOutput:
        check_sockets(schedule=schedule)
        check_name(name)
        given, path = host.save_schedule(schedule, name, overwrite=if_exists == OVERWRITE)
        scheduler = f"{host.PREFIX}{given}"
        text = f"Saved as {path.name}. Refresh (R) to find {scheduler} in the scheduler lists."
        return io.NodeOutput(schedule, scheduler, ui=ui.PreviewText(text))

    @classmethod
    def fingerprint_inputs(cls, name: str = "", **_: object) -> str:
        """Saved again when the file has gone since."""
        try:
            return host.file_state(check_name(name))
        except ValueError:
            return ""


class LoadARTSchedule(io.ComfyNode):
    """A saved schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        host.refresh_schedulers()  # ComfyUI asks for schemas on a refresh
        schema: io.Schema = build(
            io.Schema,
            node_id="RestART_LoadARTSchedule",
            display_name="Load ART Schedule",
            category=CATEGORY,
            description="Loads a schedule from models/art_schedules.",
            search_aliases=["load schedule", "import schedule"],
            inputs=[
                io.Combo.Input(
                    "name", options=host.saved_names(),
                    tooltip="A file in models/art_schedules. Refresh (R) after putting one there. None there yet? "
                    "Save one with Save ART Schedule.",
                ),
            ],
            outputs=[
                ArtSchedule.Output("schedule", display_name="schedule", tooltip="For an ART Scheduler."),
                io.String.Output(
                    "schedule_text", display_name="schedule_text",
                    tooltip="The schedule as text, to paste into an ART Scheduler of any workflow.",
                ),
            ],
        )  # fmt: skip
        return schema

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        schedule = host.load_saved(name)
        text = schedule.to_text()
        return io.NodeOutput(schedule, text, ui={"schedule_text": (text,)})  # for the editor's menu entry

    @classmethod
    def fingerprint_inputs(cls, name: str = "") -> str:
        """Loaded again when the file has changed."""
        return host.file_state(name)


NODES: list[type[io.ComfyNode]] = [SaveARTSchedule, LoadARTSchedule]
