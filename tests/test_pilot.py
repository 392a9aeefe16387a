"""The pilot: which candidates it runs, on how many trajectories, and what it keeps."""

import pytest
import torch

from restart_art.schedules import edm_sigmas
from restart_art.schedules.art.pilot import Trial, run_pilot
from restart_art.schedules.art.trajectories import Field, log_uniform_nodes, solve_reference

from exact import grid_5x5, start

EDM = {"sigma_min": 0.002, "sigma_max": 80.0}


def field_of(model, rows):
    return Field(model, start(model, rows, 1.0), None, lambda _: None)


def test_pilot_drops_the_hopeless_but_keeps_the_best_baseline():
    model = grid_5x5(0.3)
    field = field_of(model, 16)
    rows = list(range(16))
    ends = solve_reference(field, rows, log_uniform_nodes(96, 0.002, 80.0, field.process)).end
    candidates = {
        "good": lambda n: edm_sigmas(n, **EDM),
        "fair": lambda n: edm_sigmas(n, 0.002, 80.0, 4.0),
        "linear": lambda n: torch.linspace(80.0, 0.0, n + 1),
        "broken": lambda n: torch.tensor([1.0, 2.0, 0.0]),
        "absent": lambda n: None,
    }
    trials = run_pilot(field, rows, ends, candidates, {"linear", "fair"}, [10], "euler", lambda _: None)[10]
    runs = {t.name: len(t.errors) for t in trials}
    assert set(runs) == {"good", "fair", "linear", "fair+good"}
    assert runs["good"] == runs["fair"] == 16
    assert runs["linear"] == 1
    assert trials[0].score == min(t.score for t in trials[:2])


def test_a_pilot_leaves_out_what_is_foreseen_to_be_hopeless_and_keeps_its_allowance():
    model = grid_5x5(0.3)
    field, rows = field_of(model, 16), list(range(16))
    ends = solve_reference(field, rows, log_uniform_nodes(96, 0.002, 80.0, field.process)).end
    candidates = {f"rho {rho}": lambda n, rho=rho: edm_sigmas(n, 0.002, 80.0, rho) for rho in range(2, 12)}
    stock = {"rho 2", "rho 3", "rho 4", "rho 11"}

    def likely(_, grids):
        return {name: abs(int(name[4:]) - 6.9) + 1 for name in grids}

    def tried(allowance):
        before = model.evaluations
        trials = run_pilot(
            field, rows, ends, candidates, stock, [10], "euler", lambda _: None, blend=False, allowance=allowance,
            likely=likely,
        )[10]  # fmt: skip
        assert model.evaluations - before == 10 * sum(len(t.errors) for t in trials) <= allowance
        assert sum(len(t.errors) == len(trials[0].errors) for t in trials if t.name in stock) >= 1
        return {t.name for t in trials}

    assert tried(600) == set(candidates)  # 100 of the first round's 180
    assert tried(200) == {f"rho {rho}" for rho in (3, 4, 5, 6, 7, 8)}  # 60: the likeliest, two of the stock among them
    assert tried(100) == {f"rho {rho}" for rho in (3, 4, 6, 7)}  # 30, yet two of the stock and two others


def test_the_score_is_between_the_mean_and_the_geometric_mean():
    trial = Trial("a", 3, torch.tensor([1.0, 0.0]), [0.01, 0.01, 0.01, 1.0])
    assert trial.score == pytest.approx((0.2575 * 0.01**0.75) ** 0.5)
    assert Trial("b", 3, trial.sigmas).score == float("inf")
