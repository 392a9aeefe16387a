"""The demo: its report's pictures, links and numbers, and that a second run replaces the first."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import asdict
from html.parser import HTMLParser
from urllib.parse import urlparse

import pytest
import torch
from PIL import Image

from restart_art.cli import demo, main, measure, report
from restart_art.cli.budget import fine_grid, steps_within
from restart_art.cli.data import FAMILY, Settings
from restart_art.cli.fitting import best_stock
from restart_art.cli.page import number
from restart_art.schedules import ArtSchedule, edm_sigmas
from restart_art.schedules.plot import pilot_chart, schedule_curves
from restart_art.tiny.digits import digits


class Page(HTMLParser):
    """Links and pictures of a page, and the text of its table rows."""

    def __init__(self, text):
        super().__init__()
        self.links, self.images, self.rows, self.tags = [], [], [], set()
        self.in_row = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        if tag == "a":
            self.links.append(found["href"])
        if tag == "img":
            assert found["alt"]
            self.images.append(found["src"])
        if tag == "tr":
            self.in_row = True
            self.rows.append([])
        if tag in ("td", "th") and self.in_row:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.in_row = self.in_row and tag != "tr"

    def handle_data(self, data):
        if self.in_row and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def result():
    stages = []
    found = demo.run_demo(("flow", "eps"), Settings.quick(), 3, lambda *stage: stages.append(stage))
    assert {stage[0] for stage in stages} == {"flow", "eps"}
    assert all(0 <= done <= total for _, _, done, total in stages)
    return found


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert report.write_report(folder, result) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_every_picture_and_link_of_the_page_exists_beside_it(folder, page):
    assert len(page.images) > 30
    for reference in {*page.images, *page.links}:
        assert not urlparse(reference).scheme, "nothing from outside"
        assert (folder / reference).is_file(), reference
    for reference in page.images:
        with Image.open(folder / reference) as image:
            assert min(image.size) >= 140
    assert not {"script", "link", "iframe"} & page.tags
    assert "url(" not in (folder / "report.html").read_text(encoding="utf-8")


def test_the_table_holds_the_measured_numbers(result, page):
    rows = [row for row in page.rows if len(row) in (7, 9)]
    for found in result.checkpoints:
        for run in found.runs:
            start = [str(run.steps), f"{run.calls:g}", str(run.rounds), f"{1000 * run.seconds:.1f}", number(run.error)]
            assert any([*row[2:6], row[6].removesuffix(" *")] == start for row in rows), run
    text = " ".join(cell for row in page.rows for cell in row)
    for found in result.checkpoints:
        for fit in found.fits.values():
            for errors in fit["pilot"].values():
                assert all(number(error) in text for error in errors.values())


def test_results_json_is_what_was_returned(result, folder):
    data = json.loads((folder / "results.json").read_text())
    assert data["seed"] == 3
    for found, plain in zip(result.checkpoints, data["checkpoints"], strict=True):
        assert plain["runs"] == [asdict(run) for run in found.runs]


def test_the_page_says_what_it_is_evidence_for(folder, result):
    text = re.sub(r"\s+", " ", (folder / "report.html").read_text(encoding="utf-8"))
    assert "not for image quality on big checkpoints" in text
    assert "restart-art demo --checkpoint both --seed 3" in text
    assert "Karras = EDM" in text
    for fit in result.checkpoints[0].fits.values():
        assert str(fit["model_evaluations"]) in text.replace(",", "")


def test_the_schedules_are_saved_beside_the_page(result, folder):
    for found in result.checkpoints:
        for solver, schedule in found.schedules.items():
            saved = ArtSchedule.load(folder / f"art-{found.name}-{solver}.safetensors")
            assert saved.sigmas(6).tolist() == schedule.sigmas(6).tolist()


def test_every_sampler_ran_on_every_schedule_within_its_budget(result):
    for found in result.checkpoints:
        assert found.columns == (
            ["karras", "edm", "stock", "art"] if found.name == "flow" else ["karras", "stock", "art"]
        )
        for sampler in FAMILY:
            runs = [run for run in found.runs if run.sampler == sampler]
            assert {run.schedule for run in runs} == set(found.columns)
            for run in runs:
                spent = run.rounds if sampler == "parallel_midpoint" else run.calls
                assert 1 <= spent <= run.budget
                assert run.budget in ((6,) if sampler == "parallel_midpoint" else (6, 8))
                assert math.isfinite(run.error)
                assert (run.energy is not None) == (run.budget == 6)


def test_one_seed_one_result(result):
    again = demo.run_demo(("flow",), Settings.quick(), 3).checkpoints[0]
    for first, second in zip(result.checkpoints[0].runs, again.runs, strict=True):
        assert (first.steps, first.calls) == (second.steps, second.calls)
        assert first.error == pytest.approx(second.error, rel=1e-3)


@pytest.fixture
def earlier(folder, tmp_path):
    """A folder with an earlier report and a file of the user's."""
    copy = shutil.copytree(folder, tmp_path / "out")
    (copy / "mine.txt").write_text("kept")
    return copy


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_demo_replaces_the_first_and_leaves_other_files(capsys, monkeypatch, result, earlier):
    before = contents(earlier)
    for name in before:
        if name != "mine.txt":
            (earlier / name).write_bytes(b"old")
    monkeypatch.setattr(demo, "run_demo", lambda *_: result)
    assert main(["demo", "--out", str(earlier), "--quick", "--no-progress"]) == 0
    assert f"Report: {(earlier / 'report.html').resolve()}" in capsys.readouterr().out
    after = contents(earlier)
    assert set(after) == set(before), "no temporary files are left"
    assert [name for name, data in after.items() if data == b"old"] == []
    assert after["mine.txt"] == b"kept"
    assert after["report.html"] == before["report.html"]


def test_a_failed_drawing_leaves_the_old_report(capsys, monkeypatch, result, earlier):
    before = contents(earlier)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", lambda *_: result)
    monkeypatch.setattr(report, "error_chart", fail)
    assert main(["demo", "--out", str(earlier), "--quick", "--no-progress"]) == 130
    assert "the report was not written" in capsys.readouterr().err
    assert contents(earlier) == before


def test_ctrl_c_stops_all_checkpoints():
    def stop(work, what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(("flow", "eps"), Settings.quick(), 0, stop)


def test_the_best_stock_schedule_is_also_sought_among_those_with_as_many_steps_as_asked():
    named = {"exact": lambda steps: torch.zeros(steps + 1), "longer": lambda steps: torch.zeros(steps + 2)}
    report = {
        "pilot": {"8": {"exact": 0.2, "longer": 0.1, "art": 0.05}, "20": {"exact": 0.3, "longer": 0.1}},
        "pilot_trajectories": {"8": {"exact": 8, "longer": 8, "art": 8}, "20": {"exact": 8, "longer": 2}},
    }
    assert best_stock(report, named, 9) == ["longer", "exact"]
    assert best_stock(report, named, 40) == ["exact"]


def test_steps_within_a_budget():
    from restart_art.tiny.sampling import FlowSampling

    def schedule(steps):
        return edm_sigmas(steps, 0.003, 1.0, flow=True)

    def steps(budget, sampler, options=None):
        return steps_within(budget, FlowSampling(), sampler, schedule, options or {})

    assert steps(12, "euler") == 12
    assert steps(12, "heun") == 6
    assert steps(13, "heun") == 7
    assert steps(12, "parallel_midpoint") == 11
    assert steps(12, "restart", {"segments": ((3, 2, 0.06, 0.3),), "solver": "euler"}) in (7, 8)


@pytest.mark.parametrize(("low", "high", "flow"), [(0.003, 1.0, True), (0.03, 14.6, False)])
def test_the_fine_grid_spans_the_model_and_descends(low, high, flow):
    grid = fine_grid(64, low, high, flow=flow)
    assert grid.shape == (65,)
    assert (grid[0].item(), grid[-2].item()) == pytest.approx((high, low), rel=1e-4)
    assert grid[-1] == 0
    assert (grid.diff() < 0).all()


def test_energy_distance_is_small_for_real_digits_and_large_for_others():
    images, classes = digits()
    distance = measure.DigitDistance(images[600:], classes[600:])
    pick = torch.cat([torch.nonzero(classes[:600] == digit).flatten()[:30] for digit in range(10)])
    value, error = distance(images[pick], classes[pick])
    assert abs(value) < 0.05
    assert 0 < error < 0.02
    blurred = images[pick] * 0.5 + 0.25
    assert distance(blurred, classes[pick])[0] > 0.5
    assert distance(images[pick][torch.arange(300) % 30], classes[pick][torch.arange(300) % 30])[0] > value


def test_end_error_is_a_root_mean_square():
    zero = torch.zeros(3, 16, 8, 8)
    assert measure.end_error(zero + 0.5, zero) == pytest.approx(0.5)


def test_pictures_of_schedules_need_something_to_draw():
    with pytest.raises(ValueError, match="curves"):
        schedule_curves({"nothing": [0.0]})
    with pytest.raises(ValueError, match="pilot"):
        pilot_chart({"pilot": {}})
    curves = {"karras": torch.tensor([10.0, 1.0, 0.0]), "ART": [10.0, 2.0, 0.5, 0.0]}
    picture = schedule_curves(curves, "two lengths", 512, 320)
    assert picture.size == (512, 320)
    assert picture.getpixel((511, 0)) == (255, 255, 255)
    chart = pilot_chart({"pilot": {"8": {"art": 0.1, "karras": 0.2}}, "chosen": {"8": "art"}, "solver": "euler"})
    assert chart.size == (640, 400)
