"""Hostile schedules: as values, as text, as the bytes of a file; and what one must do once it was accepted."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from restart_art.schedules import ArtSchedule, ScheduleError

KNOTS = (14.6, 7.0, 4.0, 2.0, 1.0, 0.4, 0.15, 0.05)
REPORT = {"chosen": {4: "art"}, "pilot": {4: {"art": 0.1, "karras": 0.2}}, "model_evaluations": 700, "verdict": "art"}
GOOD = ArtSchedule(
    ((4, (14.6, 3.0, 1.0, 0.2)), (8, KNOTS)), "euler", "ve", 0.0292, 14.6146, "abc123", "mine", 4.5, REPORT
)
BODY = json.loads(GOOD.to_text())
TARGETS = ((0.0292, 14.6146), (0.001, 1.0), (0.002, 80.0))  # of an eps model, a flow model, EDM


def check(schedule: ArtSchedule) -> int:
    """What every accepted schedule owes the sampler: descending, finite float32 sigmas, and a text that reads back."""
    grids = [schedule.sigmas(steps, denoise) for steps in (1, 2, 7, *schedule.steps[:3], 150) for denoise in (1.0, 0.4)]
    for low, high in TARGETS:
        try:
            grids.append(schedule.sigmas_for(12, 1.0, low, high))
        except ScheduleError as error:
            if "cannot be mapped" not in str(error):
                raise
    for grid in grids:
        assert grid.dtype == torch.float32
        assert torch.isfinite(grid).all(), grid
        assert (grid.diff() < 0).all(), grid
        assert grid[-1] == 0
    again = ArtSchedule.from_text(schedule.to_text())
    assert again == schedule
    assert torch.equal(again.sigmas(12), schedule.sigmas(12))
    schedule.warnings_for(model="x", process="flow", cfg=1.0, solver="heun")
    return len(grids)


def read_text(text: str) -> int:
    return check(ArtSchedule.from_text(text))


numbers = (
    st.sampled_from([0, -0.0, 1, -1, 1e-9, 1e9, 1e-10, 1e-45, 1e38, 1e300, 1e-320, 10**400, float("nan"), float("inf"),
                     True, None, "1", "", [], {}, [1.0]])
    | st.floats() | st.floats(1e-9, 1e9) | st.floats(0.03, 14.6) | st.integers()
)  # fmt: skip
words = (
    st.none()
    | st.text(max_size=90)
    | st.sampled_from(["ve", "flow", "euler", "x" * 9999, "\x1b[2J", "\ud800", 3, [], {}])
)
descending = st.lists(st.floats(1e-9, 1e9) | st.floats(0.03, 14.6), min_size=1, max_size=20, unique=True).map(
    lambda v: sorted(v, reverse=True)
)
knots = (
    descending | st.lists(numbers, max_size=12) | st.just([5.0] * 3) | st.just([float(i) for i in range(1000, 0, -1)])
)
counts = st.integers(1, 24).map(str) | st.sampled_from(
    ["0", "-1", "10000", "10001", "٣", "²", "", "9" * 30, "1.5", "4"]
)
curves = st.dictionaries(counts, knots, max_size=4) | st.just([]) | st.just({"4": {"0": 1}}) | st.none()
bounds = st.lists(numbers, max_size=3) | descending.map(lambda v: [v[-1], v[0]]) | st.none()
sound_curves = st.dictionaries(st.integers(20, 10000).map(str), descending, min_size=1, max_size=4)
sound_bounds = st.tuples(st.floats(1e-9, 1.0), st.floats(1e5, 1e9) | st.floats(15, 81)).map(list)
FIELDS = {
    "format": words, "version": numbers, "solver": words, "process": words, "bounds": bounds, "cfg": numbers,
    "model": words, "name": words, "curves": curves,
}  # fmt: skip


def changed_bodies() -> Any:
    """JSON of a good schedule in which one to three fields are something else, or of another thing altogether."""
    some = st.fixed_dictionaries({}, optional=FIELDS)
    sound = st.fixed_dictionaries({"curves": sound_curves, "bounds": sound_bounds}).map(
        lambda fields: {**BODY, **fields}
    )
    few = some.map(lambda fields: {**BODY, **dict(list(fields.items())[:3])})
    curves_only = st.fixed_dictionaries({"curves": curves, "bounds": bounds}).map(lambda fields: {**BODY, **fields})
    return (sound | sound | few | curves_only | some | numbers | words).map(json.dumps)


def mutated(text: str, random_: random.Random) -> str:
    """A few random edits of a text: characters dropped, doubled, replaced; parts moved, repeated, cut off."""
    for _ in range(random_.randint(1, 4)):
        at, wide = random_.randrange(len(text) + 1), random_.randint(1, 12)
        kind = random_.randrange(6)
        other = random_.choice('0123456789.eE-+,:[]{}" \n\x00é' + "\ud800")
        if kind == 0:
            text = text[:at] + text[at + wide :]
        elif kind == 1:
            text = text[:at] + other + text[at:]
        elif kind == 2:
            text = text[:at] + other + text[at + 1 :]
        elif kind == 3:
            text = text[:at] + text[at : at + wide] * random_.choice((2, 3, 500)) + text[at + wide :]
        elif kind == 4:
            text = text[:at]
        else:
            text = text[at:] + text[:at]
    return text


# --- files ---


def good_file(folder: Path) -> bytes:
    path = folder / "good.safetensors"
    GOOD.save(path)
    return path.read_bytes()


def cut_and_flipped(good: bytes, stride: int) -> Iterator[bytes]:
    """The file cut off at every place, and with every bit turned; every `stride`-th of them."""
    for length in range(0, len(good), stride):
        yield good[:length]
    for bit in range(0, 8 * len(good), stride):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def shape_file(header: Any, data: bytes = b"", size: int | None = None) -> bytes:
    """A safetensors file with any header: its length field says `size` where given."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def forged(random_: random.Random) -> bytes:
    """A file that is right but for one or a few things: tensors, their types, shapes and places, texts, lengths."""
    lists = {"curve_4": [14.6, 3.0, 1.0, 0.2], "curve_8": list(KNOTS)}
    kind = random_.randrange(8)
    body, report = dict(BODY), json.dumps(REPORT)
    if kind == 0:
        strange = [float("nan"), float("inf"), -1.0, 0.0, 14.6, 1e300, 5e-324]
        lists["curve_4"][random_.randrange(4)] = random_.choice(strange)
        if random_.random() < 0.7:
            body["curves"] = {"4": lists["curve_4"], "8": lists["curve_8"]}
    elif kind == 1:
        random_.shuffle(lists["curve_8"])
        body["curves"] = {"4": lists["curve_4"], "8": lists["curve_8"]}
    elif kind == 2:
        report = random_.choice(["[" * 20_000, "{}{}", "[]", '{"chosen": {"' + "9" * 5000 + '": 1}}', '{"a": 1e999}',
                                 '{"pilot": [1]}', '{"pilot": {"4": null}}', "nul", '"\\ud800"'])  # fmt: skip
    data, header = b"", {}
    for name, values in lists.items():
        packed = struct.pack(f"<{len(values)}d", *values)
        header[name] = {"dtype": "F64", "shape": [len(values)], "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    header["__metadata__"] = {"schedule": json.dumps(body), "report": report}
    size = None
    if kind == 3:
        header["curve_4"]["dtype"] = random_.choice(
            ["F32", "BF16", "I64", "BOOL", "U8", "F8_E4M3", "X", "", None, 3, "F4", "C64", "I16"])  # fmt: skip
    elif kind == 4:
        header["curve_4"]["shape"] = random_.choice(
            [[], [0], [2, 2], [4, 1], [2**63], [2**40, 2**40], [-4], ["4"], None, 4, [4] * 200, [1000000]])  # fmt: skip
    elif kind == 5:
        ends = [0, 8, 32, 96, 97, 2**31, 2**63, 2**64, -1]
        header["curve_8"]["data_offsets"] = [random_.choice(ends), random_.choice(ends)]
    elif kind == 6:
        size = random_.choice([0, 1, 7, 100, 2**20, 100_000_000, 100_000_001, 2**31, 2**32, 2**62, 2**63, 2**64 - 1])
    elif kind == 7:
        choices: list[Any] = [{}, {"schedule": "{}"}, {"schedule": 3}, {"schedule": ["x"]}, None, [], "x",
                              {"schedule": json.dumps(BODY), "report": "x" * 60_000}]  # fmt: skip
        header["__metadata__"] = random_.choice(choices)
        if random_.random() < 0.5:
            header[random_.choice(["curve_5", "../curve", "", "curve_" + "9" * 999, "\ud800"])] = header["curve_4"]
    return shape_file(header, data, size)
