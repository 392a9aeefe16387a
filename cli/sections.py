"""The sections of the demo's page, as HTML: each takes results and returns text."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from .data import FITTED, CheckpointResult, DemoResult, Run
from .page import figure
from .running import TITLES
from .tables import numbers, one, picture_grid, pilot

FileName = Callable[[CheckpointResult, str], str]
ABOUT = {
    "flow": "a rectified-flow network of SD3’s kind, sigma from 1 down",
    "ve": "a noise-predicting network of Stable Diffusion’s kind, sigma from 14.6 down",
}
LEAD = (
    "In each grid below, every column of digits starts from the same noise and every picture may spend {shown} "
    "model calls; only the sampler (rows) and the noise levels it steps through (columns) change. {finding}"
)
HELPED = (
    "Where learning the levels helped most, {solver} on the {name} checkpoint, the result lies {ratio} times as "
    "far from the exact one as with the best stock schedule, and {karras} times as far as with Karras."
)
NOT_HELPED = "This time learning the levels found nothing better than the best stock schedule."
LIMITS = """\
<h2>What this shows, and what it does not</h2>
<p>The checkpoints are real diffusion models, but tiny: 8 × 8 digits. This page is evidence for integration,
convergence and schedule learning, <strong>not for image quality on big checkpoints</strong>. A smaller end error
means that a picture is closer to what the same model would draw with many more steps; it does not mean that
people like it better.</p>"""


def opening(result: DemoResult) -> str:
    """Title, what one sees in two sentences, and the main ratios as tiles."""
    shown = result.settings.shown
    tiles = [_tile(found, solver, shown) for found in result.checkpoints for solver in FITTED]
    ratio, _, finding = min(tiles)
    lead = LEAD.format(shown=shown, finding=finding if ratio < 0.98 else NOT_HELPED)
    return (
        f'<p class="kicker">RestART · demo report</p>\n<h1>Where to spend {shown} model calls</h1>\n'
        f'<p class="lead">{lead}</p>\n<ul class="tiles">{"".join(tile for _, tile, _ in tiles)}</ul>\n'
        f'<p class="soft">End error on the learned (ART) schedule divided by that on stock schedules, at {shown} '
        f"model calls, on {result.settings.pictures} starting noises that the fits never saw. Below 1 is better."
        "</p>"
    )


def _tile(found: CheckpointResult, solver: str, shown: int) -> tuple[float, str, str]:
    """A solver's error on ART over that on the best stock schedule; its tile; a sentence about it."""
    art, karras = one(found, solver, "art", shown), one(found, solver, "karras", shown)
    stock = best_stock_run(found, solver, shown)
    ratio, over_karras = f"{art.error / stock.error:.2f}", f"{art.error / karras.error:.2f}"
    name, kept = escape(stock.schedule_name), art.schedule_name.partition(": ")[2]
    versus = f"the error of {name}, the best stock schedule"
    if kept == stock.schedule_name:
        versus = f"the fit found nothing better than {name} and keeps it"
    tile = (
        f'<li><strong>{TITLES[solver]}, {found.name}</strong><b>{ratio} ×</b><span class="soft">{versus}; '
        f"{over_karras} × the error of Karras</span></li>"
    )
    finding = HELPED.format(solver=TITLES[solver], name=found.name, ratio=ratio, karras=over_karras)
    return art.error / stock.error, tile, finding


def best_stock_run(found: CheckpointResult, sampler: str, budget: int) -> Run:
    """The sampler's run with the smallest end error among the schedules that were not learned."""
    runs = (one(found, sampler, column, budget) for column in found.columns if column != "art")
    return min(runs, key=lambda run: run.error)


def checkpoint(found: CheckpointResult, result: DemoResult, file: FileName) -> str:
    """Everything about one checkpoint."""
    shown, name = result.settings.shown, found.name
    curves = "".join(
        figure(
            f"images/{name}-curves-{solver}.png",
            f"Sigma against step: {', '.join(lines)}",
            f"Learned for {TITLES[solver]}. The dotted end is the last step, to sigma 0.",
        )
        for solver, lines in found.curves.items()
    )
    errors = figure(
        f"images/{name}-errors.png",
        "End error against model calls, one panel a sampler, one line a schedule",
        "Both axes are logarithmic; ART is fitted for "
        f"{', '.join(map(str, result.settings.fit_calls))} calls. * Restart levels off because its noise moves "
        "the picture away from the reference’s; see its distance to the real digits below.",
        wide=True,
    )
    return (
        f"<h2>The {name} checkpoint</h2>\n"
        f'<p class="soft">A network of 1.9 million weights that draws handwritten digits: {ABOUT[found.process]}.'
        f"</p>\n<h3>Pictures at {shown} model calls</h3>\n{picture_grid(found, shown)}\n"
        f'<h3>The schedules</h3>\n<div class="figures three">{curves}</div>\n'
        f"<h3>End error against model calls</h3>\n{errors}\n"
        f"<h3>Numbers at {shown} model calls</h3>\n{numbers(found, result)}\n{_fits(found, file)}"
    )


def _fits(found: CheckpointResult, file: FileName) -> str:
    parts = ["<h3>What the fits learned, and what they cost</h3>"]
    for solver, report in found.fits.items():
        saved = file(found, solver)
        note = (
            "Mean end error in the fit’s pilot. In colour: kept; of learned ones that so few trajectories cannot "
            "tell apart, the simplest. Grey: dropped early, so measured on fewer trajectories. "
            f"Cost: {report['model_evaluations']:,} model evaluations to fit, "
            f"{report['pilot_evaluations']:,} for the pilot (one evaluation is one sample through the model "
            f'once). Saved as <a href="{saved}">{saved}</a>.'
        )
        chart = figure(
            f"images/{found.name}-pilot-{solver}.png",
            f"Pilot for {TITLES[solver]}: mean end error against steps",
            "The ring marks what was kept at each step count.",
        )
        verdict = f'<p class="verdict"><strong>{TITLES[solver]}.</strong> {escape(str(report["verdict"]))}</p>'
        parts.append(f'{verdict}\n<div class="figures"><div>{pilot(report, note)}</div>{chart}</div>')
    return "\n".join(parts)


def commands(result: DemoResult, file: FileName) -> str:
    """The commands that made the page, and some that carry on from it."""
    names = [found.name for found in result.checkpoints]
    settings, first = result.settings, result.checkpoints[0]
    which = "both" if len(names) > 1 else names[0]
    lines = [f"restart-art demo --checkpoint {which} --seed {result.seed}", "", "# the same fits, one by one"]
    for found in result.checkpoints:
        for solver in found.fits:
            steps = ",".join(map(str, settings.steps_of_fit(solver)))
            lines.append(
                f"restart-art fit --checkpoint {found.name} --solver {solver} --steps {steps} "
                f"--trajectories {settings.trajectories} --seed {result.seed} --out {file(found, solver)}"
            )
    saved = file(first, "heun")
    lines += [
        "",
        "# pictures on a learned schedule, and its curve",
        f"restart-art sample --checkpoint {first.name} --sampler heun --scheduler art:{saved} --steps 6 "
        "--out digits.png",
        f"restart-art plot {saved} --steps 6 --baseline karras exponential --out curves.png",
    ]
    return f"<h2>The commands that made this</h2>\n<pre><code>{escape(chr(10).join(lines))}</code></pre>"


def limits(result: DemoResult) -> str:
    """What the page is evidence for, and what not; and how it was made."""
    return (
        f'{LIMITS}\n<p class="soft">Made in {result.seconds:.0f} seconds with seed {result.seed}. The numbers are '
        'also in <a href="results.json">results.json</a>.</p>'
    )
