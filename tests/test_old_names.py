"""The code names nothing of numpy, torch and scipy that the oldest supported version lacks, run or not run."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WATCHED = ("numpy", "torch", "scipy")
ROOMS = ("samplers", "schedules", "nodes", "cli", "tiny", "tests")

# What numpy 2.5.5 has at the top and 1.26.4 has not; what torch 2.15.0 has and 2.4.1 has not: dir() of both, compared.
NEWER = {
    "numpy": """acos acosh asin asinh astype atan atan2 atanh bitwise_count bitwise_invert bitwise_left_shift
        bitwise_right_shift bool concat cumulative_prod cumulative_sum isdtype long matrix_transpose matvec permute_dims
        pow strings trapezoid ulong unique_all unique_counts unique_inverse unique_values unstack vecdot vecmat""",
    "torch": """AcceleratorError accelerator bcomplex32 float4_e2m1fn_x2 float8_e8m0fnu foreach hash_tensor int1 int2
        int3 int4 int5 int6 int7 sym_fresh_size sym_sum thread_safe_generator while_loop""",
    "torch.nn": "Buffer LinearCrossEntropyLoss LinearCrossEntropyOptions",
    "torch.nn.functional": "grouped_mm linear_cross_entropy scaled_addmm scaled_addmm_ scaled_grouped_mm scaled_mm",
    "torch.linalg": "matrix_sqrth polar",
    "torch.cuda": """AcceleratorError GreenContext MemPool caching_allocator_disabled caching_allocator_enable
        device_memory_used get_per_process_memory_fraction get_stream_from_external host_memory_stats
        reset_peak_host_memory_stats use_mem_pool""",
    "torch.distributed": """QueueEmptyError all_gather_single gather_into_tensor gather_single get_backend_impl
        get_default_backend_for_device reduce_scatter_single shrink_group split_group""",
}
TOO_NEW = {f"{module}.{name}" for module, names in NEWER.items() for name in names.split()}


def names_in(text: str) -> set[str]:
    """Dotted names of the watched libraries in a module's text: "numpy.linalg.norm" for np.linalg.norm."""
    tree = ast.parse(text)
    aliases: dict[str, str] = {}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                aliases[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                found.add(f"{node.module}.{alias.name}")
    for node in ast.walk(tree):
        parts, inner = [], node
        while isinstance(inner, ast.Attribute):
            parts, inner = [inner.attr, *parts], inner.value
        if parts and isinstance(inner, ast.Name) and inner.id in aliases:
            found.add(".".join([aliases[inner.id], *parts]))
    return {name for name in found if name.partition(".")[0] in WATCHED}


def too_new(names: set[str]) -> set[str]:
    return {name for name in names if any(name == new or name.startswith(new + ".") for new in TOO_NEW)}


@cache
def used() -> dict[str, str]:
    """Name -> a file that uses it, over the pack and its tests."""
    files = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))]
    return {
        name: path.relative_to(ROOT).as_posix() for path in files for name in names_in(path.read_text(encoding="utf-8"))
    }


def has(name: str) -> bool:
    """Whether the installed library has the name, as far as it is modules and classes."""
    parts = name.split(".")
    place = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], 2):
        if not hasattr(place, part):
            try:
                importlib.import_module(".".join(parts[:i]))
            except ImportError:
                return False
        place = getattr(place, part)
        if not (inspect.ismodule(place) or inspect.isclass(place)):
            return True
    return True


def test_the_search_finds_names_however_they_are_written() -> None:
    text = (
        "import numpy as np, torch.nn.functional as F\nimport torch\nfrom torch.nn import Buffer\nnp.trapezoid(y, x)\n"
        "F.scaled_mm\ntorch.accelerator.is_available()\ntrapezoid(np.linalg.norm(torch.Tensor))"
    )
    names = names_in(text)
    assert {"numpy.linalg.norm", "torch.Tensor"} <= names
    assert too_new(names) == {
        "numpy.trapezoid", "torch.nn.functional.scaled_mm", "torch.nn.Buffer", "torch.accelerator",
        "torch.accelerator.is_available",
    }  # fmt: skip
    assert has("torch.nn.functional.relu")
    assert not has("torch.nn.no_such_layer")


def test_nothing_is_newer_than_the_oldest_numpy_and_torch() -> None:
    """numpy 1.26 and torch 2.4, as the matrix of `make versions` says."""
    assert not {name: used()[name] for name in too_new(set(used()))}


def test_the_installed_versions_have_every_name() -> None:
    """Also those in code that no test here reaches; `make versions` runs this on the oldest and on the newest."""
    assert len(used()) > 200
    assert not {name: used()[name] for name in used() if not has(name)}


def test_no_keyword_that_numpy_1_26_lacks() -> None:
    """asarray and reshape take copy= and device= since numpy 2.0."""
    pattern = re.compile(r"\bnp\.(?:asarray|reshape)\([^()]*\b(?:copy|device)=")
    assert pattern.search("np.asarray(x, copy=False)")
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path != Path(__file__)]
    assert not [file.name for file in files if pattern.search(file.read_text(encoding="utf-8"))]
