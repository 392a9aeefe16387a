"""Which rounds a fit and a parallel sampling run are made of: what is known beforehand, and what could share a round.

A chain is one solve: rounds that need each other's answers. Chains that do not need each other could run in the
same rounds, as one batch; the fit runs them one after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from restart_art.schedules.art import bench, direct, fit, pilot, refinement


@dataclass(frozen=True)
class Chain:
    """One solve. kind: "reference", "propagate", "run" (refining), "trial" (pilot). group: chains of the same group
    and stage do not need each other. samples: of each of its rounds, in order."""

    stage: str
    kind: str
    group: int
    samples: tuple[int, ...]

    @property
    def evaluations(self) -> int:
        """Samples through the model."""
        return sum(self.samples)

    def to_record(self) -> dict[str, Any]:
        """JSON; equal rounds in a row are told as [samples, how many]."""
        runs = [[n, len(list(same))] for n, same in groupby(self.samples)]
        return {"stage": self.stage, "kind": self.kind, "group": self.group, "rounds": runs}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Chain:
        """What to_record wrote."""
        samples = tuple(n for n, times in record["rounds"] for _ in range(times))
        return cls(record["stage"], record["kind"], record["group"], samples)


def all_rounds(chains: Sequence[Chain]) -> list[int]:
    """Samples of every round as the fit makes them: one chain after another."""
    return [n for chain in chains for n in chain.samples]


def merged_rounds(chains: Sequence[Chain]) -> list[int]:
    """Samples of every round if chains that do not need each other ran in lockstep.

    The pilot's reference needs nothing, so it shares the rounds of the fit's own reference.
    """
    first = [c for c in chains if c.kind == "reference"]
    groups: dict[Any, list[Chain]] = {"reference": first} if first else {}
    for chain in chains:
        if chain.kind != "reference":
            groups.setdefault((chain.stage, chain.kind, chain.group), []).append(chain)
    return [n for group in groups.values() for n in lockstep(group)]


def lockstep(chains: Sequence[Chain]) -> list[int]:
    """Round i holds the samples of every chain's round i."""
    longest = max(len(c.samples) for c in chains)
    return [sum(c.samples[i] for c in chains if i < len(c.samples)) for i in range(longest)]


def fit_rows(method: str, trajectories: int) -> int:
    """Trajectories a fit learns on (fit.py): at most half, and FIT_ROWS (direct) or what refinement.Plan takes."""
    most = refinement.ROWS if method == "refined" else fit.FIT_ROWS
    return max(1, min(most, trajectories // 2))


def propagation(nodes: int, rows: int, strides: tuple[int, int]) -> list[tuple[int, ...]]:
    """The chains of direct.curvature_along's propagation on `rows` trajectories: samples of each round.

    Group g has every count-th trajectory and the sources g march, g march + apart, ... and the last node; its march
    meets every march-th node counted from the end, and the sources; each round holds every source met so far.
    """
    apart, march = strides
    count, chains = apart // march, []
    for group in range(count):
        members = len(range(group, rows, count))
        if not members:
            continue
        sources = sorted({*range(group * march, nodes, apart), nodes - 1})
        met = sorted(set(range(nodes - 1, -1, -march)) | set(sources))
        chains.append(tuple(members * sum(s <= k for s in sources) for k in met if k >= sources[0]))
    return chains


def foreseen(method: str, solver: str, counts: Sequence[int], trajectories: int) -> list[Chain]:
    """The chains of a fit that do not depend on what the model answers, in order, for a model without a sigma table.

    That is all but the refining runs and the pilot's trials, whose number depends on the errors measured.
    """
    rows = fit_rows(method, trajectories)
    left = trajectories - rows or trajectories  # a single trajectory serves both sides
    if method == "refined":
        stage, nodes, strides = "refine", refinement.NODES, bench.GAIN_STRIDES
        rows = refinement.Plan.of(rows, counts, solver).rows
        gained = min(bench.GAIN_ROWS, rows)
    else:
        stage, nodes, strides, gained = "density", direct.NODES, direct.STRIDES, rows
    found = [Chain(stage, "reference", 0, (rows,) * nodes)]
    found += [Chain(stage, "propagate", 0, samples) for samples in propagation(nodes, gained, strides)]
    budget = fit._pilot_budget(counts)
    piloted = len(fit._pilot_rows(list(range(left)), counts, solver, budget))
    return [*found, Chain("reference", "reference", 0, (piloted,) * pilot.REFERENCE_NODES)]


def parallel_rounds(steps: int, midpoints: int, sweeps: int, pictures: int = 1, *, warm: bool = True) -> list[int]:
    """Samples of each round of parallel midpoint on `steps` steps, the last to sigma 0.

    A cold step begins with one level; only the first one is, with warm starts. Then `sweeps` rounds of `midpoints`
    levels; the step to 0 is one level.
    """
    found: list[int] = []
    for i in range(steps - 1):
        found += [pictures] * (i == 0 or not warm) + [midpoints * pictures] * sweeps
    return [*found, pictures]
