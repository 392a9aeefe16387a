"""The results page: `make results`. Writes docs/results.md and its picture from the records in docs/data, no more."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests", ROOT / "tests" / "faults", Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import records  # noqa: E402
from results_chart import chart  # noqa: E402
from results_page import page  # noqa: E402
from results_tables import judged_targets  # noqa: E402

NEEDED = ("papers", "samplers", "schedules", "claims", "faults")
WHERE_THERE = ("gpu", "reach")
PICTURE = "results.png"


def gather(folder: Path = records.DATA) -> dict[str, records.Record]:
    """Every record by name; gpu and reach only where they are there. MissingRecord names another that is not."""
    found = {name: records.load(name, folder) for name in NEEDED}
    return found | {name: records.load(name, folder) for name in WHERE_THERE if (folder / f"{name}.json").is_file()}


def write(data: dict[str, records.Record], folder: Path) -> Path:
    """The page and its picture; nothing if a number is missing."""
    text, picture = page(data, PICTURE), chart(data, judged_targets(data))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(text, encoding="utf-8")
    picture.quantize(96).save(folder / PICTURE, optimize=True)
    return folder / "results.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=records.DATA, help="folder of the records")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the page and the picture")
    options = parser.parse_args()
    try:
        print(write(gather(options.data), options.out))
    except records.MissingRecord as missing:
        raise SystemExit(f"results: {missing}") from None


if __name__ == "__main__":
    main()
