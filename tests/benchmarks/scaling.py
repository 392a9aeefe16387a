"""How fits and parallel sampling scale: `make scaling`. Writes docs/scaling.md and .png and docs/data/scaling.json."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests", Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import records  # noqa: E402

from scaling_chart import chart  # noqa: E402
from scaling_measure import MODELS, measure  # noqa: E402
from scaling_page import PICTURE, page  # noqa: E402


def write(record: records.Record, folder: Path) -> Path:
    """The page and the picture, from the record alone; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    chart(record).quantize(128).save(folder / PICTURE, optimize=True)
    path = folder / "scaling.md"
    path.write_text(page(record), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the page and the picture")
    parser.add_argument("--write", action="store_true", help="measure nothing: write from docs/data/scaling.json")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0], help="what the measured fits are fits of")
    options = parser.parse_args()
    if not options.write:
        began = time.monotonic()
        found = measure(lambda what: print(f"{time.monotonic() - began:4.0f} s  {what}", flush=True), options.model)
        records.keep("scaling", found, options.out / "data")
    print(write(records.load("scaling", options.out / "data"), options.out))


if __name__ == "__main__":
    main()
