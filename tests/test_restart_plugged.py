"""Solvers plugged into Restart: tried out first, kept apart in pieces, refused with a reason."""

from __future__ import annotations

import pytest
import torch

from restart_art.samplers import sample_restart
from restart_art.samplers.grid import karras_ramp
from restart_art.samplers.solver_probe import (
    StandIn,
    UntriedSolverError,
    call_counter,
    calls_per_step,
    check_deterministic,
)
from restart_art.samplers.solvers import CALLS_PER_STEP, available_solvers, host_namespace, resolve_solver

from exact import gaussian, grid_5x5, start


def karras(steps):
    return torch.tensor([*karras_ramp(steps, 80.0, 0.002), 0.0], dtype=torch.float64)


def host(name, **options):
    function = getattr(host_namespace(), f"sample_{name}")
    return lambda model, x, sigmas, **keywords: function(model, x, sigmas, **keywords, **options)


def adaptive(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """As ComfyUI wraps dpm_adaptive: only the ends of the grid count."""
    end = sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]
    return host_namespace().sample_dpm_adaptive(
        model, x, float(end), float(sigmas[0]), extra_args=extra_args, disable=True
    )


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2", "dpmpp_2m", "lms"])
def test_a_function_gives_what_its_name_gives(name):
    model = grid_5x5(0.3)
    x = start(model, 3, 80.0)
    options = {"disable": True, "extra_args": {"seed": 2}, "segments": [(4, 2, 0.06, 0.5)]}
    by_name = sample_restart(model, x, karras(12), **options, solver=name)
    spent, model.calls = model.calls, 0
    assert torch.equal(sample_restart(model, x, karras(12), **options, solver=host(name)), by_name)
    assert model.calls == spent  # trying it out called the stand-in, not the model


@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2s_ancestral", "dpm_2_ancestral"])
def test_stochastic_solvers_are_refused_with_the_reason(name, kind):
    model = gaussian(kind=kind)
    top = 80.0 if kind == "ve" else 0.99
    grid = torch.linspace(top, 0, 9, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"adds random noise of its own .* must be deterministic"):
        sample_restart(model, start(model, 1, top), grid, disable=True, solver=host(name))
    assert model.calls == 0
    # The same function without its noise is welcome.
    sample_restart(model, start(model, 1, top), grid, disable=True, solver=host(name, eta=0.0))


def test_churning_heun_and_restart_itself_are_refused():
    with pytest.raises(ValueError, match="adds random noise"):
        check_deterministic(host("heun", s_churn=5.0), "heun with churn")
    with pytest.raises(ValueError, match="restart in restart adds random noise"):
        check_deterministic(sample_restart, "restart in restart")


def test_noise_in_a_part_of_the_run_is_found_on_the_runs_own_levels():
    """Churn only above 20, where the standard grid of the check does not go."""
    model = gaussian()
    solver = host("euler", s_churn=5.0, s_tmin=20.0)
    check_deterministic(solver, "euler")
    with pytest.raises(ValueError, match="adds random noise"):
        sample_restart(model, start(model, 1, 80.0), karras(12), disable=True, solver=solver)
    assert model.calls == 0


def test_a_solver_with_its_own_steps_is_refused():
    with pytest.raises(ValueError, match="chooses its own steps"):
        check_deterministic(adaptive, "adaptive")


def test_a_broken_solver_is_refused_with_its_own_words():
    def broken(model, x, sigmas, **_):
        raise RuntimeError("out of ink")

    model = gaussian()
    with pytest.raises(UntriedSolverError, match=r"could not be tried out on 8 steps.*RuntimeError: out of ink"):
        sample_restart(model, start(model, 1, 80.0), karras(8), disable=True, main_solver=broken)
    with pytest.raises(ValueError, match="turned a picture of shape"):
        check_deterministic(lambda model, x, sigmas, **_: x[..., :1], "cropper")
    assert model.calls == 0


def test_a_solver_that_cannot_do_short_pieces_is_refused_before_the_first_step():
    euler = resolve_solver("euler")

    def long_only(model, x, sigmas, **keywords):
        assert len(sigmas) > 3, "needs three steps"
        return euler(model, x, sigmas, **keywords)

    model = gaussian()
    with pytest.raises(UntriedSolverError, match=r"on 2 steps .*needs three steps"):
        sample_restart(model, start(model, 1, 80.0), karras(12), disable=True, solver=long_only)
    assert model.calls == 0


def test_multistep_history_stays_inside_a_piece():
    """Each piece is one call of the solver on all its levels: it starts afresh there and is not cut further."""
    lengths, two_m = [], resolve_solver("dpmpp_2m")

    def watching(model, x, sigmas, **keywords):
        if not isinstance(model, StandIn):
            lengths.append(len(sigmas) - 1)
        return two_m(model, x, sigmas, **keywords)

    model = gaussian()
    sample_restart(
        model, start(model, 1, 80.0), karras(18), disable=True, segments=[(7, 3, 0.06, 0.3)], solver=watching
    )
    assert lengths[1:4] == [6, 6, 6]
    assert lengths[0] + lengths[4] == 18
    assert len(lengths) == 5


def test_trying_out_leaves_random_numbers_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    check_deterministic(resolve_solver("euler"), "euler")
    with pytest.raises(ValueError, match="random noise"):
        check_deterministic(host("euler_ancestral"), "euler_ancestral")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", available_solvers())
def test_counted_calls_are_the_real_ones(name):
    """Also far beyond the longest piece that is tried, with and without a step to 0."""
    solver = resolve_solver(name)
    assert calls_per_step(solver, name) == CALLS_PER_STEP[name]
    count = call_counter(solver, name)
    for grid in (
        torch.tensor([80.0, 0.0], dtype=torch.float64),
        karras(3),
        karras(30),
        karras(30)[:-1],
        karras(12)[4:9],
    ):
        model = gaussian()
        solver(model, start(model, 1, float(grid[0])), grid, disable=True)
        assert count(grid.tolist()) == model.calls
