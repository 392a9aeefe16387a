"""The small runs behind the claims: exact yardsticks, their interpolation, and a rival that is not held back."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import claims
import claims_art
import claims_midpoint
import claims_restart

from restart_art.samplers.solvers import resolve_solver

from exact import Mixture


def test_the_product_is_a_mixture_in_every_coordinate():
    product = claims_midpoint.Product()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = torch.tensor([3.0, 0.5, 0.1], dtype=torch.float64)
    whole = product(x, sigma)
    one = Mixture(product.one.means, product.one.scale, weights=product.one.log_weights.exp().log())
    for column in range(4):
        torch.testing.assert_close(whole[:, column : column + 1], one(x[:, column : column + 1], sigma))


def test_its_quantiles_are_its_flow():
    """A fine solver from the points at the top arrives at the points at the bottom."""
    product = claims_midpoint.Product()
    u = torch.rand(6, 3, generator=torch.Generator().manual_seed(1)).double()
    grid = claims_midpoint.levels(300)
    end = resolve_solver("heun")(product, product.at(u, claims_midpoint.TOP), grid, disable=True)
    torch.testing.assert_close(end, product.at(u, claims_midpoint.BOTTOM), rtol=0, atol=1e-4)


def test_exponents_and_crossings_of_known_powers():
    dims = claims_midpoint.DIMS
    assert claims_midpoint.slope(dims, [3 * d**0.4 for d in dims]) == pytest.approx(0.4)
    steps = [4, 8, 16]
    errors = [claims_midpoint.TOLERANCE * (10 / n) ** 2 for n in steps]
    assert claims_midpoint.crossing(steps, errors) == pytest.approx(10)
    with pytest.raises(RuntimeError, match="no crossing"):
        claims_midpoint.crossing([4, 8], [1.0, 0.9])


def test_the_strongest_churn_is_the_rival():
    row = {"Restart": [1.0, 2.0], "ODE": [5.0, 5.0], "SDE 5": [4.0, 4.0], "SDE 15": [1.0, 3.0], "SDE 30": [3.0, 3.0]}
    best = claims_restart._best_churn(row)
    assert best["SDE"] == [1.0, 3.0]
    assert set(best) == {"Restart", "ODE", "SDE"}


def test_published_settings_make_their_calls():
    counts = claims_restart.call_counts()
    assert len(counts) >= 11
    assert all(row["made"] == row["published"] for row in counts.values())


def test_contraction_in_small(monkeypatch):
    """A shifted start: the ODE keeps the shift, a restart does not; all three spend what is told."""
    for name, value in (("SAMPLES", 300), ("SEEDS", (1, 2)), ("REPEATS", (1, 6)), ("CHURNS", (15.0,)), ("STEPS", 12)):
        monkeypatch.setattr(claims_restart, name, value)
    rows = claims_restart.contraction()["repeats"]
    assert rows["6"]["calls"] - rows["1"]["calls"] == 5 * 2 * (claims_restart.NODES - 1)
    assert rows["6"]["Restart"] < 0.5 * rows["6"]["ODE"]
    assert all(math.isfinite(v) for row in rows.values() for v in row["errors"].values())


def test_transfer_compares_with_karras_where_the_grid_is_used(monkeypatch):
    monkeypatch.setattr(claims_art, "HELD", 32)
    monkeypatch.setattr(claims_art, "COUNTS", (10,))
    monkeypatch.setattr(claims_art, "PROBLEMS", ("2-D, EDM range", "16-D, EDM range"))
    table = claims_art.transfer()
    assert set(table) == set(claims_art.PROBLEMS)
    assert all(0 < row[used]["10"] < 3 for row in table.values() for used in claims_art.PROBLEMS)
    own, other = (table[name]["16-D, EDM range"]["10"] for name in ("16-D, EDM range", "2-D, EDM range"))
    assert own != other


def test_every_part_tells_its_seeds():
    assert set(claims.SEEDS) | {"call counts"} == set(claims.PARTS)
