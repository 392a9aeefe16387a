"""The gallery: `make gallery`. The same noises at the same number of model calls, stock schedule against learned."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests", Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import torch  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from torch import Tensor  # noqa: E402

from restart_art.cli.pictures import contact_sheet  # noqa: E402
from restart_art.schedules.art.trajectories import Field  # noqa: E402

from samplers_report import table  # noqa: E402
from schedule_cases import END_NODES, HELD_OUT_TINY, TITLES, Setting, fine_ends, host_grids, make, normal  # noqa: E402
from schedule_fits import REFINED, fit  # noqa: E402

KINDS = ("flow", "eps")
ROWS = (("dpmpp_2m", 6), ("euler", 8))
SEED = 4242
DIGITS = torch.arange(10)
SCALE, GAP, LABEL, STRIP = 7, 4, 232, 34
INK, FAINT, GROUND = "#22262b", "#6b7178", "#ffffff"
AMPLIFY = 6.0


@dataclass(frozen=True)
class Row:
    """Pictures (10, 8, 8) in [0, 1] of the digits 0 to 9. error: mean end error of these ten; held_out: of others."""

    label: str
    schedule: str
    steps: int
    pictures: Tensor
    error: float | None = None
    held_out: float | None = None


def rows(setting: Setting, choices: Sequence[tuple[str, int]] = ROWS, method: str = REFINED) -> list[Row]:
    """The fine reference, then for each solver and step count the best stock schedule and the learned one.

    The best stock schedule is that with the least end error on the setting's held-out trajectories among all that
    take exactly so many steps: the strongest rival, not the one that makes the gain look largest.
    """
    noise, args = normal((10, 16, 8, 8), SEED), {"classes": DIGITS}
    ends = fine_ends(setting, noise, args)
    field = Field(setting.model, noise, args, lambda _: None)
    found = [Row("fine reference", f"{END_NODES} nodes, third order", END_NODES, setting.model.decode(ends))]
    for solver, n in choices:
        errors = {
            name: setting.error(solver, grids[n])
            for name, grids in setting.stock.items()
            if name != "uniform" and n in grids and len(grids[n]) == n + 1
        }
        best = min(errors, key=lambda name: errors[name])
        learned = fit(setting, solver, method, (n,))
        kept = str(learned.report["chosen"][n])  # a stock schedule's name where the pilot found nothing better
        for label, name, grid in (("best stock", best, setting.stock[best][n]), ("learned", kept, learned.sigmas(n))):
            with torch.no_grad():
                end = field.solve(solver, range(len(noise)), grid)
            error = float((end - ends).flatten(1).double().square().mean(1).sqrt().mean())
            found.append(
                Row(
                    f"{TITLES[solver]}, {n} model calls", f"{label}: {name}", n, setting.model.decode(end), error,
                    setting.error(solver, grid),
                )
            )  # fmt: skip
    return found


def picture(found: Sequence[Row]) -> Image.Image:
    """One row of digits each, what differs from the reference below it, labels at its left."""
    reference = found[0].pictures
    strips = [_strip(row, reference) for row in found]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.height + 10 for strip in strips)), GROUND)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + 10
    return sheet


def _strip(row: Row, reference: Tensor) -> Image.Image:
    digits = contact_sheet(row.pictures, 10, SCALE, GAP)
    parts = [digits]
    if row.error is not None:
        parts.append(contact_sheet((AMPLIFY * (row.pictures - reference).abs()).clamp(0, 1), 10, SCALE, GAP))
    height = sum(part.height for part in parts) + (STRIP if row.error is not None else 0)
    strip = Image.new("RGB", (LABEL + digits.width, height), GROUND)
    draw, top = ImageDraw.Draw(strip), 0
    draw.text((8, 8), row.label, INK, ImageFont.load_default(17))
    draw.text((8, 32), row.schedule, INK, ImageFont.load_default(15))
    for part in parts:
        strip.paste(part.convert("RGB"), (LABEL, top))
        top += part.height
    if row.error is not None:
        draw.text((8, digits.height + 8), f"difference, {AMPLIFY:g} times", FAINT, ImageFont.load_default(15))
        text = f"end error {row.error:.4f} (these ten)   {row.held_out:.4f} ({HELD_OUT_TINY} others)"
        draw.text((LABEL + GAP, top + 4), text, INK, ImageFont.load_default(16))
    return strip


def page(galleries: Mapping[str, Sequence[Row]], version: str) -> str:
    """Markdown: a picture and a table a checkpoint."""
    host = f"ComfyUI {version}'s whole list" if version else "the pack's own list (no ComfyUI was found)"
    lines = [
        "# Gallery: the same budget, another schedule",
        "",
        "Made by `make gallery` (fixed seeds). Every column is one noise, the same in all rows; each pair of rows "
        "spends the same number of model calls. The top row is the same noise solved finely: a good schedule comes "
        "close to it, and the end error below each row says how close (latent units, mean over the row, and over "
        f"{HELD_OUT_TINY} noises that are not shown). Below each row of digits is what differs from the reference, "
        f"{AMPLIFY:g} times as strong.",
        "",
        f"The stock schedule is the best of {host} at that solver and number of calls, by the error on the "
        f"{HELD_OUT_TINY} other noises. The learned one is what "
        '`fit_schedule(method="refined")` returns for one step count, from other '
        "noises again. Nothing was picked by eye. These are tiny checkpoints on 8 x 8 digits: they show how near a "
        "schedule comes to the model's own answer, not how a big model's pictures look.",
        "",
    ]
    for kind, found in galleries.items():
        body = [
            [row.label, row.schedule, f"{row.error:.4f}", f"{row.held_out:.4f}"]
            for row in found
            if row.error is not None
        ]
        lines += [
            f"## The tiny {kind} checkpoint", "", f"![Digits of the {kind} checkpoint](gallery-{kind}.png)", "",
            *table(["solver", "schedule", "end error, these ten", f"{HELD_OUT_TINY} others"], body), "",
        ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the page and the pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    steps = sorted({n for _, n in ROWS})
    version, host = host_grids(steps)
    galleries: dict[str, Any] = {}
    options.out.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        galleries[kind] = rows(make(f"tiny {kind}", host, steps=steps))
        file = options.out / f"gallery-{kind}.png"
        picture(galleries[kind]).quantize(64).save(file, optimize=True)
        print(f"{time.monotonic() - began:4.0f} s  {file}", flush=True)
    (options.out / "gallery.md").write_text(page(galleries, version), encoding="utf-8")


if __name__ == "__main__":
    main()
