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


@dataclass(frozen=True, eq=False)
class Row:
    """One environment. pins: package -> version, instead of the one in requirements/ or, for new needs, besides."""

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
            "contourpy": "1.4.0", "matplotlib": "3.11.2", "narwhals": "2.29.0", "pillow": "13.0.0",
            "safetensors": "0.8.0", "scikit-learn": "1.9.1", "scipy": "1.18.1",
        },
    ),
)  # fmt: skip

# Import, samplers, schedules, files, fits, command line, the nodes' texts, hostile input: no ComfyUI, no browser, and
# without the slow ones below, about a minute on one idle core. What all other code takes from numpy, torch and scipy
# by name is looked up by test_old_names.
MODULES = tuple(
    f"tests/{name}.py"
    for name in (
        "test_old_names", "test_cli", "test_evaluation", "test_fit", "test_library", "test_node_text", "test_noise",
        "test_pilot", "test_restart", "test_restart_text", "test_sampler_contract", "test_schedules", "test_sockets",
        "test_tiny_network", "faults/test_fuzz_found", "faults/test_neighbour_scan",
    )
)  # fmt: skip

# Long runs of what shorter tests of the same modules call too.
SLOW = (
    "tests/test_cli.py::test_a_python_without_what_comfyui_needs_is_told_which_one_to_take",
    "tests/test_cli.py::test_a_real_interrupt_ends_the_process_with_130",
    "tests/test_cli.py::test_bad_input_is_one_line_that_names_it",
    "tests/test_fit.py::test_euler_on_a_learned_grid_beats_karras_on_exact_mixtures",
    "tests/test_fit.py::test_second_order_solvers_get_their_own_density",
    "tests/test_library.py::test_any_accepted_name_stays_inside_the_folder_on_every_system",
    "tests/test_restart.py::test_restart_preserves_an_exact_distribution",
    "tests/test_sampler_contract.py::test_cancel_stops_at_once_and_the_next_run_is_right",
    "tests/test_sampler_contract.py::test_each_item_of_a_batch_is_its_single_run",
    "tests/test_schedules.py::test_any_value_in_any_field_is_a_schedule_or_a_schedule_error",
    "tests/test_schedules.py::test_no_flipped_byte_gives_another_grid_silently",
)
