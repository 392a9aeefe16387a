"""The evaluation room (batch, chunks, one by one), the registry, and the rules of the house."""

from __future__ import annotations

import ast
import types
from pathlib import Path

import pytest
import torch

from restart_art.samplers import register_samplers, sample_parallel_midpoint, sample_restart
from restart_art.samplers.evaluation import PairEvaluator
from restart_art.samplers.registry import SAMPLERS
from restart_art.samplers.solvers import host_namespace, set_host

from exact import Mixture, grid_5x5, start
from pair_tools import Labelled, one_by_one, pairs

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("options", [{}, {"max_batch": 7}, {"max_batch": 1}, {"max_batch": 7, "split_rows": True}])
def test_however_it_is_split_the_result_is_the_same(options):
    model = Labelled(grid_5x5().means, 0.2)
    x, sigma, args = pairs()
    evaluator = PairEvaluator(model, args, **options)
    assert torch.allclose(evaluator.evaluate(x, sigma), one_by_one(model, x, sigma, args), atol=1e-12)
    assert evaluator.evaluations == 15
    assert evaluator.rounds == 1
    calls = {(): 1, ("max_batch",): 3 if options.get("max_batch") == 7 else 5, ("max_batch", "split_rows"): 3}
    assert evaluator.calls == calls[tuple(options)]


@pytest.mark.parametrize(("limit", "split"), [(14, False), (7, False), (3, False), (2, True), (1, True)])
def test_out_of_memory_halves_the_chunk_and_is_remembered(limit, split):
    model = Labelled(grid_5x5().means, 0.2)
    x, sigma, args = pairs()
    expected = one_by_one(model, x, sigma, args)
    model.limit = limit
    evaluator = PairEvaluator(model, args, split_rows=split)
    assert torch.allclose(evaluator.evaluate(x, sigma), expected, atol=1e-12)
    assert evaluator.max_batch <= limit
    before = evaluator.calls
    evaluator.evaluate(x, sigma)
    assert evaluator.calls - before >= 15 / limit


def test_out_of_memory_on_the_smallest_chunk_is_raised():
    model = Labelled(grid_5x5().means, 0.2)
    model.limit = 2
    x, sigma, args = pairs()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        PairEvaluator(model, args).evaluate(x, sigma)  # a level of three samples may not be split


def test_other_errors_are_not_swallowed():
    def broken(x, sigma):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        PairEvaluator(broken).evaluate(*pairs()[:2])


def test_an_obstacle_changes_the_calls_but_not_the_picture():
    class Masked(Mixture):
        def __call__(self, x, sigma, denoise_mask=None, **kw):
            assert denoise_mask is None or bool((sigma == sigma[0]).all())
            return super().__call__(x, sigma)

    sigmas = torch.tensor([10.0, 3.0, 1.0, 0.3, 0.0])
    ends, calls = [], []
    for mask in (None, torch.ones(3, 2)):
        model = Masked(grid_5x5().means, 0.3)
        x = start(model, 3, 10.0)
        ends.append(sample_parallel_midpoint(model, x, sigmas, {"denoise_mask": mask}, disable=True))
        calls.append(model.calls)
    assert torch.allclose(*ends, atol=1e-10)
    assert calls == [5, 1 + 3 * 4 + 1]


# --- registry ---


@pytest.fixture
def keep_host():
    host = host_namespace()
    yield
    set_host(host)


@pytest.mark.usefixtures("keep_host")
def test_names_are_added_in_place_once():
    host, names = types.SimpleNamespace(), ["euler"]
    same = names
    assert register_samplers(host, names) == list(SAMPLERS)
    assert register_samplers(host, names) == list(SAMPLERS)
    assert names is same
    assert names == ["euler", "restart", "randomized_midpoint", "parallel_midpoint"]
    assert host.sample_restart is sample_restart


@pytest.mark.usefixtures("keep_host")
def test_a_foreign_name_is_left_alone_and_logged(caplog):
    def foreign():
        pass

    host, names = types.SimpleNamespace(sample_restart=foreign), ["restart", "parallel_midpoint"]
    with caplog.at_level("WARNING"):
        assert register_samplers(host, names) == ["randomized_midpoint"]
    assert host.sample_restart is foreign
    assert not hasattr(host, "sample_parallel_midpoint")
    assert names == ["restart", "parallel_midpoint", "randomized_midpoint"]
    assert len(caplog.records) == 2


# --- the house ---


def sources(*rooms):
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_arrows_go_one_way():
    for path in sources("samplers", "schedules"):
        for name in imports(path):
            assert not name.startswith(("comfy", "restart_art")), (path, name)
            assert "nodes" not in name.split("."), (path, name)
    for path in sources("samplers"):
        assert not any("schedules" in name for name in imports(path)), path
    for path in sources("nodes"):
        if path.parent.name != "host":  # comfy_api is the public interface for nodes
            bad = [n for n in imports(path) if n.split(".")[0] in {"comfy", "folder_paths", "latent_preview", "server"}]
            assert not bad, (path, bad)


def test_nothing_dangerous_is_called():
    for path in sources("samplers", "schedules", "nodes", "cli", "tiny"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in {"eval", "exec", "torch.load", "os.system"}, (path, name)
                assert not name.startswith(("pickle.", "subprocess.")), (path, name)


def test_files_stay_small():
    for path in sources("samplers", "schedules", "nodes", "cli", "tiny"):
        assert len(path.read_text().splitlines()) <= 350, path
