"""The page's tables, as HTML: the picture grid, the numbers of all runs, and the pilots of the fits."""

from __future__ import annotations

from html import escape

from .budget import BY_ROUNDS
from .data import FAMILY, STOCHASTIC, CheckpointResult, DemoResult, Run
from .fitting import chosen_names, pilot_table, trajectories_table
from .page import number, table
from .running import TITLES

GRID_NOTE = (
    "Number and bar: end error, smaller is better; bars are relative to the row’s longest, the row’s best is bold. "
    "<em>Best stock</em> is the host’s schedule that did best in the fit’s own pilot (the better one "
    "here where that leaves two). {same} Parallel midpoint makes several calls in one batch, so it is given "
    "equal rounds, and pays more calls. "
    "* Restart adds fresh noise on purpose and randomized midpoint steps at random, so end error is not what "
    "they are for."
)
SAME = "Karras and EDM are the same formula on this checkpoint and share a column."
NOT_SAME = "EDM is the same formula as Karras, but applied to the noise-to-signal ratio, as a flow model needs."
NUMBERS_NOTE = (
    "<b>Model calls</b> and <b>ms</b> (milliseconds) are for one picture, made in a batch of {batch} on one processor "
    "thread. <b>Rounds</b>: model runs one after the other. <b>End error</b>: root mean square distance in latent "
    "units from the reference of the same noise, mean of {pictures} pictures; the best of each sampler is in colour. "
)
JUDGED_NOTE = (
    "<b>Read correctly</b>: share of {batch} pictures that a classifier trained on the real digits reads as the "
    "digit asked for; blurred pictures can be read more easily than exact ones. <b>Distance to digits</b>: "
    "energy distance in pixels to the 1,797 digits that the network was trained on, ± one standard error; "
    "0 is perfect and chance can take it below. The reference itself: {accuracy} and {energy}. "
    "* End error is not the merit of a sampler that adds noise or steps at random: compare its distance with "
    "the reference’s. {floor}"
)
FLOOR = (
    "Here the reference already lies within the measure’s noise of the real digits, which leaves Restart nothing "
    "to correct on this checkpoint."
)


def column_titles(found: CheckpointResult) -> dict[str, str]:
    """What the page calls each schedule column."""
    titles = {"karras": "Karras", "edm": "EDM", "stock": "Best stock", "art": "ART"}
    if "edm" not in found.columns:
        titles["karras"] = "Karras = EDM"
    return {column: titles[column] for column in found.columns}


def one(found: CheckpointResult, sampler: str, column: str, budget: int) -> Run:
    """The run of a sampler on a schedule column at a budget."""
    wanted = (sampler, column, budget)
    return next(run for run in found.runs if (run.sampler, run.schedule, run.budget) == wanted)


def is_best(run: Run, others: list[Run]) -> bool:
    """Whether a run's end error is the smallest, or within half a percent of it."""
    return run.error <= 1.005 * min(other.error for other in others)


def picture_grid(found: CheckpointResult, shown: int) -> str:
    """Samplers down, schedules across, the reference on top."""
    titles = column_titles(found)
    head = "".join(f'<th scope="col" class="{column}">{title}</th>' for column, title in titles.items())
    rows = [_reference_row(found, len(titles))]
    for sampler in FAMILY:
        runs = [one(found, sampler, column, shown) for column in titles]
        cells = "".join(_cell(found, run, runs, titles) for run in runs)
        name = f'<th scope="row">{_label(sampler)}<span>{_spent(runs)}</span></th>'
        rows.append(f"<tr>{name}{cells}</tr>")
    note = GRID_NOTE.format(same=NOT_SAME if "edm" in titles else SAME)
    body = "\n".join(rows)
    return (
        f'<div class="scroll grid"><table><thead><tr><th scope="col">Sampler</th>'
        f'{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n<p class="note">{note}</p>'
    )


def _reference_row(found: CheckpointResult, columns: int) -> str:
    reference = found.reference
    return (
        f'<tr><th scope="row">Fine reference<span>{reference.calls:.0f} calls</span></th>'
        f'<td><img src="images/{found.name}-reference.png" width="344" height="140" alt="Digits 0 to 9 of the '
        f'fine reference"></td><td colspan="{columns - 1}"><p class="soft">What the rows below aim at: '
        f"{TITLES[reference.sampler]}, {reference.steps} steps, from the same noise. Half as many steps change it "
        f"by {number(reference.error)}, so errors of that size are to be read with care.</p></td></tr>"
    )


def _cell(found: CheckpointResult, run: Run, row: list[Run], titles: dict[str, str]) -> str:
    errors = [other.error for other in row]
    best = " best" if is_best(run, row) else ""
    share = 100 * run.error / max(errors)
    name = f"{titles[run.schedule]}{f' ({run.schedule_name})' if run.schedule == 'stock' else ''}"
    note = f"<small>{escape(run.schedule_name)}</small>" if run.schedule in ("stock", "art") else ""
    return (
        f'<td class="{run.schedule}"><img src="images/{found.name}-{run.sampler}-{run.schedule}.png" width="344" '
        f'height="140" alt="Digits 0 to 9, {TITLES[run.sampler]} on {escape(name)}">'
        f'<span class="meter{best}"><i style="--share:{share:.0f}%"></i><b>{number(run.error)}</b></span>'
        f"{note}</td>"
    )


def _label(sampler: str) -> str:
    return TITLES[sampler] + (" *" if sampler in STOCHASTIC else "")


def _spent(runs: list[Run]) -> str:
    calls = sorted({round(run.calls) for run in runs})
    text = f"{'–'.join(str(n) for n in dict.fromkeys((calls[0], calls[-1])))} calls"
    if runs[0].sampler in BY_ROUNDS:
        rounds = sorted({run.rounds for run in runs})
        text = f"{'–'.join(str(n) for n in dict.fromkeys((rounds[0], rounds[-1])))} rounds, {text}"
    return text


def numbers(found: CheckpointResult, result: DemoResult) -> str:
    """Every run at the shown budget, and the other budgets folded away."""
    shown, settings = result.settings.shown, result.settings
    reference = found.reference
    note = NUMBERS_NOTE.format(batch=settings.judged, pictures=settings.pictures)
    energy, spread = reference.energy or 0.0, reference.energy_error or 0.0
    judged = JUDGED_NOTE.format(
        batch=settings.judged,
        accuracy=_percent(reference.accuracy),
        energy=_distance(reference),
        floor=FLOOR if abs(energy) < 2 * spread else "",
    )
    parts = [_numbers_table(found, shown, note + judged)]
    others = [budget for budget in settings.budgets if budget != shown]
    note = NUMBERS_NOTE.format(batch=settings.pictures, pictures=settings.pictures)
    for budget in others:
        inner = _numbers_table(found, budget, note)
        parts.append(f"<details><summary>The same at {budget} model calls</summary>{inner}</details>")
    return "\n".join(parts)


def _numbers_table(found: CheckpointResult, budget: int, note: str) -> str:
    judged = any(run.energy is not None for run in found.runs if run.budget == budget)
    head = ["Sampler", "Schedule", "Steps", "Model calls", "Rounds", "ms", "End error"]
    if judged:
        head += ["Read correctly", "Distance to digits"]
    rows = []
    for sampler in FAMILY:
        runs = [run for run in found.runs if (run.sampler, run.budget) == (sampler, budget)]
        for rank, run in enumerate(runs):
            best = is_best(run, runs) and sampler not in STOCHASTIC
            rows.append(_number_row(run, column_titles(found), first=rank == 0, best=best, judged=judged))
    return table(head, rows, note, left=2)


def _number_row(run: Run, titles: dict[str, str], *, first: bool, best: bool, judged: bool) -> str:
    name = {"stock": f"Best stock: {run.schedule_name}", "art": run.schedule_name}
    cells = [
        f"{run.steps}",
        f"{run.calls:g}",
        f"{run.rounds}",
        f"{1000 * run.seconds:.1f}",
        f"{number(run.error)}{' *' if run.sampler in STOCHASTIC else ''}",
    ]
    if judged:
        cells += [_percent(run.accuracy), _distance(run)]
    columns = [f"<td{' class=best' if best and rank == 4 else ''}>{text}</td>" for rank, text in enumerate(cells)]
    classes = " ".join(["first"] * first + ["art"] * (run.schedule == "art"))
    return (
        f'<tr class="{classes}"><th scope="row">{_label(run.sampler) if first else ""}</th>'
        f'<td class="left">{escape(name.get(run.schedule, titles[run.schedule]))}</td>{"".join(columns)}</tr>'
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _distance(run: Run) -> str:
    if run.energy is None or run.energy_error is None:
        return "–"
    return f"{run.energy:.3f} ± {run.energy_error:.3f}".replace("-0.000", "0.000").replace("-", "−")


def pilot(report: dict[str, object], note: str) -> str:
    """A fit's pilot: candidates down, step counts across."""
    errors, chosen, tried = pilot_table(report), chosen_names(report), trajectories_table(report)
    rows = []
    for name in dict.fromkeys(name for row in errors.values() for name in row):
        cells = ""
        for steps, row in errors.items():
            early = tried[steps].get(name, 0) < max(tried[steps].values())
            kind = " class=kept" if chosen.get(steps) == name else " class=early" if early else ""
            cells += f"<td{kind}>{number(row[name]) if name in row else '–'}</td>"
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return table(["Candidate", *(f"{steps}&nbsp;steps" for steps in errors)], rows, note)
