"""From the record of `make scaling` to numbers: what the simulation foresees, for here and for machines elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scaling_machines import CLUSTERS, SAMPLING_LINKS, fitted_cost, fitted_link, models
from scaling_model import (
    HEADER,
    Cluster,
    Cost,
    Link,
    Message,
    Outcome,
    Row,
    batch_messages,
    critical_path,
    simulate,
    simulate_sampling,
)
from scaling_plan import Chain, all_rounds, merged_rounds, parallel_rounds

DEVICES = (1, 2, 4, 8, 16, 32)
HERE = Row(16 * 8 * 8, 8)  # the tiny checkpoint's latent, in double precision

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Fit:
    """A fit, as recorded. seconds: by the clock. cpu: of rank 0's thread. outside: of that, its own work outside the
    rounds; surrogate: a part of it, by the clock."""

    name: str
    chains: list[Chain]
    seconds: float
    cpu: float
    outside: float
    surrogate: float

    @property
    def rounds(self) -> list[int]:
        """Samples of every round, as made."""
        return all_rounds(self.chains)

    @property
    def merged(self) -> list[int]:
        """Samples of every round if what does not need each other shared rounds."""
        return merged_rounds(self.chains)

    @classmethod
    def of(cls, entry: Record) -> Fit:
        """From an entry of the record."""
        chains = [Chain.from_record(c) for c in entry["chains"]]
        outside = entry["cpu"] - entry["round_cpu"]
        return cls(entry["name"], chains, entry["seconds"], entry["cpu"], outside, entry["surrogate_seconds"])


def fits(record: Record) -> list[Fit]:
    """The fits made alone."""
    return [Fit.of(entry) for entry in record["alone"]]


def measured_cost(record: Record) -> Cost:
    """The fitted model's processor seconds by batch on the machine that measured."""
    return fitted_cost([row[:2] for row in record["batches"][record["about"]["model"]]])


def measured_link(record: Record) -> Link:
    """gloo between two processes of that machine, by its all-gathers (a broadcast may return before it has arrived)."""
    return fitted_link("gloo, one machine", record["messages"]["all_gather"])


def expected_messages(rounds: Sequence[int], ranks: int, last_word: int, row: Row = HERE) -> dict[str, dict[str, int]]:
    """{kind: {"calls", "bytes"}} of a whole fit: every batch's collectives, and the schedule that ends it."""
    post = [m for samples in rounds for m in batch_messages(samples, ranks, row)]
    post += [Message("broadcast", HEADER), Message("broadcast", last_word)]
    kinds = ("broadcast", "all_gather")
    return {
        k: {"calls": sum(m.kind == k for m in post), "bytes": sum(m.payload for m in post if m.kind == k)}
        for k in kinds
    }


def check_counts(record: Record) -> list[dict[str, Any]]:
    """For every fit over ranks: what was foreseen from the fit alone, and what was counted: rounds, calls, bytes."""
    alone, found = {f.name: f for f in fits(record)}, []
    for key, ranks in (("one_rank", 1), ("two_ranks", 2)):
        for entry in record[key]:
            fit, over = alone[entry["name"]], Fit.of(entry)
            wanted = expected_messages(fit.rounds, ranks, entry["last_word"])
            seen = {k: {"calls": int(v["calls"]), "bytes": int(v["bytes"])} for k, v in entry["messages"].items()}
            found.append(
                {
                    "name": fit.name, "ranks": ranks, "rounds": (len(fit.rounds), len(over.rounds)),
                    "calls": tuple(sum(v["calls"] for v in x.values()) for x in (wanted, seen)),
                    "bytes": tuple(sum(v["bytes"] for v in x.values()) for x in (wanted, seen)),
                    "equal": wanted == seen and fit.rounds == over.rounds,
                }
            )  # fmt: skip
    return found


def check_plans(record: Record) -> dict[str, tuple[int, int, bool]]:
    """{fit: (rounds told beforehand, rounds of those stages, whether every round's samples agree)}."""
    found = {}
    for entry in record["alone"]:
        wanted = [Chain.from_record(c) for c in record["foreseen"][entry["name"]]]
        seen = [c for c in Fit.of(entry).chains if c.kind in ("reference", "propagate")]
        samples = [c.samples for c in wanted], [c.samples for c in seen]
        found[entry["name"]] = (len(all_rounds(wanted)), len(all_rounds(seen)), samples[0] == samples[1])
    return found


def check_seconds(record: Record) -> list[dict[str, Any]]:
    """Seconds foreseen from the batch and message costs and the fit's own work, against the clock and rank 0's
    processor time (foreseen: without the messages)."""
    cost, link = measured_cost(record), measured_link(record)
    here, alone, found = Cluster(link, link), {f.name: f for f in fits(record)}, []
    for devices, entries in ((1, record["alone"]), (2, record["two_ranks"])):
        for entry in entries:
            fit = alone[entry["name"]]
            told = simulate(fit.rounds, devices, cost, here, HERE, serial=fit.outside, ranked=False)
            found.append(
                {
                    "name": fit.name, "devices": devices, "foreseen": told.seconds, "measured": entry["seconds"],
                    "cpu_foreseen": told.seconds - told.wire, "cpu": entry["cpu"],
                }
            )  # fmt: skip
    return found


def ceiling(rounds: Sequence[int], cost: Cost) -> float:
    """Times as fast as one device that any number of devices gets, messages and the fit's own work being free."""
    return sum(cost.seconds(n) for n in rounds) / critical_path(rounds, cost)


def fit_curve(
    rounds: Sequence[int], cost: Cost, cluster: Cluster, row: Row, devices: Sequence[int], serial: float, loading: float
) -> list[Outcome]:
    """A fit on each number of devices."""
    return [
        simulate(rounds, n, cost, cluster, row, serial=serial, loading=loading, ranked=False) for n in devices
    ]  # fmt: skip


def fit_table(record: Record, name: str, *, merged: bool = False) -> list[dict[str, Any]]:
    """Per model and cluster: seconds by number of devices, and what no number of devices goes below."""
    fit = next(f for f in fits(record) if f.name == name)
    rounds, found = fit.merged if merged else fit.rounds, []
    for model in models(record["gpu"]):
        for place, cluster in CLUSTERS.items():
            curve = fit_curve(rounds, model.cost, cluster, model.row, DEVICES, fit.outside, model.loading)
            floor = critical_path(rounds, model.cost, fit.outside, model.loading)
            found.append({"model": model, "cluster": place, "curve": curve, "floor": floor})
    return found


def sampling_table(record: Record, setting: tuple[int, int, int], devices: Sequence[int]) -> list[dict[str, Any]]:
    """Parallel midpoint (steps, midpoints, sweeps), per model and link: seconds by number of devices."""
    rounds, found = parallel_rounds(*setting), []
    for model in models(record["gpu"]):
        for link in SAMPLING_LINKS:
            curve = [simulate_sampling(rounds, n, model.cost, link, model.row) for n in devices]
            found.append({"model": model, "link": link, "curve": curve})
    return found


def setting_of(text: str) -> tuple[int, int, int]:
    """ "R 2, K 1, sigma, karras, 7 steps" -> (steps, midpoints, sweeps)."""
    match = re.fullmatch(r"R (\d+), K (\d+), .*?(\d+) steps", text)
    if match is None:
        raise ValueError(f"{text!r} is not a setting of parallel midpoint")
    midpoints, sweeps, steps = (int(n) for n in match.groups())
    return steps, midpoints, sweeps


def equal_error(record: Record, cost: Cost, link: Link, row: Row, devices: Sequence[int]) -> list[dict[str, Any]]:
    """Seconds to DDIM-100's error, per problem: parallel midpoint by devices, over DPM++ 2M and DDIM on one."""
    found = []
    problems = dict.fromkeys(r["problem"] for r in record["accuracy"])
    for problem in problems:
        rows = {r["method"]: r for r in record["accuracy"] if r["problem"] == problem}
        one = cost.seconds(1)
        setting = setting_of(rows["parallel midpoint"]["setting"])
        curve = [simulate_sampling(parallel_rounds(*setting), n, cost, link, row) for n in devices]
        found.append(
            {
                "problem": problem, "setting": setting, "seconds": [c.seconds for c in curve],
                "dpmpp_2m": rows["DPM++ 2M, fewest rounds"]["evaluations"] * one,
                "ddim": rows["DDIM"]["evaluations"] * one,
            }
        )  # fmt: skip
    return found
