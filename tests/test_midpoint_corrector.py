"""The randomized midpoint sampler's corrector and preset: calls, seeds, batches, processes, laws, old results."""

from __future__ import annotations

import pytest
import torch

from restart_art.samplers import sample_randomized_midpoint
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.noise_process import NoiseProcess
from restart_art.samplers.randomized_midpoint import PRESETS, Variant, resolve_preset

from exact import gaussian, grid_5x5, mixture_16d, start


def grid_for(kind, n, top=20.0, bottom=0.02):
    process = NoiseProcess(kind)
    return torch.tensor([process.from_ve(s) for s in karras_ramp(n, top, bottom)] + [0.0], dtype=torch.float64)


def run(model, x, grid, seed=1, **options):
    return sample_randomized_midpoint(model, x, grid, {"seed": seed}, disable=True, **options)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("ve", {}, (-1.3901807219, -0.5996974099, -0.1547172962)),
        ("ve", {"measure": "inverse_sigma"}, (-1.2961928693, -0.5997521113, -0.1484856152)),
        ("flow", {}, (-1.3828985684, -0.6020806793, -0.1528216082)),
        ("flow", {"measure": "ou", "spread": 1.0, "antithetic": False}, (-1.8984182453, -0.3019639501, -0.1487900227)),
    ],
)
def test_runs_without_the_new_options_are_what_they_were(kind, options, expected):
    """First coordinate of three samples, as the version before the corrector drew them: old workflows keep pictures."""
    model = mixture_16d(kind=kind)
    levels = torch.tensor([20.0, 7.0, 2.0, 0.7, 0.2, 0.05, 0.0], dtype=torch.float64)
    x = start(model, 3, 20.0 if kind == "ve" else 20 / 21)
    end = run(model, x, levels if kind == "ve" else levels / (1 + levels), 5, **options)
    assert end[:, 0].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("steps", [1, 4, 9])
@pytest.mark.parametrize("corrector", [0, 1, 3])
def test_calls(steps, corrector):
    """2 N - 1, and n for each of the N - 1 levels above 0 that a step ends at; N of both if a run stops above 0."""
    model = gaussian()
    x, grid = start(model, 3, 20.0), grid_for("ve", max(steps, 2))[-steps - 1 :]
    run(model, x, grid, corrector_steps=corrector)
    assert model.calls == 2 * steps - 1 + corrector * (steps - 1)
    assert model.evaluations == 3 * model.calls
    model = gaussian()
    run(model, x, torch.cat([grid[:-1], grid[-2:-1] / 2]), corrector_steps=corrector)
    assert model.calls == 2 * steps + corrector * steps


def test_strength_zero_is_off():
    model = gaussian()
    x, grid = start(model, 3, 20.0), grid_for("ve", 5)
    assert torch.equal(run(model, x, grid, corrector_steps=4, corrector_strength=0.0), run(model, x, grid))
    assert model.calls == 18


def test_callback_once_a_step_with_the_corrector():
    model, seen = gaussian(), []
    run(model, start(model, 2, 20.0), grid_for("ve", 6), preset="paper", callback=lambda d: seen.append(d["i"]))
    assert seen == list(range(6))


def test_preset_paper_is_its_parts():
    assert resolve_preset("paper", "sigma", 0.6, True, 0) == PRESETS["paper"]
    assert resolve_preset("paper", "ou", 1.0, False, 3) == Variant("ou", 1.0, False, 3, "score")
    assert resolve_preset(None, "ou", 1, False, 2) == Variant("ou", 1.0, False, 2, "denoised")
    model = mixture_16d()
    x, grid = start(model, 4, 20.0), grid_for("ve", 6)
    assert torch.equal(run(model, x, grid, preset="paper"), run(model, x, grid, preset="paper", corrector_steps=1))
    paper = {"measure": "ou", "spread": 1.0, "antithetic": False}
    assert torch.equal(run(model, x, grid, preset="paper", **paper), run(model, x, grid, preset="paper"))
    assert torch.equal(run(model, x, grid, preset="paper", corrector_strength=0.0), run(model, x, grid, **paper))
    model.calls = 0
    run(model, x, grid, preset="paper")
    assert model.calls == 2 * 6 - 1 + 5


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"preset": "best"}, "preset is 'best'; allowed: paper"),
        (
            {"preset": "paper", "measure": "inverse_sigma"},
            "measure is 'inverse_sigma', but preset 'paper' sets it to 'ou'",
        ),
        ({"preset": "paper", "spread": 0.3}, "spread is 0.3, but preset 'paper' sets it to 1.0"),
        ({"preset": "paper", "measure": "log"}, "measure is 'log'"),
        ({"corrector_steps": -1}, "corrector_steps is -1"),
        ({"corrector_steps": 1.5}, "corrector_steps is 1.5"),
        ({"corrector_strength": -0.1}, "corrector_strength is -0.1"),
        ({"corrector_strength": 2.1}, "corrector_strength is 2.1"),
        ({"corrector_strength": float("nan")}, "corrector_strength is nan"),
    ],
)
def test_bad_options_are_named_before_any_call(options, complaint):
    model = gaussian()
    with pytest.raises(ValueError, match=complaint):
        run(model, start(model, 1, 1.0), torch.tensor([1.0, 0.0]), **options)
    assert model.calls == 0


@pytest.mark.parametrize("preset", [None, "paper"])
def test_seeds_and_batches(preset):
    """The seed decides; a sample does not depend on the batch it is in; a list of seeds is one run for each."""
    model = grid_5x5(0.3)
    x, grid, options = start(model, 4, 20.0), grid_for("ve", 8), {"preset": preset, "corrector_steps": 2}
    whole = run(model, x, grid, 4, **options)
    assert torch.equal(run(model, x, grid, 4, **options), whole)
    assert not torch.allclose(run(model, x, grid, 5, **options), whole, atol=1e-3)
    assert torch.allclose(run(model, x[:2], grid, 4, **options), whole[:2], atol=1e-12)
    listed = run(model, x, grid, [7, 4, 9, 7], **options)
    for i, seed in enumerate((7, 4, 9, 7)):
        assert torch.allclose(run(model, x[i : i + 1], grid, seed, **options), listed[i : i + 1], atol=1e-12)
    same_start = run(model, x[:1].expand(2, -1), grid, 4, **options)
    assert not torch.allclose(same_start[0], same_start[1], atol=1e-3)


@pytest.mark.parametrize("options", [{"preset": "paper"}, {"measure": "ou", "corrector_steps": 2}])
def test_flow_is_the_ve_run_in_other_coordinates(options):
    ve, flow = mixture_16d(kind="ve"), mixture_16d(kind="flow")
    x = start(ve, 4, 20.0)
    a = run(ve, x, grid_for("ve", 9), **options)
    b = run(flow, x / 21, grid_for("flow", 9), **options)
    assert (a - b).abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_is_kept(dtype):
    model = mixture_16d(kind="flow")
    x = start(model, 2, 1.0, dtype=dtype)
    end = run(model, x, torch.tensor([1.0, 0.9, 0.5, 0.1, 0.0]), preset="paper")  # starts at pure noise
    assert end.dtype == dtype
    assert torch.isfinite(end).all()


def sliced_distance(a, b):
    """Root-mean-square distance of sorted projections on 100 directions (sliced Wasserstein-2)."""
    directions = torch.randn(a.shape[1], 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    directions /= directions.norm(dim=0)
    return ((a @ directions).sort(0).values - (b @ directions).sort(0).values).square().mean().sqrt().item()


@pytest.mark.parametrize("model", [mixture_16d(), grid_5x5(0.1)], ids=["16d", "grid"])
def test_corrector_mends_coarse_steps_of_the_papers_draws(model):
    """Six steps, 2,000 samples, distance to the data's law.

    Measured over three seeds: 0.25 and 0.22 without, 0.13-0.15 and 0.09-0.10 with one substep, 0.07-0.09 and
    0.04-0.05 with two. And what the help page says: ten steps without (19 calls, not 21) do as well, 0.08 and 0.05.
    """
    x, data = start(model, 2000, 20.0, seed=5), model.sample(2000, torch.Generator().manual_seed(1))

    def distance(steps, **options):
        return sliced_distance(run(model, x, grid_for("ve", steps), 3, preset="paper", **options), data)

    without = distance(6, corrector_strength=0.0)
    mended = distance(6)
    assert mended < 0.75 * without
    assert distance(6, corrector_steps=2) < 0.8 * mended
    assert distance(10, corrector_strength=0.0) < mended
