"""`make versions`: the tests that need no ComfyUI, in environments of several Pythons, torches and numpys.

Every row of version_matrix.py gets an environment of its own under .venv/versions, one after another, and a line in
docs/versions.md: what passed there, or why nothing could run. A row that fails stops no other. Lines of rows that were
not asked for stay as they are.

    python tests/versions/version_run.py [--only py3.10,torch2.4] [--keep] [--wheels FOLDER]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parent))
from version_matrix import LEFT_OUT, MATRIX, MODULES, PAGE, REQUIREMENTS, ROOT, SLOW, TORCH_NEEDS, Row

FOLDER = ROOT / ".venv" / "versions"
HEADER = "| Row | Python | torch | numpy | scipy | Tests | Run on |"
PROBE = (
    "import json, sys, torch, numpy, scipy;"
    "print(json.dumps(['.'.join(map(str, sys.version_info[:3])), torch.__version__, numpy.__version__,"
    " scipy.__version__]))"
)
INSTALL = ("-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps", "--no-compile",
           "--only-binary=:all:")  # fmt: skip
SOUND = "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.')"


class Stop(Exception):
    """Why a row could not run, in the words of the page."""


def interpreter(version: str) -> Path | None:
    """pythonX.Y on the path, else among pyenv's; one that really runs and can make environments."""
    named = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for found in [*([Path(named)] if named else []), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]:
        done = subprocess.run([str(found), "-c", SOUND], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return found
    return None


def requirements(row: Row) -> dict[str, str]:
    """Package -> version of everything but torch."""
    wanted = dict(TORCH_NEEDS)
    for file in REQUIREMENTS:
        lines = [line.partition(";")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
        wanted |= dict(line.split("==") for line in lines if line and not line.startswith("#"))
    wanted |= {**row.pins, "numpy": row.numpy}
    return {package: version for package, version in wanted.items() if package not in LEFT_OUT}


class Environment:
    """One row's environment and the log of what was done to it."""

    def __init__(self, row: Row) -> None:
        self.row, self.folder = row, FOLDER / row.name
        self.log = FOLDER / f"{row.name}.log"
        self.python = self.folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def run(self, *command: str, seconds: int = 1800, environment: dict[str, str] | None = None) -> tuple[int, str]:
        """Exit status and output, which goes to the log too."""
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds, errors="replace",
                env=os.environ | (environment or {}),
            )  # fmt: skip
            code, text = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            code, text = -1, f"no end within {seconds} s"
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n{text}\n")
        return code, text

    def pip(self, *packages: str) -> None:
        code, text = self.run(str(self.python), *INSTALL, *packages)
        if code:
            missing = re.search(r"No matching distribution found for (\S+)", text)
            raise Stop(f"no wheel: {missing[1]}" if missing else f"does not install: {last(text)}")

    def create(self, wheels: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("", encoding="utf-8")
        python = interpreter(self.row.python)
        if python is None:
            raise Stop("no interpreter here")
        code, text = self.run(str(python), "-m", "venv", str(self.folder))
        if code:
            raise Stop(f"no environment: {last(text)}")
        torch = f"torch=={self.row.torch}"
        if self.run(str(self.python), *INSTALL, "--no-index", "--find-links", str(wheels), torch)[0]:
            self.pip(torch)
        self.pip(*(f"{package}=={version}" for package, version in requirements(self.row).items()))
        # The checkout under its import name, without writing anything into the checkout.
        _, site = self.run(str(self.python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])")
        (self.folder / "src").mkdir()
        (self.folder / "src" / "restart_art").symlink_to(ROOT, target_is_directory=True)
        Path(site.strip(), "restart_art.pth").write_text(str(self.folder / "src") + "\n", encoding="utf-8")
        self.torch_imports(Path(site.strip()))

    def torch_imports(self, site: Path) -> None:
        """Asks torch; a CUDA build without CUDA's libraries gets the small runtime and stand-ins (version_standins)."""
        if not self.run(str(self.python), "-c", "import torch")[0]:
            return
        cuda = re.search(r"^cuda\b.*= '(\d+)\.(\d+)", (site / "torch" / "version.py").read_text(), re.MULTILINE)
        if cuda:
            suffix = "-cu12" if cuda[1] == "12" else ""
            self.pip(f"nvidia-cuda-runtime{suffix}=={cuda[1]}.{cuda[2]}.*")
            standins = str(Path(__file__).with_name("version_standins.py"))
            self.run(sys.executable, standins, str(site / "torch" / "lib"))
        code, text = self.run(str(self.python), "-c", "import torch")
        if code:
            raise Stop(f"does not import here: {last(text)}")

    def test(self) -> str:
        """Runs the tests; gives the page's words for it."""
        report = FOLDER / f"{self.row.name}.xml"
        report.unlink(missing_ok=True)
        quiet = {
            "COMFYUI_PATH": str(FOLDER / "no ComfyUI"), "COMFYUI_PATHS": "", "RESTART_ART_REQUIRE_COMFYUI": "",
            "RESTART_ART_FAULTS": "", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(FOLDER / "hypothesis"),
        }  # fmt: skip
        options = ("-q", "-p", "no:cacheprovider", f"--junitxml={report}", *(f"--deselect={test}" for test in SLOW))
        command = (str(self.python), "-m", "pytest", *options, *MODULES)
        code, text = self.run(*command, environment=quiet)
        if not report.is_file():
            raise Stop(f"**failed**: pytest ended with {code}: {last(text)}")
        return counted(report)


def counted(report: Path) -> str:
    """pytest's own report as a cell: "210 passed, 2 skipped", and every failed test by name."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [f"`{c.get('name')}`" for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(c.find("skipped") is not None for c in cases)
    words = [f"{len(cases) - skipped - len(bad)} passed", f"{skipped} skipped"]
    return ", ".join(words + ([f"{len(bad)} **failed**: {', '.join(sorted(bad))}"] if bad else []))


def last(text: str) -> str:
    """The last line that says something, without places of this machine and table bars."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"/\S*/(?=\S)", "", lines[-1] if lines else "no word").replace("|", "/")[:200]


def line_of(row: Row, keep: bool, wheels: Path) -> str:
    """Runs one row; gives its line of the page."""
    environment = Environment(row)
    seen = [row.python, row.torch, row.numpy, "-"]
    try:
        if not (keep and environment.python.is_file()):
            environment.create(wheels)
        code, text = environment.run(str(environment.python), "-c", PROBE)
        if code:
            raise Stop(f"does not import here: {last(text)}")
        seen = json.loads(text.splitlines()[-1])
        if "nvidia_cuda_runtime" in " ".join(path.name for path in environment.folder.glob("lib/*/site-packages/*")):
            seen[1] += " (CUDA build, no CUDA here)"
        words = environment.test()
    except Stop as reason:
        words = str(reason)
    finally:
        if not keep:
            shutil.rmtree(environment.folder, ignore_errors=True)
    cells = [f"`{row.name}`", *seen, words, datetime.date.today().isoformat()]
    return "| " + " | ".join(cells) + " |"


def lines_of(page: str) -> dict[str, str]:
    """Row name -> its line of a page."""
    return {match[1]: match[0] for match in re.finditer(r"^\| `(\S+)` \|.*\|$", page, re.MULTILINE)}


def page_of(lines: dict[str, str]) -> str:
    """The page: the rows of the matrix, in its order; a row that never ran says so."""
    rows = [lines.get(r.name, f"| `{r.name}` | {r.python} | {r.torch} | {r.numpy} | - | not run | - |") for r in MATRIX]
    text = [
        "# Versions",
        "",
        "Written by `make versions` (some rows: `make versions ONLY=py3.10,torch2.6`), which makes an environment per "
        "row and runs there the tests that need neither ComfyUI nor a browser: import, samplers, schedules, files, "
        f"fits, command line, hostile input. Run on {platform.system()} {platform.machine()}, CPU, one thread. "
        "`tests/versions/version_matrix.py` has the rows, the pins and the test modules. What is not in this table "
        "was not run.",
        "",
        HEADER,
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        '"CUDA build, no CUDA here": the registry\'s wheel of that torch is a CUDA build that will not import without '
        "CUDA's libraries. It ran with the real CUDA runtime and, for the other libraries, with stand-ins that end the "
        "process when they are called (`tests/versions/version_standins.py`): the CPU part of that build is what was "
        "tested. No GPU was used.",
        "",
    ]
    return "\n".join(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="parts of row names, with commas: a row that has one of them runs")
    parser.add_argument(
        "--keep", action="store_true", help="leave the environments in .venv/versions, and use those left"
    )
    parser.add_argument(
        "--wheels", type=Path, default=FOLDER / "wheels", help="torch's wheels are looked for here first"
    )
    arguments = parser.parse_args()
    parts = [part for part in arguments.only.split(",") if part]
    rows = [row for row in MATRIX if not parts or any(part in row.name for part in parts)]
    if not rows:
        parser.error(f"--only {arguments.only}: no row has that in its name; the rows: {[r.name for r in MATRIX]}")
    for row in rows:
        print(f"{row.name}: installing and testing", flush=True)
        line = line_of(row, arguments.keep, arguments.wheels)
        print(line, flush=True)
        before = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
        PAGE.write_text(page_of(lines_of(before) | {row.name: line}), encoding="utf-8")
    return int(any("**failed**" in line for line in lines_of(PAGE.read_text(encoding="utf-8")).values()))


if __name__ == "__main__":
    raise SystemExit(main())
