"""The search that tells how far a missed limit is out of reach, and what the results page says of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent / "faults"))

import reach
import results_tables

from restart_art.schedules.art.tau import TauAxis

LEVELS = torch.logspace(-1.5, 1.2, 400, dtype=torch.float64)


@pytest.mark.parametrize("levels", [None, LEVELS], ids=["any sigma", "whole timesteps"])
def test_the_search_finds_the_best_grid_and_keeps_to_the_levels(levels):
    axis = TauAxis(float(LEVELS[0]), float(LEVELS[-1]), levels=levels)
    wanted = torch.tensor([12.0, 4.0, 1.7, 0.6, 0.2, 0.06], dtype=torch.float64)
    start = torch.tensor([15.0, 9.0, 4.0, 2.0, 1.0, 0.1], dtype=torch.float64)

    def error(grid):
        assert bool((grid.diff() < 0).all())
        if levels is not None:
            assert bool((grid[:, None] == levels[None]).any(1).all())
        return float((grid.log() - wanted.log()).abs().sum())

    best, least = reach.evolve(error, start, axis, tries=1000)
    assert least == error(best)
    assert (best.log() - wanted.log()).abs().max() < 0.03  # levels are .016 apart
    again, same = reach.evolve(error, start, axis, tries=1000)
    assert same == least
    assert bool((again == best).all())


def test_the_search_is_never_worse_than_its_start_and_stays_within_the_bounds():
    axis = TauAxis(0.1, 10.0)
    start = torch.tensor([10.0, 3.0, 0.1], dtype=torch.float64)
    met = []

    def error(grid):
        met.append(grid)
        return float(grid.sum())

    low, _ = reach.evolve(error, start, axis, tries=1000)
    assert float(low[0]) == pytest.approx(6.0, rel=1e-3)  # 0.6 sigma_max, as in the refined method's search
    assert min(float(g[-1]) for g in met) >= 0.1 * (1 - 1e-12)
    assert min(float(g[0]) for g in met) >= 6.0 * (1 - 1e-12)
    assert len(met) <= 1000 + reach.PROPOSALS + 1
    best, least = reach.evolve(lambda grid: float((grid - start).abs().sum()), start, axis)
    assert (least, best.tolist()) == (0.0, start.tolist())


def test_errors_that_are_not_numbers_do_not_end_the_search():
    axis = TauAxis(0.1, 10.0)
    start = torch.tensor([10.0, 3.0, 0.1], dtype=torch.float64)
    _, least = reach.evolve(lambda grid: float("nan") if float(grid[1]) < 2.9 else float(grid[1]), start, axis)
    assert 2.9 <= least < 2.95


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=2, max_size=12))
def test_numbers_become_a_descending_grid_within_the_bounds_and_back(numbers):
    axis = TauAxis(0.1, 10.0)
    space = reach.Parameters(axis)
    grid, stray = space.grid(np.array(numbers))
    assert 6.0 * (1 - 1e-12) <= float(grid[0]) <= 10.0
    assert float(grid[-1]) >= 0.1 * (1 - 1e-12)
    assert bool((grid.diff() <= 0).all())
    assert stray >= 0
    if bool((axis.taus(grid).diff() < -1e-3).all()):
        back, none = space.grid(space.of(grid))
        assert torch.allclose(back, grid, rtol=1e-6)
        assert none == pytest.approx(0, abs=1e-9)


def case(problem="tiny flow, CFG 2", solver="dpmpp_2m", **ratios):
    errors = {method: {"8": ratio, "12": 0.1} for method, ratio in ratios.items()}
    return {"problem": problem, "solver": solver, "stock": {"karras": {"8": 1.0, "12": 1.0}}, "longer": {},
            "learned": errors}  # fmt: skip


def test_only_limits_that_no_refined_fit_met_are_looked_into():
    alone = reach.ALONE
    assert [(steps, limit) for _, steps, limit in reach.missed([case(refined=0.5)])] == [("8", 0.4)]
    assert (
        reach.missed([case(refined=0.5, **{alone: 0.39}), case(refined=0.4), case("2-D, EDM range", refined=9)]) == []
    )
    assert reach.measured(case(refined=0.5, **{alone: 0.45}), "8") == 0.45


def test_the_page_says_which_limits_even_a_search_does_not_reach():
    row = {"problem": "tiny flow, CFG 2", "solver": "dpmpp_2m", "steps": 8, "stock": "simple", "refined": 0.543,
           "limit": 0.4, "found": {"refined": 0.453, "simple": 0.571}}  # fmt: skip
    other = {**row, "steps": 12, "found": {"refined": 0.45, "simple": 0.38}}
    record = {"about": {"command": "c", "date": "d", "machine": {"cpu": "x"}, "seeds": {}}, "rows": [row, other]}
    text = "\n".join(results_tables._reach(record))
    assert "| tiny flow, CFG 2: DPM++ 2M, 8 steps / simple | 0.543 | 0.453 | 0.571 | 0.4 | no |" in text
    assert "12 steps / simple | 0.543 | 0.450 | 0.380 | 0.4 | yes |" in text
    assert "in 1 of 2 cells it stays above the limit too" in text
    assert results_tables._reach({**record, "rows": []}) == []
