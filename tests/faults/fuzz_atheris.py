"""Coverage-guided fuzzing of one parser, in a process of its own (libFuzzer ends it). Prints what it counted as JSON.

fuzz_atheris.py <target> <inputs> <corpus folder> [libFuzzer's own options ...]

Ends with exit code 0 after that many inputs; at the first input that breaks a promise it says so and ends with another.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "comfyui")]
with atheris.instrument_imports(include=["restart_art"]):
    from restart_art.nodes import curve_labels, library, parse
    from restart_art.samplers import restart_setup, segments  # noqa: F401
    from restart_art.schedules import ArtSchedule, ScheduleError, edm_sigmas

    import fuzz_schedules as hostile
    from fuzz_guard import Guard

torch.set_num_threads(1)
GRID = edm_sigmas(20, 0.03, 14.6).tolist()


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def read_segments(data: bytes) -> None:
    found = parse.parse_segments(text_of(data[1:]))
    budget = restart_setup.BUDGETS[data[0] & 1]
    restart_setup.set_up(restart_setup.Request(found, "euler", None, None, budget, 0.0, (0.01, 1.0)), None, GRID)


def read_fields(data: bytes) -> None:
    text, readers = text_of(data[1:]), (
        parse.parse_steps, library.check_name, lambda t: parse.parse_lines("schedules", t, "karras"),
        lambda t: curve_labels.label_curves({"sigmas_1": [1.0], "sigmas_2": [1.0]}, t),
    )  # fmt: skip
    readers[data[0] % len(readers)](text)


def read_schedule_text(data: bytes) -> None:
    hostile.read_text(text_of(data))


def file_reader(folder: Path) -> Callable[[bytes], None]:
    path = folder / "fuzzed.safetensors"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        hostile.check(ArtSchedule.load(path))

    return read


def seeds(target: str, folder: Path) -> list[bytes]:
    """Sound inputs to start from."""
    if target == "schedule_file":
        return [hostile.good_file(folder), hostile.shape_file({})]
    if target == "schedule_text":
        return [hostile.GOOD.to_text().encode(), b'{"format":"restart_art.schedule"}']
    if target == "segments":
        return [b"03, 2, 0.06, 0.30\n4, 1, 25%, 75%", b'1[[3, 2, 0.06, 0.30], [2, 1, "#9", 5.0]]']
    return [b"08, 12, 20", b"1portraits/my model", b"2karras\nall", b"3one\n\nthree"]


def main() -> None:
    target, count, corpus = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    folder = Path(tempfile.mkdtemp(dir=corpus.parent))
    readers: dict[str, Callable[[bytes], Any]] = {
        "segments": read_segments, "fields": read_fields, "schedule_text": read_schedule_text,
        "schedule_file": file_reader(folder),
    }  # fmt: skip
    for index, seed in enumerate(seeds(target, folder)):
        (corpus / f"seed{index}").write_bytes(seed)
    guard = Guard((ScheduleError,) if target.startswith("schedule") else (ValueError,))

    def one(data: bytes) -> None:
        if data:
            guard.run(readers[target], data)
        if guard.inputs == count:
            print("FIGURES " + json.dumps(guard.figures()), flush=True)
            guard.inputs += 1

    options = [
        f"-runs={count + 100}",
        "-seed=1",
        "-max_len=4096",
        "-len_control=0",
        "-timeout=20",
        "-rss_limit_mb=4096",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *options, *sys.argv[4:]], one)
    atheris.Fuzz()


main()
