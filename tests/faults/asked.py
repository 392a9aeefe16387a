"""What was asked of the fault tests, as counts and limits fixed beforehand, next to what a full run counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from records import MissingRecord, pick

Figures = Mapping[str, Any]
SENSES = {"at least": lambda value, limit: value >= limit, "at most": lambda value, limit: value <= limit}
VERDICTS = {True: "held", False: "**missed**", None: "told"}
JOBS = ("restart", "randomized_midpoint", "parallel_midpoint", "fit")
FUZZED = ("text", "schedules", "coverage_guided", "server")


@dataclass(frozen=True)
class Ask:
    """One figure. limit None: told beside the limits, no verdict. asked: what was asked where it is no number."""

    item: int
    what: str
    value: Callable[[Figures], float]
    sense: str = "at most"
    limit: float | None = 0
    asked: str = ""

    def row(self, figures: Figures) -> list[str]:
        """item, what, asked, counted, verdict. MissingRecord names a figure that was not counted."""
        value = self.value(figures)
        asked = self.asked or ("" if self.limit is None else f"{self.sense} {short(self.limit)}")
        met = None if self.limit is None else bool(SENSES[self.sense](value, self.limit))
        return [str(self.item), self.what, asked, short(value), VERDICTS[met]]


@dataclass(frozen=True)
class Asserted:
    """A promise with nothing to count: the run fails where it is broken. tests: module::function, without .py."""

    item: int
    what: str
    tests: tuple[str, ...]


def short(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:,.1f}"


def one(path: str) -> Callable[[Figures], float]:
    """The figure at section/name."""
    return lambda figures: float(pick({**figures}, path))


def ending(section: str, name: str) -> Callable[[Figures], list[float]]:
    """The figures of a section whose names end so (of every target, sampler or ComfyUI version)."""

    def found(figures: Figures) -> list[float]:
        values = [float(v) for key, v in pick({**figures}, section).items() if key == name or key.endswith(f"_{name}")]
        if not values:
            raise MissingRecord(f"the fault figures have no {section}/..._{name}")
        return values

    return found


def total(section: str, name: str) -> Callable[[Figures], float]:
    return lambda figures: sum(ending(section, name)(figures))


def worst(section: str, name: str) -> Callable[[Figures], float]:
    return lambda figures: max(ending(section, name)(figures))


def inputs(figures: Figures) -> float:
    return sum(total(section, "inputs")(figures) for section in FUZZED)


def slowest(figures: Figures) -> float:
    return max(worst(section, "slowest_ms")(figures) for section in FUZZED[:3])


def injected(word: str) -> Callable[[Figures], float]:
    def found(figures: Figures) -> float:
        section = pick({**figures}, "out_of_memory")
        counts = [v for key, v in section.items() if key.startswith(word) and not key.endswith("_off")]
        return float(sum(counts)) if counts else math.nan

    return found


ASKED = (
    Ask(1, "hostile inputs in all", inputs, "at least", 100_000),
    *(Ask(1, f"of which: {words}", total(section, "inputs"), limit=None) for section, words in zip(FUZZED, (
        "segments, steps, labels, names and other text", "schedule text, schedule files and file names",
        "found by the coverage-guided fuzzer", "prompts with wrong values, over HTTP, to every ComfyUI tried",
    ), strict=True)),
    Ask(1, "slowest input of a parser, ms", slowest, "at most", 1000),
    Ask(1, "slowest answer of the server to a prompt, ms", worst("server", "slowest_answer_ms"), "at most", 1000),
    Ask(1, "growth of the server's peak memory over its prompts, MB", worst("server", "grown_mb"), limit=None),
    Ask(2, "kill -9 during a fit", one("kill/fit_kills"), "at least", 50),
    Ask(2, "kill -9 during a save, at random", one("kill/save_kills"), "at least", 50),
    Ask(2, "kill -9 at each kind of point in a save", one("kill/points_kills"), limit=None),
    Ask(2, "half or corrupt schedules after all kills", total("kill", "broken")),
    Ask(2, "next starts that failed", total("kill", "next_failed")),
    *(Ask(2, f"Cancel during {job}", one(f"cancel/{job}_cancelled"), "at least", 50) for job in JOBS),
    Ask(2, "next prompts that were wrong after a Cancel", total("cancel", "wrong")),
    Ask(2, "tensors kept after a Cancel", total("cancel", "kept")),
    Ask(2, "memory kept after a Cancel, MB", worst("cancel", "megabytes"), limit=None),
    Ask(2, "out of memory injected into parallel runs", injected("parallel_"), "at least", 1, "every model call"),
    Ask(2, "out of memory injected into fits", injected("fit_"), "at least", 1, "every model call"),
    Ask(2, "out of memory injected inside ComfyUI, a sample of its calls", injected("comfyui_"), limit=None),
    Ask(2, "largest difference that smaller chunks made", worst("out_of_memory", "off"), "at most", 1e-4),
    *(Ask(2, f"{job}: models that return NaN or inf, named with sigma", one(f"nan/{job}"), "at least", 1, "each named")
      for job in JOBS),
    Ask(2, "rounds of two processes that save one name", one("same_name/rounds"), "at least", 50),
    Ask(2, "failures in them", one("same_name/failures")),
    Ask(2, "files that vanished while they were listed", one("vanishing/missing"), "at least", 50),
    Ask(2, "unclear errors from them", one("vanishing/unclear_errors")),
    Ask(3, "prompts over HTTP, two clients, all nodes, both tiny checkpoints", one("soak/prompts"), "at least", 1000),
    Ask(3, "of which cancelled at random", one("soak/cancelled"), "at least", 1),
    Ask(3, "errors", one("soak/errors")),
    Ask(3, "memory growth, MB", one("soak/growth_mb"), "at most", 20),
    Ask(4, "import beyond ComfyUI's own, CPU ms", worst("import", "cpu_ms"), "at most", 150),
    Ask(4, "the same by the wall clock, ms", worst("import", "wall_ms"), limit=None),
)  # fmt: skip

ASSERTED = (
    Asserted(1, "no parser input crashes, leaves the schedule folder, uses the network or takes over 64 MB", (
        "test_fuzz_schedules::test_files_cut_off_and_with_turned_bits", "test_fuzz_schedules::test_forged_files",
        "test_fuzz_schedules::test_no_name_leads_out_of_the_folder", "test_fuzz_guard::test_a_greedy_input_is_seen",
        "test_fuzz_guard::test_leaving_the_folder_and_the_network_are_seen",
    )),
    Asserted(2, "a full disk leaves the old file and nothing else", (
        "test_save_faults::test_a_full_disk_leaves_the_old_file_and_nothing_else",
    )),
    Asserted(2, "a read-only folder is an error that names it", (
        "test_save_faults::test_a_read_only_folder_is_an_error_that_names_it",
    )),
    Asserted(3, "the same seed draws the same picture at the start and the end of the soak", (
        "test_soak::test_soak",
    )),
    Asserted(4, "nothing shared of torch or ComfyUI changes, nothing is patched", (
        "test_neighbour::test_outside_comfyui_nothing_shared_changes",
        "test_neighbour::test_import_changes_nothing_but_the_lists",
        "test_neighbour::test_samplers_and_a_fit_change_nothing",
    )),
    Asserted(4, "no network, no program started, no write outside the allowed folders", (
        "test_neighbour::test_files_network_and_programs",
        "test_neighbour::test_outside_comfyui_only_the_saved_file_is_written",
    )),
    Asserted(4, "no pickle, eval or subprocess in any shipped file", (
        "test_neighbour_scan::test_no_shipped_file_does_any_of_it",
    )),
)  # fmt: skip

COLUMNS = ["item", "what", "asked", "counted", "verdict"]


def rows(figures: Figures) -> list[list[str]]:
    """Every figure next to what was asked. MissingRecord if one is not there."""
    return [ask.row(figures) for ask in ASKED]


def gaps(figures: Figures) -> list[str]:
    """What a run did not count, in words."""
    found = []
    for ask in ASKED:
        try:
            if math.isnan(ask.value(figures)):
                found.append(ask.what)
        except MissingRecord as error:
            found.append(f"{ask.what} ({error})")
    return found


def text_table(figures: Figures) -> list[str]:
    """For a terminal; a figure that was not counted says so."""
    lines = []
    for ask in ASKED:
        try:
            lines.append(ask.row(figures))
        except (MissingRecord, ValueError):  # not counted, or nan
            lines.append([str(ask.item), ask.what, "", "not run", ""])
    widths = [max(len(row[i]) for row in [COLUMNS, *lines]) for i in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [COLUMNS, *lines]]  # fmt: skip
