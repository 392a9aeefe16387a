"""docs/results.md is what the script writes from the committed records; claims, sources and missing records."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import records

sys.path.insert(0, str(Path(__file__).parent / "faults"))
sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import asked
import results
import results_art
import results_claims
from results_chart import chart
from results_judged import VERDICTS, decide
from results_page import page
from results_tables import judged_targets, source

import samplers

import part_parallel
import part_restart
from samplers_report import Target

DOCS = records.ROOT / "docs"
SAMPLE_GPU = {
    "command": "make bench-gpu", "machine": "one big card", "date": "2026-01-02", "seeds": [1, 2],
    "tables": [{"title": "Batches", "header": ["R", "seconds"], "rows": [["1", "0.5"], ["2", "0.7"]], "text": ["So."]}],
    "targets": [{"text": "overhead", "measured": 1.5, "limit": 1, "met": False},
                {"text": "memory", "measured": 2.0, "limit": 10.0, "met": True},
                {"text": "rounds", "measured": None, "limit": 3, "met": None}],
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> dict[str, records.Record]:
    return results.gather()


def claims(data):
    return [claim for paper in data["papers"]["papers"] for claim in paper["claims"]]


def test_the_page_is_what_the_records_say(data):
    """After a benchmark or make test-faults has written a record: make results."""
    assert (DOCS / "results.md").read_text(encoding="utf-8") == page(data, results.PICTURE), "run: make results"
    assert (DOCS / results.PICTURE).stat().st_size < 200_000


def test_two_runs_write_the_same_bytes(data, tmp_path):
    """One as the command, with another order of sets; one in this process."""
    command = [sys.executable, str(Path(results.__file__)), "--out", str(tmp_path / "one")]
    subprocess.run(command, check=True, capture_output=True, timeout=120, env={**os.environ, "PYTHONHASHSEED": "7"})
    results.write(data, tmp_path / "two")
    for file in ("results.md", results.PICTURE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_every_claim_has_a_verdict_and_a_reason(data):
    found = claims(data)
    assert len({claim["id"] for claim in found}) == len(found)
    assert {claim["id"] for claim in found} == set(results_claims.JUDGES)
    for claim in found:
        judged = results_claims.judge(claim, data)
        assert judged.verdict in VERDICTS
        assert len(judged.why) > 30
        assert bool(re.search(r"\d", judged.ours)) == (judged.verdict != VERDICTS[2]), claim["id"]
    with pytest.raises(records.MissingRecord, match="nobody knows"):
        results_claims.judge({"id": "nobody knows"}, data)


@pytest.mark.parametrize("path", [
    "samplers/restart", "samplers/randomized", "samplers/parallel", "schedules/cases", "claims/contraction/repeats",
    "claims/dimensions/exponents", "claims/dimensions/steps/parallel rounds", "claims/against DDIM", "claims/transfer",
    "claims/call counts", "claims/trained network", "faults/figures/soak/prompts", "faults/figures/kill/fit_kills",
    "faults/figures/text", "faults/about", "claims/about",
])  # fmt: skip
def test_a_number_that_is_not_recorded_is_an_error_that_names_it(data, path):
    name, *parts = path.split("/")
    broken = {**data, name: copy.deepcopy(data[name])}
    owner = records.pick(broken[name], "/".join(parts[:-1])) if parts[:-1] else broken[name]
    del owner[parts[-1]]
    with pytest.raises(records.MissingRecord, match="command|about" if parts[-1] == "about" else re.escape(parts[-1])):
        page(broken, results.PICTURE)


def test_a_lost_cell_is_an_error_too(data):
    cases = [c for c in data["schedules"]["cases"] if (c["problem"], c["solver"]) != (results_art.EDM[1], "euler")]
    with pytest.raises(records.MissingRecord, match="16-D, EDM range"):
        page({**data, "schedules": {**data["schedules"], "cases": cases}}, results.PICTURE)
    with pytest.raises(ValueError, match="no cell"):
        decide([])


@pytest.mark.parametrize("name", results.NEEDED)
def test_a_missing_record_is_an_error_that_names_it(tmp_path, name):
    for path in records.DATA.glob("*.json"):
        if path.stem != name:
            shutil.copy(path, tmp_path)
    with pytest.raises(records.MissingRecord, match=rf"docs/data/{name}\.json"):
        results.gather(tmp_path)


def test_the_pages_of_the_benchmarks_tell_the_same_counts(data):
    for command, file in (("make bench-samplers", "samplers"), ("make bench-schedules", "schedules")):
        limited = [t for t in judged_targets(data)[command] if t.limit is not None]
        met = sum(bool(t.met) for t in limited)
        told = f"**{met} of {len(limited)} targets met, {len(limited) - met} missed.**"
        assert told in (DOCS / f"{file}-benchmark.md").read_text(encoding="utf-8"), command


def test_every_table_stands_under_its_command_machine_date_and_seeds(data):
    text = page(data, results.PICTURE)
    for name in ("samplers", "schedules", "claims", "faults"):
        line = source(data[name])
        assert line in text
        head = data[name]["about"]
        assert head["command"] in line
        assert head["date"] in line
        assert f"{head['machine']['cores']} CPU cores" in line
        assert "Seeds: " in line
    with pytest.raises(records.MissingRecord, match="seeds"):
        source({"about": {"command": "", "date": "", "machine": ""}})


def test_records_name_no_machine_and_no_path():
    for path in records.DATA.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(home|root|work|tmp|Users)\b", text), path.name
        assert path.stat().st_size <= 200_000, path.name


def test_a_verdict_follows_the_numbers(data):
    """The same claim, other numbers: the other verdict."""
    ddim, contraction = ({"id": name} for name in ("ddim", "contraction"))
    assert results_claims.judge(contraction, data).verdict == VERDICTS[0]
    turned = copy.deepcopy(data["claims"])
    for row in turned["contraction"]["repeats"].values():
        row["Restart"], row["ODE"] = row["ODE"], row["Restart"]
    for rows in turned["against DDIM"].values():
        for row in rows.values():
            row["paper's draws"] = 0.5 * row["DDIM"]
    assert results_claims.judge(contraction, {**data, "claims": turned}).verdict == VERDICTS[1]
    assert results_claims.judge(ddim, {**data, "claims": turned}).verdict == VERDICTS[0]


def test_a_missed_figure_is_told_in_both_places(data):
    faults = copy.deepcopy(data["faults"])
    faults["figures"]["soak"]["errors"] = 3
    text = page({**data, "faults": faults}, results.PICTURE)
    assert "| 3 | errors | at most 0 | 3 | **missed** |" in text
    assert "- `make test-faults`: errors: asked at most 0, counted 3." in text


def test_a_whole_run_tells_its_duration_and_promises(data):
    tests = {"passed": {name: 1 for promise in asked.ASSERTED for name in promise.tests}, "skipped": {}}
    lost = asked.ASSERTED[1].tests[0]
    del tests["passed"][lost]
    head = {**data["faults"]["about"], "run": "whole", "seconds": 1234}
    text = page({**data, "faults": {**data["faults"], "about": head, "tests": tests}}, results.PICTURE)
    assert "1,234 s" in text
    assert "module by module" not in text
    assert f"| {asked.ASSERTED[0].what} | held |" in text
    assert f"**not run**: {lost}" in text


def test_gpu_tables_are_shown_once_they_are_there(data):
    without = {name: record for name, record in data.items() if name != "gpu"}
    assert "No GPU numbers are recorded yet" in page(without, results.PICTURE)
    text = page({**data, "gpu": SAMPLE_GPU}, results.PICTURE)
    assert "No GPU numbers" not in text
    assert "### Batches" in text
    assert "| 2 | 0.7 |" in text
    assert "| overhead | 1.5 | 1 | **missed** |" in text
    assert "| rounds |  | 3 | not measured |" in text
    assert "mean nothing" in page({**data, "gpu": {**SAMPLE_GPU, "size": "toy"}}, results.PICTURE)
    assert "*`make bench-gpu`, 2026-01-02. one big card. Seeds: 1, 2.*" in text


def test_the_chart_shows_both_benchmarks(data):
    assert chart(data, {"a": [Target("", 0.5, 1.0), Target("", 2.0, 1.0)]}, width=300).width == 300


def test_seeds_of_the_sampler_benchmark_are_those_of_its_parts():
    text = Path(part_parallel.__file__).read_text(encoding="utf-8")
    assert all(f"manual_seed({seed})" in text for seed in samplers.SEEDS["parallel"])
    assert samplers.SEEDS["perturbations"] == [*part_restart.SEEDS, part_restart.TUNING_SEED]


def test_a_record_without_its_head_is_refused(tmp_path):
    with pytest.raises(ValueError, match="seeds"):
        records.keep("x", {"about": {"command": "", "date": "", "machine": {}}}, tmp_path)
    head = records.about("make x", {"all": [1]}, ["0.33.0"])
    record = {"about": head, "numbers": [{"a": [1.5, 2]}, {"b": {}}], "none": None}
    path = records.keep("x", record, tmp_path)
    assert records.load("x", tmp_path) == record
    before = path.read_bytes()
    records.keep("x", records.load("x", tmp_path), tmp_path)
    assert path.read_bytes() == before
