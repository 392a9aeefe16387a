"""docs/scaling.md, written from the record of `make scaling` alone."""

from __future__ import annotations

from records import machine_words

from samplers_report import table
from scaling_chart import SHOWN
from scaling_machines import FAR, FREE, FULL, NEAR, PCIE, ROOMY, SLOW_HOST, SOURCES, Model, models
from scaling_model import Cost, batch_messages
from scaling_plan import parallel_rounds
from scaling_results import (
    DEVICES,
    Record,
    ceiling,
    check_counts,
    check_plans,
    check_seconds,
    equal_error,
    fit_table,
    fits,
    measured_cost,
    measured_link,
    sampling_table,
)
from scaling_trace import by_stage
from scaling_words import ABOUT, BOUNDS, CHECKS, FITS, PAYS, SAMPLING, SIMULATION

PICTURE = "scaling.png"
NAMES = {
    "flow": "the tiny flow checkpoint",
    "mixture 16x8x8": "an exact mixture (a formula: hardly any model time) of samples of the tiny checkpoint's size",
}
Lines = list[str]


def page(record: Record) -> str:
    """The whole page."""
    head = record["about"]
    lines = [
        "# Scaling: fits and parallel sampling on several devices",
        "",
        f"Written by `{head['command']}` on {head['date']}: {machine_words(head['machine'])}; seeds: "
        f"{', '.join(f'{k} {v}' for k, v in head['seeds'].items())}; "
        f"{head['trajectories']} trajectories. The numbers are in [data/scaling.json](data/scaling.json).",
        "",
        ABOUT.format(model=NAMES[head["model"]]),
        "",
        f"![Times as fast, by devices]({PICTURE})",
        "",
        *bounds(record),
        *pays(record),
        *asked(record),
        *checks(record),
        *simulated(record),
        *wire(record),
        *sampling(record),
        *assumptions(record),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _shown(model: Model, near: bool, wanted: bool) -> bool:
    """Which rows a table has: of a device that a picture does not fill (assumed), only those of the nearest link."""
    return wanted and (near or model.share != ROOMY)


def bounds(record: Record) -> Lines:
    """What no number of devices goes below."""
    rows = []
    for fit in fits(record):
        merged, full, roomy = fit.merged, Cost.of_call(1.0, FULL), Cost.of_call(1.0, ROOMY)
        evaluations = sum(fit.rounds)
        best = ceiling(fit.rounds, full) * len(fit.rounds) / len(merged)  # over one device as the fit is now
        rows.append(
            [
                fit.name, f"{evaluations}", f"{len(fit.rounds)}", f"{evaluations / len(fit.rounds):.1f}",
                f"{max(fit.rounds)}", f"{ceiling(fit.rounds, full):.1f}", f"{ceiling(fit.rounds, roomy):.1f}",
                f"{len(merged)}", f"{best:.1f}", f"{fit.outside:.1f}",
            ]
        )  # fmt: skip
    columns = [
        "fit", "evaluations", "rounds", "a round, mean", "most", "limit, full device", "limit, idle device",
        "rounds, merged", "limit, merged", "s, own work",
    ]  # fmt: skip
    return ["## What bounds it", "", BOUNDS, "", *table(columns, rows), ""]


def pays(record: Record) -> Lines:
    """When several devices pay, with the numbers that say so."""
    model = models(record["gpu"])[0]
    name = fits(record)[1].name
    rows = {r["cluster"]: r for r in fit_table(record, name) if r["model"] == model}
    near, slow = rows[NEAR]["curve"], rows[FAR]["curve"]
    refined = fits(record)[3]
    search = next(r["curve"] for r in fit_table(record, refined.name) if (r["model"], r["cluster"]) == (model, NEAR))
    own = equal_error(record, model.cost, PCIE, model.row, (1, 2, 4, 8))
    best = {r["problem"]: r["dpmpp_2m"] / min(r["seconds"]) for r in own}
    won = [p for p, gain in best.items() if gain > 1]
    limits = {f.name: ceiling(f.rounds, Cost.of_call(1.0, FULL)) for f in fits(record)}
    lines = [
        f"- **A fit, 2 to 8 devices.** {name}, {model.name} ({model.source}): {near[0].seconds:.0f} s on one device, "
        f"{near[1].seconds:.0f} s on 2, {near[2].seconds:.0f} s on 4, {near[3].seconds:.0f} s on 8 of one node; "
        f"devices are then in use {100 * near[3].use:.0f} % of the time.",
        f"- **Not beyond.** 32 devices take {near[5].seconds:.0f} s: rounds hold few samples, and the limits of the "
        f"fits above are {min(limits.values()):.1f} to {max(limits.values()):.1f} times one device, on any network.",
        f"- **The network.** The same fit on 8 machines with 1 Gb Ethernet: {slow[3].seconds:.0f} s, of which "
        f"{slow[3].wire:.0f} s messages; on 32, {slow[5].seconds:.0f} s.",
        f"- **The refined method.** {refined.name}: {search[0].seconds:.0f} s on one device, "
        f"{search[3].seconds:.0f} s on 8, of which {refined.outside:.0f} s are rank 0's own work, while all "
        "others wait.",
        f"- **Parallel midpoint against the best sequential solver.** On {model.name} with up to 8 devices it reached "
        f"DDIM-100's error before DPM++ 2M did on one in {len(won)} of {len(best)} problems, at best "
        f"{max(best.values()):.2f} times as fast, at worst {min(best.values()):.2f}.",
    ]
    return ["## When it pays, and when not", "", *lines, "", PAYS, ""]


def asked(record: Record) -> Lines:
    """Rounds and evaluations by stage, as recorded."""
    rows = []
    for fit in fits(record):
        for stage, n in by_stage(fit.chains).items():
            mean = f"{n['evaluations'] / n['rounds']:.1f}"
            rows.append([fit.name, stage, str(n["chains"]), str(n["rounds"]), str(n["evaluations"]), mean])
    work = [[e["name"], f"{e['cpu'] - e['round_cpu']:.2f}", f"{e['cpu']:.2f}"] for e in record["latents"]]
    return [
        "## What a fit asks for", "", FITS[0].format(model=NAMES[record["about"]["model"]]), "",
        *table(["fit", "stage", "solves", "rounds", "evaluations", "a round"], rows), "",
        FITS[1], "", *table(["fit, sample", "s, own work", "s, with the formula"], work), "",
    ]  # fmt: skip


def checks(record: Record) -> Lines:
    """The simulation against this machine."""
    plans = [
        [name, str(told), str(seen), "equal" if same else "**differ**"]
        for name, (told, seen, same) in check_plans(record).items()
    ]
    counts = [
        [
            c["name"], str(c["ranks"]), *(f"{a} / {b}" for a, b in (c["rounds"], c["calls"], c["bytes"])),
            "equal" if c["equal"] else "**differ**",
        ]
        for c in check_counts(record)
    ]  # fmt: skip
    seconds = [
        [
            c["name"], str(c["devices"]), f"{c['cpu_foreseen']:.2f}", f"{c['cpu']:.2f}",
            f"{c['cpu'] / c['cpu_foreseen']:.2f}", f"{c['foreseen']:.2f}", f"{c['measured']:.2f}",
            f"{c['measured'] / c['foreseen']:.2f}",
        ]
        for c in check_seconds(record)
    ]  # fmt: skip
    cost, link = measured_cost(record), measured_link(record)
    batches = [
        [f"{b:.0f}", f"{1000 * t:.2f}", f"{1000 * wall:.2f}", f"{1000 * cost.seconds(int(b)):.2f}"]
        for b, t, wall in record["batches"][record["about"]["model"]]
    ]
    kinds = list(record["messages"])
    sizes = [[f"{row[0]:.0f}" for row in record["messages"][kinds[0]]]]
    messages = zip(*sizes, *([f"{1e6 * t:.0f}" for _, t in record["messages"][k]] for k in kinds), strict=True)
    timed = ["fit", "processes", "s of rank 0's processor, foreseen", "measured", "ratio"]
    timed += ["s by the clock, foreseen", "measured", "ratio"]
    once = {c["name"]: c["measured"] for c in check_seconds(record) if c["devices"] == 1}
    slower = [c["measured"] / once[c["name"]] for c in check_seconds(record) if c["devices"] == 2]
    ratios = [c["measured"] / c["foreseen"] for c in check_seconds(record) if c["devices"] == 2]
    return [
        "## The simulation against this machine", "", CHECKS[0], "",
        *table(["fit", "rounds foreseen", "seen", "samples of each"], plans), "", CHECKS[1], "",
        *table(["fit", "ranks", "rounds, foreseen / seen", "collectives", "bytes", "each kind"], counts), "",
        f"{CHECKS[2]} One call on b samples: {1000 * cost.fixed:.2f} ms + {1000 * cost.each:.2f} ms b. A message: "
        f"{1e6 * link.latency:.0f} µs + bytes / {link.bandwidth / 1e9:.2f} GB/s. Two ranks took "
        f"{min(ratios):.2f} to {max(ratios):.2f} times as long by the clock as foreseen, and "
        f"{min(slower):.2f} to {max(slower):.2f} times as long as one: below 1 they paid. The machine "
        f"was shared: load average {record['about']['load']:g} on {record['about']['machine']['cores']} cores when the "
        "measurement began.", "",
        *table(timed, seconds), "",
        *table(["samples", "ms, processor", "ms, clock", "ms by the line"], batches), "",
        *table(["bytes", *(f"{k}, µs" for k in kinds)], [list(row) for row in messages]), "",
    ]  # fmt: skip


def simulated(record: Record) -> Lines:
    """Fits on machines that we do not have."""
    lines = ["## Fits, simulated", "", SIMULATION, ""]
    for fit in (fits(record)[1], fits(record)[3]):
        rows = []
        for row in fit_table(record, fit.name):
            model = row["model"]
            if not _shown(model, row["cluster"] == NEAR, row["cluster"] != FREE):
                continue
            rows.append(
                [
                    f"{model.name}, {1000 * model.call:.0f} ms, {model.share:.0%} shared, {model.source}",
                    row["cluster"],
                    *(f"{c.seconds:.0f}" for c in row["curve"]), f"{row['floor']:.0f}",
                ]
            )  # fmt: skip
        columns = ["model, one call", "devices", *(f"{n}" for n in DEVICES), "none goes below"]
        lines += [f"### {fit.name}: seconds by number of devices", "", *table(columns, rows), ""]
    return lines


def wire(record: Record) -> Lines:
    """Bytes and messages."""
    rows = []
    fit = fits(record)[1]
    for model in {m.name: m for m in models(record["gpu"])}.values():
        for devices in DEVICES[1:]:
            post = [m for n in fit.rounds for m in batch_messages(n, devices, model.row)]
            payload = sum(m.payload for m in post)
            needed = 2 * sum(fit.rounds) * model.row.size * (devices - 1) / devices
            rows.append(
                [
                    model.name, str(devices), f"{len(post)}", f"{payload / 1e9:.2f}",
                    f"{payload * (devices - 1) / 1e9:.1f}", f"{needed / 1e9:.2f}",
                ]
            )  # fmt: skip
    columns = ["model", "devices", "collectives", "GB a device holds", "GB over all links", "GB that must move"]
    text = (
        f"For {fit.name}. ranks.py sends every batch whole to every rank, and every answer to every rank: six "
        "collectives a round. Only the last column has to move: each share to its device, and its answer back."
    )
    return ["## Bytes moved", "", text, "", *table(columns, rows), ""]


def sampling(record: Record) -> Lines:
    """Parallel midpoint."""
    seen = []
    for run in record["sampling"]:
        told = parallel_rounds(run["steps"], run["midpoints"], run["sweeps"], warm=run["warm"])
        same = told == run["samples"] and len(told) == run["rounds"] and sum(told) == run["evaluations"]
        name = f"{run['steps']} steps, R {run['midpoints']}, K {run['sweeps']}, {'warm' if run['warm'] else 'cold'}"
        seen.append([name, str(len(told)), str(run["rounds"]), str(sum(told)), str(run["evaluations"])])
        seen[-1].append("equal" if same else "**differ**")
    first = ["run", "rounds foreseen", "seen", "evaluations foreseen", "seen", "each round"]
    lines = ["## Parallel midpoint", "", SAMPLING[0], "", *table(first, seen), ""]
    rows = []
    for setting in ((16, 4, 1), (13, 8, 2)):
        for row in sampling_table(record, setting, DEVICES[:5]):
            model = row["model"]
            if not _shown(model, row["link"] is PCIE, row["link"] in (PCIE, SLOW_HOST)):
                continue
            label = f"R {setting[1]}, K {setting[2]}, {setting[0]} steps"
            name = f"{model.name}, {1000 * model.call:.0f} ms, {model.share:.0%} shared, {model.source}"
            rows.append([label, name, row["link"].name, *(f"{c.seconds:.2f}" for c in row["curve"])])
    lines += [SAMPLING[1], "", *table(["run", "model, one call", "link", *map(str, DEVICES[:5])], rows), ""]
    equal = []
    for model in [m for m in models(record["gpu"]) if m.name == SHOWN]:
        for found in equal_error(record, model.cost, PCIE, model.row, DEVICES[:4]):
            steps, midpoints, sweeps = found["setting"]
            equal.append(
                [
                    f"{model.name}, {model.share:.0%} shared, {model.source}", found["problem"],
                    f"R {midpoints}, K {sweeps}, {steps} steps", *(f"{s:.2f}" for s in found["seconds"]),
                    f"{found['dpmpp_2m']:.2f}", f"{found['ddim']:.2f}",
                ]
            )  # fmt: skip
    columns = ["model, one call", "problem", "run", *map(str, DEVICES[:4]), "DPM++ 2M on 1", "DDIM-100 on 1"]
    return [*lines, SAMPLING[2], "", *table(columns, equal), ""]


def assumptions(record: Record) -> Lines:
    """Every number that was not measured here, and its source."""
    links = [
        [link.name, f"{1e6 * link.latency:.0f}", f"{link.bandwidth / 1e9:g}", source]
        for link, source in SOURCES.items()
    ]
    rows = [
        [
            m.name, "x".join(map(str, m.latent)), f"{m.row.size / 1000:.0f}", f"{m.weights / 1e9:.2f}",
            f"{m.loading:.1f}", f"{1000 * m.call:.0f}", f"{m.share:.0%}", m.source,
        ]
        for m in models(record["gpu"])
    ]  # fmt: skip
    columns = ["model", "latent", "kB a sample", "GB weights", "s to read", "ms a call", "shared", "source"]
    return [
        "## What was assumed", "",
        *table(["link", "µs a message", "GB/s", "source"], links), "", *table(columns, rows), "",
    ]  # fmt: skip
