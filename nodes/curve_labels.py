"""Names of the curves in Plot Sigmas, from one text; no ComfyUI needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MAX_CURVES = 8
MAX_LABEL = 60


def label_curves(curves: Mapping[str, Sequence[float]], labels: str) -> dict[str, Sequence[float]]:
    """Curves by the names of a legend, in the order of their inputs.

    curves: "sigmas_1" ... -> levels. labels: line k names sigmas_k, an empty or missing line keeps the input's name;
    two curves of one name get " (2)" and so on.

    Raises:
        ValueError: there is no curve, more lines than inputs, or a line that is too long.
    """
    if not curves:
        raise ValueError("sigmas_1 is empty; plug a scheduler's SIGMAS into at least one of the sigmas inputs")
    lines = [line.strip() for line in labels.rstrip().splitlines()]
    if len(lines) > MAX_CURVES:
        raise ValueError(f"labels has {len(lines)} lines; at most {MAX_CURVES}, one for each sigmas input")
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LABEL:
            raise ValueError(f"labels, line {number} is {len(line)} characters long; at most {MAX_LABEL}")
    named: dict[str, Sequence[float]] = {}
    for number in range(1, MAX_CURVES + 1):
        name = f"sigmas_{number}"
        if name in curves:
            line = lines[number - 1] if number <= len(lines) else ""
            named[_free(line or name, named)] = curves[name]
    return named


def _free(label: str, taken: Mapping[str, object]) -> str:
    """The label, or with the first number that makes it differ."""
    count, found = 1, label
    while found in taken:
        count += 1
        found = f"{label} ({count})"
    return found
