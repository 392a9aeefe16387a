"""ART's claims against the recorded numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from records import MissingRecord, pick
from results_judged import Data, Judged, decide, span

RL_LIMIT = 1.06  # as in tests/test_actor_critic.py
EDM = ("2-D, EDM range", "16-D, EDM range", "256-D, EDM range")


def errors(data: Data, solver: str, problems: Iterable[str] | None = None) -> list[tuple[str, Data]]:
    """The cases of a solver, in the record's order. MissingRecord if one of the problems is not there."""
    found = [(c["problem"], c) for c in pick(data["schedules"], "cases") if c["solver"] == solver]
    wanted = None if problems is None else list(problems)
    lost = set(wanted or ()) - {name for name, _ in found}
    if lost:
        raise MissingRecord(f"the record of make bench-schedules has no {solver} case of {', '.join(sorted(lost))}")
    return [(name, case) for name, case in found if wanted is None or name in wanted]


def ratios(cases: Iterable[tuple[str, Data]], method: str, other: str) -> dict[str, float]:
    """One method's end error over another's (learned or stock), by problem and step count."""
    found = {}
    for name, case in cases:
        known = {**case["stock"], **case["learned"]}
        if method in known:
            shared = [n for n in known[method] if n in known[other]]
            found |= {f"{name}, {n} steps": known[method][n] / known[other][n] for n in shared}
    return found


def worst(found: Mapping[str, float]) -> str:
    if not found:
        raise MissingRecord("the record of make bench-schedules has no such learned grid")
    where = max(found, key=lambda key: found[key])
    return f"{found[where]:.3f} at {where}"


def rl_optimal(data: Data) -> Judged:
    found = ratios(errors(data, "euler"), "ART-RL", "raw ART")
    fits = [fit for _, case in errors(data, "euler") for fit in case["fits"]]
    spent, closed = ([f["evaluations"] for f in fits if f["method"] == name] for name in ("ART-RL", "raw ART"))
    middle, most = median(found.values()), worst(found)
    why = (
        f"Euler's end error on ART-RL's grid over the closed form's, at most {RL_LIMIT:g} asked in every cell (as in "
        f"our tests); median {middle:.3f}, largest {most}. ART-RL spent up to {max(spent):,} model evaluations, the "
        f"closed form {max(closed):,}. The parts of the paper that we could not read are our own."
    )
    return Judged(decide(v <= RL_LIMIT for v in found.values()), f"ART-RL / closed form {span(found.values())}", why)


def uniform(data: Data) -> Judged:
    found = ratios(errors(data, "euler", EDM), "ART-RL", "uniform")
    others = ratios([c for c in errors(data, "euler") if c[0] not in EDM], "ART-RL", "uniform")
    why = f"ART-RL, Euler, three mixtures in EDM's range. Outside it the largest is {worst(others)}."
    return Judged(decide(v < 1 for v in found.values()), f"ART-RL / uniform, end error {span(found.values())}", why)


def edm(data: Data, solver: str, method: str) -> Judged:
    found = ratios(errors(data, solver, EDM), method, "karras")
    others = ratios([c for c in errors(data, solver) if c[0] not in EDM], method, "karras")
    lost = sum(v >= 1 for v in others.values())
    why = (
        f"{method}, end error on three mixtures in EDM's range, {len(found)} cells. Outside it (Stable Diffusion's "
        f"range, tiny checkpoints) Karras is level or better in {lost} of {len(others)}; largest {worst(others)}."
    )
    return Judged(decide(v < 1 for v in found.values()), f"{method} / Karras {span(found.values())}", why)


def edm_euler(data: Data) -> Judged:
    return edm(data, "euler", "ART-RL")


def edm_heun(data: Data) -> Judged:
    return edm(data, "heun", "raw ART")


def budgets(data: Data) -> Judged:
    found = errors(data, "euler", EDM)
    counts = sorted({int(n) for _, case in found for n in case["learned"]["ART-RL"]})
    cells = ratios(found, "ART-RL", "karras")
    by = {n: [v for name, v in cells.items() if name.endswith(f", {n} steps")] for n in counts}
    told = "; ".join(f"{n} steps {span(values)}" for n, values in by.items())
    why = "One ART-RL clock a mixture, read at every step count; over Karras, EDM's range."
    return Judged(decide(v < 1 for values in by.values() for v in values), told, why)


def transfer(data: Data) -> Judged:
    table = pick(data["claims"], "transfer")
    cells = {
        f"{source} to {used}, {n} steps": value
        for source, row in table.items()
        for used, counts in row.items()
        for n, value in counts.items()
        if used != source
    }
    own = [v for source, row in table.items() for v in row[source].values()]
    why = (
        f"Closed form learned on one mixture, Euler on another, over Karras there: better in "
        f"{sum(v < 1 for v in cells.values())} of {len(cells)} cells; largest {worst(cells)}. On its own mixture "
        f"{span(own)}."
    )
    return Judged(decide(v < 1 for v in cells.values()), f"ART / Karras {span(cells.values())}", why)
