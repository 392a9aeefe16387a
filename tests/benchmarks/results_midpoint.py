"""The randomized midpoint's claims against the recorded numbers."""

from __future__ import annotations

from records import pick
from results_judged import Data, Judged, decide, span


def exponents(data: Data) -> tuple[dict[str, float], str]:
    found: dict[str, float] = pick(data["claims"], "dimensions/exponents")
    dims, tolerance = pick(data["claims"], "dimensions/dims"), pick(data["claims"], "dimensions/tolerance")
    how = f"Steps until the error vector of one sample is {tolerance:g} long, d = {dims[0]} to {dims[-1]}"
    return found, f"{how}, independent copies of a two-mode mixture"


def dimension(data: Data) -> Judged:
    found, how = exponents(data)
    own, first = found["randomized midpoint"], found["Euler"]
    why = f"{how}; a strong error, not total variation, and one distribution, not all."
    return Judged(decide([own < first, own < 5 / 12]), f"exponents {own:.3f} and {first:.3f} (Euler)", why)


def rounds(data: Data) -> Judged:
    found, how = exponents(data)
    parallel, steps = pick(data["claims"], "dimensions/steps/parallel rounds"), found["randomized midpoint"]
    why = f"{how}; the fewest rounds over midpoints, sweeps and steps. That it is logarithmic cannot be seen here."
    told = f"{', '.join(map(str, parallel))} rounds; exponent {found['parallel rounds']:.3f} against {steps:.3f}"
    return Judged(decide([found["parallel rounds"] < steps]), told, why)


def ddim(data: Data) -> Judged:
    problems = pick(data["claims"], "against DDIM")
    ratios = {
        method: {
            f"{problem}, {calls} calls": row[method] / row["DDIM"]
            for problem, rows in problems.items()
            for calls, row in rows.items()
        }
        for method in ("paper's draws", "our defaults")
    }
    paper, own = ratios["paper's draws"], ratios["our defaults"]
    better = [name for name, value in paper.items() if value < 1]
    why = (
        "Sliced Wasserstein-2 distance on two mixtures, Karras grid, without corrector. The paper's draws are better "
        f"in {len(better)} of {len(paper)} cells ({'; '.join(better) or 'none'}); our defaults (draws from the middle, "
        f"antithetic) in {sum(v < 1 for v in own.values())} of {len(own)}, {span(own.values())}."
    )
    return Judged(decide(v < 1 for v in paper.values()), f"paper's draws / DDIM {span(paper.values())}", why)
