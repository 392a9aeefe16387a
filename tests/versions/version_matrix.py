"""Which Pythons, torches and numpys the pack is tested with (`make versions`), and which tests run there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "versions.md"
REQUIREMENTS = (ROOT / "requirements" / "demo.txt", ROOT / "requirements" / "dev.txt")

# What torch itself asks for, in versions that every Python and torch of the matrix takes.
TORCH_NEEDS = {
    "filelock": "3.20.0",
    "fsspec": "2025.9.0",
    "jinja2": "3.1.6",
    "markupsafe": "3.0.3",
    "mpmath": "1.3.0",
    "networkx": "3.4.2",
    "setuptools": "80.9.0",
    "sympy": "1.14.0",
    "typing-extensions": "4.15.0",
}
# Tools of `make test` that no module below uses.
LEFT_OUT = {"atheris", "greenlet", "mypy", "mypy-extensions", "playwright", "pyee", "ruff", "types-tqdm"}


@dataclass(frozen=True)
class Row:
    """One environment. pins: package -> version, instead of the one in requirements/."""

    python: str
    torch: str
    numpy: str
    pins: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"py{self.python}-torch{self.torch}-numpy{self.numpy}"


MATRIX = (
    Row("3.10", "2.4.1", "1.26.4"),  # the oldest of each
    Row("3.10", "2.14.1", "2.2.6"),  # the newest that there is for the oldest Python
    Row("3.11", "2.6.0", "2.0.2"),
    Row("3.11", "2.13.0", "2.2.6"),  # what make test runs
    Row("3.12", "2.11.0", "1.26.4"),
    Row(
        "3.13", "2.15.0", "2.5.5",  # the newest of each
        {
            "contourpy": "1.4.0", "matplotlib": "3.11.2", "pillow": "13.0.0", "safetensors": "0.8.0",
            "scikit-learn": "1.9.1", "scipy": "1.18.1",
        },
    ),
)  # fmt: skip

# Import, samplers, schedules, files, fits, command line, the nodes' texts, hostile input: no ComfyUI, no browser, and
# together about a minute and a half on one idle core.
MODULES = tuple(
    f"tests/{name}.py"
    for name in (
        "test_actor_critic", "test_cli", "test_compare", "test_evaluation", "test_finite", "test_fit", "test_langevin",
        "test_library", "test_locales", "test_midpoint_corrector", "test_midpoints", "test_node_text", "test_noise",
        "test_old_names", "test_parallel_midpoint", "test_pilot", "test_refine", "test_restart",
        "test_restart_churn", "test_restart_plugged", "test_restart_presets", "test_restart_text",
        "test_sampler_contract", "test_schedules", "test_sockets", "test_tiny_network", "faults/test_fuzz_found",
        "faults/test_neighbour_scan", "faults/test_save_faults",
    )
)  # fmt: skip
