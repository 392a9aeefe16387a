"""docs/scaling.md: the simulator against closed forms, its plan against real fits, the page against its record."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import records

from restart_art.schedules import fit_schedule

import scaling_measure
from exact import mixture_16d
from scaling import write
from scaling_machines import CLUSTERS, FULL, SIZES, fitted_cost, gpu_costs, models
from scaling_measure import accuracies, case, run_worker, sample_once
from scaling_model import (
    NOWHERE,
    Cluster,
    Cost,
    Link,
    Row,
    batch_messages,
    critical_path,
    shares,
    simulate,
    simulate_sampling,
)
from scaling_page import page
from scaling_plan import Chain, all_rounds, foreseen, merged_rounds, parallel_rounds
from scaling_results import Fit, check_counts, check_plans, expected_messages, fits, setting_of
from scaling_trace import checked, traced
from scaling_worker import batch_seconds, run_fit

FREE = Cluster(NOWHERE, NOWHERE)
SLOW = Cluster(Link("a", 1e-4, 1e8), Link("b", 1e-3, 1e7), 4)
COST, ROW = Cost(0.02, 0.03), Row(1024)
NOISE = torch.randn(9, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
BOUNDS = {"sigma_min": 0.05, "sigma_max": 20.0}
rounds_of = st.lists(st.integers(1, 40), min_size=1, max_size=12)


class TestSimulator:
    @settings(deadline=None, max_examples=60)
    @given(rounds=rounds_of)
    def test_one_device_takes_the_sum_of_the_parts(self, rounds):
        found = simulate(rounds, 1, COST, SLOW, ROW, serial=2.0, loading=3.0)
        assert found.seconds == pytest.approx(5 + sum(0.02 + 0.03 * n for n in rounds))
        assert (found.wire, found.sent, found.evaluations, found.rounds) == (0, 0, sum(rounds), len(rounds))
        assert simulate_sampling(rounds, 1, COST, SLOW.inside, ROW).seconds == pytest.approx(found.seconds - 5)

    @settings(deadline=None, max_examples=60)
    @given(rounds=rounds_of)
    def test_devices_without_end_and_free_messages_take_the_critical_path(self, rounds):
        found = simulate(rounds, 64, COST, FREE, ROW, serial=2.0, loading=3.0)
        assert (
            found.seconds
            == pytest.approx(critical_path(rounds, COST, 2.0, 3.0))
            == pytest.approx(5 + 0.05 * len(rounds))
        )
        assert simulate_sampling(rounds, 64, COST, NOWHERE, ROW).seconds == pytest.approx(0.05 * len(rounds))

    @settings(deadline=None, max_examples=60)
    @given(rounds=rounds_of, devices=st.integers(1, 20), latency=st.floats(0, 0.1), factor=st.floats(1, 10))
    def test_slower_messages_never_make_it_faster(self, rounds, devices, latency, factor):
        slow, slower = (Link("", latency * f, 1e8 / f) for f in (1, factor))
        one, two = (simulate(rounds, devices, COST, Cluster(link, link), ROW) for link in (slow, slower))
        assert one.seconds <= two.seconds * (1 + 1e-12)
        assert simulate(rounds, devices, COST, FREE, ROW).seconds <= one.seconds * (1 + 1e-12)
        assert one.busy == pytest.approx(two.busy)
        one, two = (simulate_sampling(rounds, devices, COST, link, ROW) for link in (slow, slower))
        assert one.seconds <= two.seconds * (1 + 1e-12)

    @settings(deadline=None, max_examples=60)
    @given(rounds=rounds_of, devices=st.integers(2, 20))
    def test_nothing_is_lost_or_made_up(self, rounds, devices):
        for samples in rounds:
            parts = shares(samples, devices)
            assert sum(parts) == samples
            assert len(parts) == devices
            assert max(parts) == -(-samples // devices)
        found = simulate(rounds, devices, COST, SLOW, ROW)
        parts = found.loading + found.serial + found.model + found.wire
        assert found.seconds == pytest.approx(parts)
        assert found.sent == found.payload * (devices - 1)
        # Every state goes out once, every answer comes back once, padded to equal shares; the rest is small.
        latents = sum(n + devices * -(-n // devices) for n in rounds) * ROW.size
        assert found.payload == latents + sum(80 + 12 * n + 8 * devices for n in rounds)
        free = simulate_sampling(rounds, devices, COST, SLOW.inside, ROW)
        away = sum(n - shares(n, devices)[0] for n in rounds)
        assert free.payload == away * (2 * ROW.size + ROW.item)

    def test_seconds_of_a_round_counted_by_hand(self):
        """5 samples on 3 devices, 2 a node: shares 2, 2, 1; each message 1 s a hop, 10 s between the nodes."""
        place = Cluster(Link("", 1, math.inf), Link("", 10, math.inf), 2)
        found = simulate([5], 3, Cost(100, 7), place, ROW)
        # four broadcasts: one hop between, one inside; two rings of two steps at the slowest link
        assert found.seconds == 4 * (10 + 1) + (100 + 14) + 2 * (2 * 10)
        assert (found.busy, found.messages) == (3 * 100 + 5 * 7, 6)

    def test_sampling_counted_by_hand(self):
        """4 levels on 2 devices: sends 1 s, both evaluate 10 s, the answers need 1 s."""
        found = simulate_sampling([4], 2, Cost(10, 0), Link("", 1, math.inf), ROW)
        assert found.seconds == 12
        assert (found.model, found.wire, found.messages) == (10, 2, 2)


class TestPlan:
    def test_a_real_fit_makes_the_rounds_foreseen(self):
        with torch.no_grad(), traced() as trace:
            schedule = fit_schedule(mixture_16d(), NOISE, **BOUNDS, steps=(4, 6), callback=trace.progress)
        chains = trace.chains
        checked(schedule.report, chains)
        wanted = foreseen("direct", "euler", (4, 6), len(NOISE))
        seen = [c for c in chains if c.kind in ("reference", "propagate")]
        assert [(c.stage, c.kind, c.samples) for c in wanted] == [(c.stage, c.kind, c.samples) for c in seen]
        fitting = sum(c.evaluations for c in chains if c.stage == "density")
        assert fitting == schedule.report["model_evaluations"]
        assert sum(merged_rounds(chains)) == sum(all_rounds(chains))
        assert len(merged_rounds(chains)) < len(all_rounds(chains))
        assert [Chain.from_record(json.loads(json.dumps(c.to_record()))) for c in chains] == chains

    def test_a_refined_fit_begins_with_the_rounds_foreseen(self):
        """Until its first real run; the whole one is in the record (TestPage)."""

        def stop_at_the_first_run(told):
            trace.progress(told)
            if "run" in trace.kinds:
                raise KeyboardInterrupt

        with torch.no_grad(), traced() as trace, pytest.raises(KeyboardInterrupt):
            fit_schedule(mixture_16d(), NOISE, **BOUNDS, steps=(4, 6), method="refined", callback=stop_at_the_first_run)
        wanted = foreseen("refined", "euler", (4, 6), len(NOISE))[:-1]  # but for the pilot's reference
        seen = [c for c in trace.chains if c.kind != "run"]
        assert [(c.stage, c.kind, c.samples) for c in wanted] == [(c.stage, c.kind, c.samples) for c in seen]

    def test_a_round_that_is_not_recorded_is_noticed(self):
        with pytest.raises(RuntimeError, match="2 evaluations were recorded, the fit reports 3"):
            checked({"model_evaluations": 2, "pilot_evaluations": 1}, [Chain("density", "reference", 0, (2,))])

    def test_merging_keeps_what_needs_an_answer_apart(self):
        chains = [
            Chain("density", "reference", 0, (3, 3)), Chain("density", "propagate", 1, (1, 2)),
            Chain("density", "propagate", 1, (1,)), Chain("reference", "reference", 2, (5, 5, 5)),
            Chain("pilot", "trial", 3, (1, 1)), Chain("pilot", "trial", 3, (1,)), Chain("pilot", "trial", 4, (4,)),
        ]  # fmt: skip
        assert merged_rounds(chains) == [8, 8, 5, 2, 2, 2, 1, 4]

    @pytest.mark.parametrize(("sweeps", "warm", "pictures"), [(1, True, 1), (2, True, 2), (1, False, 1)])
    def test_parallel_midpoint_makes_the_rounds_foreseen(self, sweeps, warm, pictures):
        run = sample_once(4, 3, sweeps, warm, pictures)
        told = parallel_rounds(4, 3, sweeps, pictures, warm=warm)
        assert run["samples"] == told
        assert (run["rounds"], run["evaluations"]) == (len(told), sum(told))


@pytest.fixture(scope="module")
def measured():
    """A small fit alone, and over two real gloo ranks."""
    small = case("direct", (4,), "mixture", 7)
    with torch.no_grad():
        alone = run_fit(small, None)
    return alone, run_worker([small], 2)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
class TestRanks:
    def test_rounds_collectives_and_bytes_are_those_foreseen(self, measured):
        alone, two = (Fit.of(fit) for fit in (measured[0], measured[1]["fits"][0]))
        assert two.rounds == alone.rounds
        entry = measured[1]["fits"][0]
        seen = {k: {"calls": v["calls"], "bytes": v["bytes"]} for k, v in entry["messages"].items()}
        assert seen == expected_messages(alone.rounds, 2, entry["last_word"], Row(16, 8))
        assert all(v["seconds"] > 0 for v in entry["messages"].values())

    def test_one_process_sends_nothing(self, measured):
        assert {v["calls"] for v in measured[0]["messages"].values()} == {0}

    def test_batches_and_messages_were_timed(self, measured):
        cost = fitted_cost([row[:2] for row in batch_seconds("flow", calls=2)])
        assert cost.seconds(8) > cost.seconds(1) > 0
        assert all(seconds > 0 for rows in measured[1]["messages"].values() for _, seconds in rows)


class TestInputs:
    def test_costs_are_found_again(self):
        cost = fitted_cost([[b, 0.3 + 0.07 * b] for b in (1, 2, 8)])
        assert (cost.fixed, cost.each) == (pytest.approx(0.3), pytest.approx(0.07))
        with pytest.raises(ValueError, match="at least two batch sizes"):
            fitted_cost([[4, 1.0]])

    def test_gpu_times_replace_the_assumed_ones(self, tmp_path):
        assert gpu_costs(tmp_path / "gpu.json") == []
        rows = [["SDXL UNet", "1024", str(n), "1", f"{0.02 + 0.04 * n:.4f}"] for n in (1, 2, 4)]
        rows.append(["SD 1.5 UNet", "512", "1", "1", "0.02"])  # one batch size says nothing of the next
        header = ["model", "pixels", "R", "calls", "s, one batch"]
        record = {"size": "full", "tables": [{"part": "b", "header": header, "rows": rows}]}
        (tmp_path / "gpu.json").write_text(json.dumps(record), encoding="utf-8")
        found = models(gpu_costs(tmp_path / "gpu.json"))
        own = [m for m in found if m.source != "assumed"]
        assert [m.name for m in own] == ["SDXL-sized, 1024 px"]
        assert own[0].cost.fixed == pytest.approx(0.02)
        assert [m.name for m in found].count("SD 1.5-sized, 512 px") == 2
        assert len(models([])) == 2 * len(SIZES)
        assert models([])[0].share == FULL

    def test_the_sampler_benchmark_is_read(self):
        rows = accuracies(records.ROOT / "docs" / "samplers-benchmark.md")
        own = [r for r in rows if r["method"] == "parallel midpoint"]
        assert len(own) == 4
        for row in own:
            told = parallel_rounds(*setting_of(row["setting"]))
            assert (len(told), sum(told)) == (row["rounds"], row["evaluations"])

    def test_a_page_without_the_table_is_named(self, tmp_path):
        (tmp_path / "a.md").write_text("nothing", encoding="utf-8")
        with pytest.raises(ValueError, match=r"a\.md has no table"):
            accuracies(tmp_path / "a.md")

    def test_ranks_that_fail_say_why(self, tmp_path, monkeypatch):
        (tmp_path / "worker.py").write_text("raise SystemExit('no such model')", encoding="utf-8")
        monkeypatch.setattr(scaling_measure, "WORKER", tmp_path / "worker.py")
        with pytest.raises(RuntimeError, match="of 2 ranks failed:\nno such model"):
            run_worker([], 2)

    def test_ranks_that_hang_are_ended(self, tmp_path, monkeypatch):
        (tmp_path / "worker.py").write_text("import time; time.sleep(300)", encoding="utf-8")
        monkeypatch.setattr(scaling_measure, "WORKER", tmp_path / "worker.py")
        with pytest.raises(RuntimeError, match="2 ranks took over 1 seconds"):
            run_worker([], 2, limit=1.0)


class TestPage:
    def test_the_page_is_what_its_record_says(self, tmp_path):
        record = records.load("scaling")
        path = write(record, tmp_path)
        docs = records.ROOT / "docs"
        assert path.read_bytes() == (docs / "scaling.md").read_bytes()
        assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"
        assert page(json.loads(json.dumps(record))) == page(record)

    def test_what_was_foreseen_was_counted(self):
        record = records.load("scaling")
        assert len(fits(record)) == 4
        assert all(c["equal"] for c in check_counts(record))
        assert all(same for _, _, same in check_plans(record).values())

    def test_the_record_names_no_machine(self):
        text = (records.DATA / "scaling.json").read_text(encoding="utf-8")
        assert not any(word in text for word in ("/work", "/home", "/tmp", "hostname"))

    def test_six_collectives_a_round_on_every_cluster(self):
        for cluster in CLUSTERS.values():
            assert simulate([3, 5], 4, COST, cluster, ROW).messages == 2 * len(batch_messages(3, 4, ROW)) == 12
