"""The papers' claims, one judge each, named as in docs/data/papers.json.

A claim is "reproduced here" only if every cell that was measured agrees with it. A claim about FID, other
checkpoints, or all distributions is "not testable here".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import results_art
import results_midpoint
import results_restart
from records import MissingRecord
from results_judged import VERDICTS, Data, Judged

NEEDS = {
    "fid": "FID needs the papers' checkpoints and data sets; none is here.",
    "theorem": "A statement about all distributions and the limit; runs can agree with it and cannot show it.",
}


def untestable(why: str) -> Callable[[Data], Judged]:
    return lambda _: Judged(VERDICTS[2], "", NEEDS.get(why, why))


JUDGES: dict[str, Callable[[Data], Judged]] = {
    "few calls": results_restart.few_calls,
    "many calls": results_restart.many_calls,
    "restart best": results_restart.restart_best,
    "contraction": results_restart.contraction,
    "contraction sde": results_restart.contraction_sde,
    "repeats": results_restart.repeats,
    "calls": results_restart.calls,
    "wasserstein": untestable("theorem"),
    "speed": untestable("fid"),
    "fid": untestable("fid"),
    "stable diffusion": untestable(
        "Needs Stable Diffusion 1.5 and scores of its pictures. Our preset makes the published restarts."
    ),
    "dimension bound": untestable("theorem"),
    "dimension": results_midpoint.dimension,
    "rounds bound": untestable("theorem"),
    "rounds": results_midpoint.rounds,
    "first guarantee": untestable("A statement about what was proved before."),
    "log-concave": untestable("About sampling from a known density; this pack samples diffusion models only."),
    "ddim": results_midpoint.ddim,
    "ddim fid": untestable("fid"),
    "rl optimal": results_art.rl_optimal,
    "uniform": results_art.uniform,
    "edm euler": results_art.edm_euler,
    "edm heun": results_art.edm_heun,
    "budgets": results_art.budgets,
    "transfer": results_art.transfer,
    "fid values": untestable("fid"),
}


def judge(claim: Mapping[str, str], data: Data) -> Judged:
    """MissingRecord for a claim that nobody judges, or whose number is not recorded."""
    if claim["id"] not in JUDGES:
        raise MissingRecord(f"no judge in results_claims.py for the claim {claim['id']!r} of docs/data/papers.json")
    try:
        return JUDGES[claim["id"]](data)
    except (KeyError, IndexError) as lost:
        raise MissingRecord(f"the claim {claim['id']!r} needs a number that is not recorded: {lost}") from lost
