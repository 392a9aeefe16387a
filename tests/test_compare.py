"""Comparing schedules on exact mixtures: errors, cost, ties, words and pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from restart_art.schedules import edm_sigmas, stock_schedules
from restart_art.schedules.art.compare import Comparison, Entry, compare, expected_evaluations, plan
from restart_art.schedules.art.compare_report import comparison_text, table, verdict
from restart_art.schedules.art.trajectories import Field
from restart_art.schedules.plot_compare import comparison_chart, picture_grid

from exact import Mixture, gaussian, grid_5x5, mixture_16d

LOW, HIGH = 0.03, 14.6
STOCK = stock_schedules(None, LOW, HIGH)


def measure(
    model: Mixture,
    entries: Sequence[Entry],
    steps: Sequence[int],
    *,
    noises: int = 6,
    nodes: int = 64,
    high: float = HIGH,
) -> tuple[Comparison, int, int]:
    """The comparison, the evaluations it reported and those it announced."""
    spent: list[int] = []
    noise = torch.randn(noises, model.means.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    runs = plan(entries, steps)
    found = compare(Field(model, noise, None, spent.append), range(noises), runs, LOW, high, nodes)
    return found, sum(spent), expected_evaluations(runs, noises, nodes)


def entries_of(*solvers: str) -> list[Entry]:
    return [Entry(solver, name, make) for solver in solvers for name, make in STOCK.items()]


def test_errors_are_those_of_the_closed_form() -> None:
    """On a Gaussian every solver is linear: Euler's factors and the exact answer are known to the last digit."""
    scale, count = 0.5, 5
    model = gaussian(scale)
    found, _, _ = measure(model, [Entry("euler", "karras", STOCK["karras"])], (8,), noises=count, nodes=400)
    grid = STOCK["karras"](8).double()
    # x' = (x - D) / sigma with D = scale^2 / (scale^2 + sigma^2) x
    factor = torch.prod(1 + (grid[1:] - grid[:-1]) * grid[:-1] / (scale**2 + grid[:-1] ** 2))
    # The reference ends with one step from sigma_min to D, as samplers do.
    exact = scale / (scale**2 + HIGH**2) ** 0.5 * (scale**2 / (scale**2 + LOW**2)) ** 0.5
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * HIGH
    wanted = (noise * abs(factor - exact)).square().mean(1).sqrt()
    (run,) = found.runs
    np.testing.assert_allclose(run.errors, wanted, rtol=1e-3)
    assert run.end is not None
    np.testing.assert_allclose(run.end, (noise[:1] * factor).float(), rtol=1e-4)


@pytest.mark.parametrize("kind", ["ve", "flow"])
def test_cost_is_what_was_announced_and_what_the_model_saw(kind: str) -> None:
    model = grid_5x5(kind=kind)
    high = HIGH if kind == "ve" else 1.0
    named = {"edm": lambda n: edm_sigmas(n, LOW, high, flow=kind == "flow")}
    entries = [Entry(solver, name, make) for solver in ("euler", "heun") for name, make in named.items()]
    found, spent, announced = measure(model, entries, (5, 9), noises=3, high=high)
    assert spent == announced == model.evaluations
    assert [run.calls for run in found.runs] == [5, 9, 9, 17]  # heun: two calls a step, one for the last


def test_more_steps_and_higher_order_are_closer() -> None:
    found, _, _ = measure(mixture_16d(), entries_of("euler", "dpmpp_2m"), (8, 16))
    mean = {(run.solver, run.name, run.steps): run.mean for run in found.runs}
    for name in STOCK:
        assert mean["euler", name, 16] < mean["euler", name, 8]
        assert mean["dpmpp_2m", name, 8] < mean["euler", name, 8]
    assert found.best(16).solver == "dpmpp_2m"


def test_reference_error_bounds_the_true_one() -> None:
    """The estimate lies above the distance to a reference sixteen times as fine, and shrinks with more nodes."""
    fine, _, _ = measure(mixture_16d(), entries_of("euler")[:1], (4,), nodes=1024)
    estimates = []
    for nodes in (32, 64, 128):
        found, _, _ = measure(mixture_16d(), entries_of("euler")[:1], (4,), nodes=nodes)
        truth = float((found.reference_end - fine.reference_end).double().square().mean().sqrt())
        assert truth <= found.reference_error
        estimates.append(found.reference_error)
    assert estimates == sorted(estimates, reverse=True)


def test_same_levels_by_two_names_are_a_tie() -> None:
    linear = Entry("euler", "linear", lambda n: torch.linspace(HIGH, 0, n + 1))
    twice = [Entry("euler", name, STOCK["karras"]) for name in ("karras", "again")]
    found, _, _ = measure(mixture_16d(), [linear, *twice], (6,))
    runs = {run.name: run for run in found.runs}
    assert runs["karras"].errors == runs["again"].errors
    assert [found.tied(runs[name]) for name in ("karras", "again", "linear")] == [False, True, False]
    rows = {line.split()[1]: line for line in table(found)}
    assert ["*" in rows[name] for name in ("karras", "again", "linear")] == [True, False, False]
    assert "=" in rows["again"]
    assert "again cannot be told apart from it" in verdict(found)


def test_verdict_names_best_gain_and_cheaper() -> None:
    found, spent, _ = measure(mixture_16d(), entries_of("euler", "heun"), (8, 12), noises=8)
    text = verdict(found)
    best, second = found.ranked(8)[:2]
    assert text.startswith(f"At 8 steps {best.solver} with {best.name} lands closest to the exact answer (error")
    assert text.count("At ") == len(found.steps) == 2
    assert f"with {second.name}" in text
    if best.calls > 8:
        assert "fewer model calls (8)" in text
    report = comparison_text(found, spent, 2.0)
    assert f"{spent} model evaluations in 2 seconds, on 8 noise(s)" in report
    assert len(report.splitlines()) == 6 + 1 + 2 * len(STOCK)


def test_one_noise_and_a_coarse_reference_are_warned_of() -> None:
    found, _, _ = measure(mixture_16d(), entries_of("dpmpp_2m"), (40,), noises=1, nodes=16)
    text = comparison_text(found, 1, 0.0)
    assert "Warning: one noise" in text
    assert "raise reference_steps" in text


class Breaks(Mixture):
    """Answers NaN at levels just above 2: a grid that meets such a level is lost."""

    def __call__(self, x, sigma, seed=None, **_):
        bad = (sigma > 2.0) & (sigma < 2.01)
        return torch.where(bad[:, None], torch.nan, super().__call__(x, sigma))


def test_a_run_that_breaks_down_does_not_end_the_others() -> None:
    model = Breaks(mixture_16d().means, 0.3)
    broken = Entry("euler", "broken", lambda n: torch.tensor([HIGH, 2.005, 0.5, 0.0]))
    found, _, _ = measure(model, [*entries_of("euler"), broken], (3, 6))
    assert {run.name for run in found.runs if run.end is None} == {"broken"}
    assert {run.name for run in found.runs if run.mean == float("inf")} == {"broken"}
    assert not any(found.tied(run) for run in found.runs if run.name == "broken")
    assert "inf" in table(found)[-1]
    assert "broken" not in verdict(found)
    assert comparison_chart(found).width == 960
    grey = picture_grid(found, [None] * len(found.runs), Image.new("RGB", (8, 8)), 64)
    assert grey.getpixel((grey.width - 140, 60)) == (0xD9, 0xDD, 0xE2)
    alone, _, _ = measure(model, [broken], (3,))
    assert verdict(alone) == "At 3 steps nothing arrives at a picture: all end in NaN or inf."


def test_reference_in_groups_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, spent, _ = measure(mixture_16d(), entries_of("euler"), (4,), noises=5)
    monkeypatch.setattr("restart_art.schedules.art.compare.GROUP_VALUES", 33)  # two of 16 values
    groups, spent_again, _ = measure(mixture_16d(), entries_of("euler"), (4,), noises=5)
    assert spent == spent_again
    for a, b in zip(whole.runs, groups.runs, strict=True):
        np.testing.assert_allclose(a.errors, b.errors, rtol=1e-9)


def test_an_entry_without_that_step_count_is_left_out_there() -> None:
    grid = STOCK["karras"](8)
    fixed = Entry("euler", "sigmas", lambda n: grid if n == 8 else None)
    found, _, _ = measure(mixture_16d(), [*entries_of("euler"), fixed], (8, 12))
    assert [(run.name, run.steps) for run in found.runs].count(("sigmas", 8)) == 1
    assert ("sigmas", 12) not in [(run.name, run.steps) for run in found.runs]
    row = next(line for line in table(found) if "sigmas" in line)
    assert row.rstrip().endswith("-")
    assert comparison_chart(found).width == 960


@pytest.mark.parametrize(
    ("entries", "steps", "names"),
    [
        ([], (8,), "nothing to compare"),
        (entries_of("euler"), (), "nothing to compare"),
        (entries_of("euler"), (0,), "steps is 0"),
        (entries_of("euler_ancestral"), (8,), "sampler is 'euler_ancestral'; allowed: euler"),
        ([Entry("euler", "odd", lambda n: torch.ones(n + 1))], (8,), "schedule 'odd' at 8 steps"),
        ([Entry("euler", "half", lambda n: torch.linspace(2, 1, n + 1))], (8,), "ends at sigma 1; it must end in 0"),
        ([Entry("euler", "gone", lambda n: STOCK["gone"](n))], (8,), "schedule 'gone' at 8 steps"),
    ],
)
def test_bad_input_is_named(entries: list[Entry], steps: tuple[int, ...], names: str) -> None:
    with pytest.raises(ValueError, match=r".+") as failure:
        plan(entries, steps)
    assert names in str(failure.value)


def test_bad_reference_is_named_before_any_call() -> None:
    model = mixture_16d()
    with pytest.raises(ValueError, match="reference_steps is 8"):
        measure(model, entries_of("euler"), (8,), nodes=8)
    assert model.calls == 0


def test_what_the_watcher_raises_ends_it() -> None:
    def stop(made: list) -> None:
        raise KeyboardInterrupt

    field = Field(gaussian(), torch.ones(2, 2), None, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        compare(field, range(2), plan(entries_of("euler"), (4,)), LOW, HIGH, 16, stop)


@pytest.mark.parametrize("steps", [(8,), (6, 8, 12)])
def test_chart_shows_every_schedule_in_its_colour(steps: tuple[int, ...]) -> None:
    found, _, _ = measure(mixture_16d(), entries_of("euler", "dpmpp_2m"), steps, noises=2)
    picture = comparison_chart(found, width=800)
    assert picture.width == 800
    seen = {colour for _, colour in picture.getcolors(picture.width * picture.height) or []}
    assert {(0x00, 0x72, 0xB2), (0x56, 0xB4, 0xE9)} <= seen  # karras and exponential


def test_grid_puts_each_picture_in_its_place() -> None:
    found, _, _ = measure(mixture_16d(), entries_of("euler"), (6, 8), noises=2)
    tones = [(10 * k + 20, 0, 0) for k in range(len(found.runs))]
    sheet = picture_grid(
        found, [Image.new("RGB", (8, 8), tone) for tone in tones], Image.new("RGB", (8, 8), "blue"), 64
    )
    pixels = np.asarray(sheet)
    place = {tone: np.argwhere((pixels == tone).all(-1)).mean(0) for tone in tones}
    for run, tone in zip(found.runs, tones, strict=True):
        assert (pixels == tone).all(-1).sum() == 64 * 64
        for other, beside in zip(found.runs, tones, strict=True):
            if run.steps == other.steps:
                assert place[tone][1] == place[beside][1]
            if run.name == other.name:
                assert place[tone][0] == place[beside][0]
    assert (pixels == (0, 0, 255)).all(-1).sum() == len(STOCK) * 64 * 64
