"""Small runs on exact mixtures for claims that the two benchmarks leave out: `make bench-claims`, about a minute.

Writes docs/data/claims.json, which `make results` reads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests", Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import claims_art  # noqa: E402
import claims_midpoint  # noqa: E402
import claims_restart  # noqa: E402
import records  # noqa: E402
import torch  # noqa: E402

import schedule_cases  # noqa: E402

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "contraction": claims_restart.contraction,
    "call counts": claims_restart.call_counts,
    "dimensions": claims_midpoint.dimensions,
    "against DDIM": claims_midpoint.against_ddim,
    "transfer": claims_art.transfer,
    "trained network": claims_restart.trained_network,
}
SEEDS = {
    "contraction": list(claims_restart.SEEDS),
    "dimensions": list(claims_midpoint.DIMS),
    "against DDIM": list(claims_midpoint.SEEDS),
    "transfer": [schedule_cases.FIT_SEED, schedule_cases.HELD_OUT_SEED],
    "trained network": list(claims_restart.DIGIT_SEEDS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=records.DATA, help="folder of the record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: records.Record = {}
    began = time.process_time()
    with torch.no_grad():
        for name, measure in PARTS.items():
            start = time.process_time()
            record[name] = json.loads(json.dumps(measure()))
            print(f"{name}: {time.process_time() - start:.1f} CPU seconds", flush=True)
    head = records.about("make bench-claims", SEEDS, cpu_seconds=round(time.process_time() - began))
    print(records.keep("claims", {"about": head, **record}, options.out))


if __name__ == "__main__":
    main()
