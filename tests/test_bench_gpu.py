"""The GPU benchmark: what it says without a GPU, every part at toy size in ComfyUI's own Python, its tools."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent / "comfyui"))

from gpu_bench import parse, said_command
from gpu_glyph_data import CHARACTERS, find_fonts, glyphs, prompts, to_latents, to_pictures
from gpu_glyph_nets import frechet, train_denoiser
from gpu_meter import Clock, CountedModel, SyncCount
from gpu_peers import by_diffusers
from gpu_plan import PARTS
from gpu_report import Result, Table, Target, as_record, join, page
from gpu_specs import GLYPH, SAMPLERS, SPECS
from locate import find_checkout

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tests" / "benchmarks" / "gpu_bench.py"
PAGES = [ROOT / "docs" / name for name in ("gpu-benchmark.md", "gpu-benchmark.png", "data/gpu.json")]


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=env)


def test_without_a_gpu_it_says_what_it_would_run_and_ends_well():
    before = [file.stat().st_mtime_ns if file.exists() else None for file in PAGES]
    run = start()
    assert run.returncode == 0, run.stderr
    assert "No CUDA device was found: nothing was run" in run.stdout
    for letter, title in PARTS.items():
        assert f"({letter}) {title}" in run.stdout
    for spec in (*SPECS.values(), GLYPH):
        assert spec.name in run.stdout
        assert f"{spec.parameters:,} parameters" in run.stdout
    for word in ("512", "1024", "GiB", "R = 1, 2, 4, 8, 16", "25 model calls", "random weights", *SAMPLERS):
        assert word in run.stdout, word
    assert [file.stat().st_mtime_ns if file.exists() else None for file in PAGES] == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--parts", "b,x"], "b,x"),
        (["--models", "sd9"], "sd9"),
        (["--device", "cpu", "--size", "toy"], "--out"),
        (["--device", "cpu", "--out", "x"], "--size toy"),
    ],
)
def test_bad_options_are_named(arguments, named, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert named in capsys.readouterr().err


def test_the_command_can_be_typed_again():
    assert said_command([]) == "make bench-gpu"
    assert said_command(["--parts", "b,c", "--out", "somewhere", "--seed", "3"]) == (
        'make bench-gpu ARGS="--parts b,c --seed 3"'
    )


class Toy:
    """What a run at toy size wrote."""

    def __init__(self, folder: Path) -> None:
        self.record: dict[str, Any] = json.loads((folder / "gpu.json").read_text(encoding="utf-8"))
        self.page = (folder / "gpu-benchmark.md").read_text(encoding="utf-8")
        self.files = sorted(file.name for file in folder.iterdir())

    def rows(self, part: str) -> list[dict[str, str]]:
        return [
            dict(zip(t["header"], row, strict=True)) for t in self.record["tables"] if t["part"] == part
            for row in t["rows"]
        ]  # fmt: skip

    def points(self, part: str) -> dict[str, list[list[float]]]:
        return next(
            lines for t in self.record["tables"] if t["part"] == part for lines in t["points"].values()
        )  # fmt: skip

    def text(self, part: str) -> str:
        return " ".join(line for t in self.record["tables"] if t["part"] == part for line in t["text"])


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Every part once, on the CPU, in ComfyUI's own Python."""
    if find_checkout() is None:
        if os.environ.get("RESTART_ART_REQUIRE_COMFYUI") == "1":
            pytest.fail("RESTART_ART_REQUIRE_COMFYUI=1, but ComfyUI was not found", pytrace=False)
        pytest.skip("ComfyUI was not found (COMFYUI_PATH, ~/comfy/ComfyUI); see README, 'Tests'")
    folder = tmp_path_factory.mktemp("gpu")
    run = start("--device", "cpu", "--size", "toy", "--out", str(folder))
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return Toy(folder)


def test_every_part_has_its_rows_and_the_schema_is_kept(toy):
    assert {"command", "machine", "date", "seeds", "tables", "targets"} <= set(toy.record)
    assert {table["part"] for table in toy.record["tables"]} == set(PARTS)
    for table in toy.record["tables"]:
        assert {"title", "header", "rows"} <= set(table)
        assert table["rows"]
        assert all(len(row) == len(table["header"]) for row in table["rows"])
        assert all(isinstance(cell, str) for row in table["rows"] for cell in row)
    assert toy.record["targets"]
    for target in toy.record["targets"]:
        assert {"text", "measured", "limit", "met"} <= set(target)
    assert toy.files == ["gpu-benchmark.md", "gpu-benchmark.png", "gpu.json"]


def test_the_page_says_what_it_is(toy):
    assert "random weights" in toy.page
    assert "Toy size" in toy.page
    assert toy.record["command"] in toy.page
    for table in toy.record["tables"]:
        assert f"## {table['title']}" in toy.page


def test_the_full_models_are_what_they_are_called(toy):
    """Built by ComfyUI's classes on the meta device; ComfyUI's own detection names them from their weights."""
    rows = {row["model"]: row for row in toy.rows("a")}
    sizes = {"sd15": (0.8595e9, "SD15"), "sdxl": (2.567e9, "SDXL"), "sd3": (2.03e9, "SD3")}
    for key, (size, kind) in sizes.items():
        spec, row = SPECS[key], rows[SPECS[key].name]
        assert int(row["parameters"].replace(",", "")) == spec.parameters == pytest.approx(size, rel=0.01)
        assert row["detected as"] == kind
        assert row["weights"] == "random weights"
        assert row["teraflops of a picture"] == f"512: {spec.teraflops[512]:.3f}"
    assert int(rows[GLYPH.name]["parameters"].replace(",", "")) == GLYPH.parameters


def test_a_batch_of_levels_is_its_single_calls(toy):
    rows = toy.rows("b")
    assert {(row["model"], row["R"]) for row in rows} == {(s.name, r) for s in SPECS.values() for r in ("1", "4")}
    for row in rows:
        assert row["calls"] == "1"
        assert float(row["difference"]) < 1e-4
        assert float(row["s, one batch"]) > 0
        # R = 4 holds more at once than one does.
        assert float(row["GiB, one batch"]) >= float(row["GiB, single"]) * (2 if row["R"] == "4" else 1) > 0


def test_samplers_are_compared_at_equal_calls_and_ours_never_wait(toy):
    rows = toy.rows("c")
    assert [row["sampler"] for row in rows] == list(SAMPLERS)
    assert {row["calls"] for row in rows} == {"5"}
    for row in rows:
        assert float(row["s in the model"]) < float(row["seconds"])
        ours = row["sampler"] in SAMPLERS[3:]
        assert not ours or row["syncs in steps"] == "0", row
    # The stand-in sees what it should: Heun asks in each step whether the next sigma is 0.
    assert next(int(row["syncs in steps"]) for row in rows if row["sampler"] == "heun") > 0
    more = next(int(row["evaluations"]) for row in rows if row["sampler"] == "parallel_midpoint")
    assert more > 5


def test_paradigms_without_tolerance_is_ddim(toy):
    """Both peers solve DDIM's own steps: at tolerance 0 they end where it ends."""
    goals = {r["model"]: float(r["error"]) for r in toy.rows("d") if r["method"].startswith("DDIM-")}
    lines = toy.points("d")
    assert len(goals) == 2
    for where, goal in goals.items():
        peers = [points for label, points in lines.items() if label.startswith(f"{where}: ParaDiGMS")]
        assert len(peers) == 1
        assert min(abs(error - goal) for _, error in peers[0]) < 2e-3 * goal
        assert f"{where}: parallel midpoint" in lines
    if not any("ParaDiGMS (diffusers)" in label for label in lines):
        assert "diffusers is not there: pip install" in toy.text("d")
    assert "no flow models" in toy.text("d")


def test_steps_that_diffusers_would_round_are_refused():
    """With 6 steps it takes other time steps than ComfyUI's "simple", and the end is no longer DDIM's."""
    with pytest.raises(ValueError, match="steps is 6; it must divide 1000"):
        by_diffusers(None, torch.zeros(1, 4, 2, 2), 6, {}, window=2, tolerance=0.1)


def test_a_fit_is_measured_beside_euler(toy):
    (row,) = toy.rows("e")
    assert row["method"] == "refined"
    assert int(row["evaluations"]) > 0 < int(row["pilot's"])
    assert float(row["times Euler"]) == pytest.approx(float(row["GiB"]) / float(row["GiB, Euler"]), abs=0.006)
    texts = [target["text"] for target in toy.record["targets"] if target["part"] == "e"]
    assert any("seconds" in text for text in texts)
    assert any("peak memory" in text for text in texts)


def test_glyphs_are_drawn_by_every_sampler_on_every_schedule(toy):
    rows = toy.rows("f")
    assert {(r["schedule"], r["sampler"]) for r in rows} == {(s, n) for s in ("simple", "learned") for n in SAMPLERS}
    assert {row["calls"] for row in rows} == {"5"}
    assert all(float(row["Fréchet distance"]) > 0 for row in rows)
    assert re.search(r"in \d+ free fonts", toy.text("f"))


def test_frechet_distance_of_known_gaussians():
    draws = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    white = (draws - draws.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(draws.T))).T
    assert frechet(white, white) == pytest.approx(0, abs=1e-6)
    assert frechet(white, white + torch.tensor([3.0, 0, 4.0])) == pytest.approx(25)
    assert frechet(white, 3 * white) == pytest.approx(3 * (3 - 1) ** 2)


def test_waits_count_only_between_calls():
    value = torch.ones(3)
    with SyncCount("cpu") as count:
        model = CountedModel(lambda x, sigma: x * bool(x.sum() > 0), Clock("cpu"), count)
        value.sum().item()  # before the first call
        for _ in range(3):
            model(value, value)
            value.sum().item()
    assert (count.steps, count.model) == (2, 3)  # what follows the last call is not in a step
    assert (model.calls, model.evaluations) == (3, 9)


class _Denoiser(torch.nn.Module):
    """Sees class and picture; has ComfyUI's UNet's signature."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.token = torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.Linear(64, 4)

    def forward(self, x, times, context):
        return self.mix(x) + self.token(context[:, 0])[..., None, None]


def test_glyphs_can_be_learned():
    pictures, classes = glyphs(16, 1, 0, find_fonts())
    assert pictures.shape == (len(CHARACTERS), 1, 16, 16)
    assert -1 <= float(pictures.min()) < -0.5 < 0.5 < float(pictures.max()) <= 1  # paper and ink
    assert torch.equal(glyphs(16, 1, 0, find_fonts())[0], pictures)
    assert len(pictures.unique(dim=0)) > 0.9 * len(CHARACTERS)
    assert torch.equal(to_pictures(to_latents(pictures)), pictures)
    assert torch.equal(prompts(classes, 64).argmax(2)[:, 0], classes)
    torch.manual_seed(0)
    sigmas = torch.linspace(0.03, 14.6, 1000)
    losses = train_denoiser(
        _Denoiser(), sigmas, to_latents(pictures), classes, 64, steps=100, batch=64, seed=0, rate=0.03
    )
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_results_of_several_runs_are_joined():
    def record(machine: str, **parts: str) -> dict[str, Any]:
        joined: dict[str, Any] = {"machine": machine, "size": "full", "tables": [], "targets": []}
        for part, cell in parts.items():
            result = Result([Table(f"({part})", ["x"], [[cell]], [])], [Target(part, float("inf"), 1.0)])
            for kind, entries in as_record(part, result).items():
                joined[kind] += entries
        return joined

    first = record("one", b="old", c="old")
    both = join(first, record("one", c="new", e="new"))
    assert [(t["part"], t["rows"][0][0]) for t in both["tables"]] == [("b", "old"), ("c", "new"), ("e", "new")]
    assert [t["part"] for t in both["targets"]] == ["b", "c", "e"]
    other = join(first, record("two", e="new"))  # another machine's numbers are not mixed in
    assert [t["part"] for t in other["tables"]] == ["e"]
    told = page({**both, "command": "make bench-gpu", "date": "today", "seeds": [0]}, None)
    assert "**0 of 3 targets met, 3 missed, 0 not measured.**" in told
    json.dumps(both, allow_nan=False)
