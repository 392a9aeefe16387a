"""Restart within a budget of model calls: never above it, as much as fits, and nothing changed without a word."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from restart_art.samplers import sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.restart_presets import PRESETS
from restart_art.samplers.segments import resample

from exact import gaussian, start


def karras(steps):
    return torch.tensor([*karras_ramp(steps, 80.0, 0.002), 0.0], dtype=torch.float64)


def run(grid, **options):
    model, said, seen = gaussian(), [], []
    sample_restart(
        model, start(model, 2, float(grid[0])), grid, disable=True, report=said.append, callback=seen.append, **options
    )
    assert f"= {model.calls} model calls" in said[0]
    assert seen[-1]["i"] == len(grid) - 2
    return model.calls, said[0]


@pytest.mark.parametrize("name", ["auto", "sd1.5 cfg 5", "cifar10 vp 115 calls", "imagenet64 203 calls"])
@pytest.mark.parametrize(("solver", "per_step"), [("euler", 1), ("heun", 2), ("dpm_2", 2), ("dpmpp_2m", 1)])
def test_within_steps_costs_no_more_than_the_steps(name, solver, per_step):
    for steps in (5, 13, 30):
        calls, _ = run(karras(steps), segments=name, solver=solver, main_solver=solver, budget="within steps")
        assert calls <= per_step * steps
        assert calls > per_step * (steps - 3)  # and spends it


@pytest.mark.parametrize("budget", [1, 2, 7, 18, 40, 64, 202, 203, 1000])
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_number_of_calls_is_never_passed(budget, solver):
    calls, text = run(karras(36), segments="imagenet64 203 calls", solver=solver, budget=budget)
    assert calls <= budget
    whole = 203 if solver == "heun" else 36 + 66
    assert calls >= min(budget - 4, whole)
    assert ("\n" in text) == (budget < whole)  # says so exactly if something had to give


def test_a_budget_with_room_changes_nothing():
    model = gaussian()
    grid, x = karras(18), start(gaussian(), 2, 80.0)
    options = {"disable": True, "extra_args": {"seed": 4}, "segments": [(3, 2, 0.06, 0.3)]}
    assert torch.equal(sample_restart(model, x, grid, **options, budget=43), sample_restart(model, x, grid, **options))


def test_what_gives_and_in_which_order(caplog):
    """Main grid to a half, then repeats, then levels, then whole restarts from the top."""
    segments = [(5, 2, 1.0, 5.0), (5, 3, 0.06, 0.3)]  # 18 main + 8 + 12 steps, 1 call each

    def texts(budget):
        return run(karras(18), segments=segments, solver="euler", budget=budget)[1].splitlines()

    assert texts(38) == ["Restart: 18 main + 20 restart steps = 38 model calls"]
    assert texts(30) == [
        "Restart: 10 main + 20 restart steps = 30 model calls",
        "The main run is shortened from 18 to 9 steps to stay within 30 model calls",
        "1 level inserted into the steps for restarts to end at",
    ]
    with caplog.at_level("WARNING"):
        lines = texts(20)
    assert lines[0] == "Restart: 11 main + 8 restart steps = 19 model calls"
    assert "restart 1 (sigma 1 to 5) is cut from 2 x 4 steps to 1 x 4" in lines[1]
    assert "restart 2 (sigma 0.06 to 0.3) is cut from 3 x 4 steps to 1 x 4" in lines[2]
    assert [record.message for record in caplog.records] == [line.removeprefix("Warning: ") for line in lines[1:3]]
    assert "restart 1 (sigma 1 to 5) is cut from 2 x 4 steps to 1 x 3" in texts(12)[1]
    assert any("restart 1 (sigma 1 to 5) does not fit into 6 model calls and is left out" in t for t in texts(6))
    assert "does not fit into 2 model calls" in "".join(texts(2))


def test_a_far_t_min_is_inserted_and_paid_for():
    grid = [80.0, 20.0, 5.0, 2.0, 1.0, 0.5, 0.25, 0.01, 0.0]
    calls, text = run(
        torch.tensor(grid, dtype=torch.float64), segments=[(3, 1, 0.05, 0.2)], solver="euler", budget="within steps"
    )
    assert calls == 8
    assert "1 level inserted into the steps for restarts to end at" in text


def test_too_small_and_wrong_budgets_are_named():
    model = gaussian()
    grid = karras(8)
    for budget, complaint in [
        (0, "budget is 0; it must be a whole number >= 1"),
        (2.5, "budget is 2.5"),
        (True, "budget is True"),
        ("cheap", "budget is 'cheap'; allowed: on top of steps, within steps"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            sample_restart(model, start(model, 1, 80.0), grid, disable=True, budget=budget)
    with pytest.raises(ValueError, match="budget is 1 model calls; the shortest run with this solver needs 2"):
        sample_restart(model, start(model, 1, 80.0), torch.tensor([2.0, 1.0]), disable=True, budget=1)
    assert model.calls == 0


def test_resampling_keeps_the_users_schedule():
    """Same ends, same shape: a schedule even in log sigma stays exactly so, and any number of steps works."""
    log_even = [80.0 * 0.5**i for i in range(13)]
    assert resample(log_even, 12) == log_even
    assert resample(log_even, 6) == pytest.approx(log_even[::2], rel=1e-12)
    assert resample([*log_even, 0.0], 7) == pytest.approx([*log_even[::2], 0.0], rel=1e-12)
    for steps in range(1, 20):
        for grid in (log_even, [*log_even, 0.0], [1.0, 0.9, 0.2, 0.0], [1.0, 0.0]):
            short = resample(grid, steps) if len(grid) > 2 or steps == 1 else grid
            assert short[0] == grid[0]
            assert short[-1] == grid[-1]
            assert all(a > b for a, b in pairwise(short))
            if len(grid) > 2:
                assert len(short) == steps + 1


def test_every_preset_within_every_small_budget():
    """No preset breaks on a short run, whatever it has to give up."""
    for name in PRESETS:
        for steps in (1, 2, 5):
            grid = karras(steps) if steps > 1 else torch.tensor([80.0, 0.0], dtype=torch.float64)
            calls, _ = run(grid, segments=name, budget="within steps")
            assert calls <= 2 * steps
