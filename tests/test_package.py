"""What the ComfyUI registry's package holds: .comfyignore leaves all that runs there, and little else."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from package_files import ROOT, packed, tracked, unpack
from pathspec import PathSpec
from PIL import Image

LIMIT = 1_500_000  # bytes of the zip
NOT_SHIPPED = ("tests", "docs", "requirements", "assets", "demo", "bench", ".ci", ".github")
SECRETS = re.compile(
    r"BEGIN [A-Z ]*PRIVATE KEY|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bhf_\w{20,}|\bsk-\w{20,}|\bAKIA[0-9A-Z]{16}\b"
    r"|(?i:password|api_key|access_token)\s*[:=]\s*[\"']\w+"
)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:home|root|Users|work|tmp)/\w")


@pytest.fixture(scope="module")
def shipped() -> list[str]:
    return packed(tracked())


def test_what_runs_in_comfyui_is_shipped_and_nothing_of_the_workshop(shipped: list[str]) -> None:
    files = tracked()
    rooms = ("nodes/", "samplers/", "schedules/", "cli/", "web/", "workflows/", "locales/")
    needed = {path for path in files if path.startswith(rooms)}
    needed |= {"__init__.py", "__main__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md"}
    assert needed <= set(shipped), needed - set(shipped)
    assert not [path for path in shipped if path.split("/")[0] in NOT_SHIPPED]
    assert not [path for path in shipped if path.endswith((".safetensors", ".ckpt", ".pt", ".pkl", ".zip"))]


def test_every_pattern_of_comfyignore_means_something() -> None:
    """A pattern that matches neither a tracked file nor a folder git ignores is a leftover."""
    files, ignored = tracked(), (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    for line in (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            spec = PathSpec.from_lines("gitwildmatch", [line])
            assert any(map(spec.match_file, files)) or line.strip("/") + "/" in ignored, line


def test_the_zip_is_small(shipped: list[str]) -> None:
    sizes, whole = {}, io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in shipped:
            archive.write(ROOT / path, path)
            sizes[path] = archive.getinfo(path).compress_size
    largest = sorted(sizes, key=lambda path: -sizes[path])[:5]
    assert len(whole.getvalue()) <= LIMIT, [(path, sizes[path]) for path in largest]


def test_no_secret_and_no_path_of_a_machine_is_shipped(shipped: list[str]) -> None:
    for path in shipped:
        if not path.endswith((".jpg", ".jpeg", ".png", ".webp")):
            text = (ROOT / path).read_text(encoding="utf-8")
            for pattern in (SECRETS, MACHINE_PATHS):
                found = pattern.search(text)
                assert found is None, f"{path}: {found and found.group()!r}"


def test_shipped_modules_import_only_shipped_modules(shipped: list[str]) -> None:
    files = set(shipped)
    modules = [path for path in shipped if path.endswith(".py")]
    for path in modules:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            folder = Path(path).parents[node.level - 1]
            target = folder.joinpath(*(node.module or "").split("."))
            names = {target.with_suffix(".py").as_posix() if node.module else "", (target / "__init__.py").as_posix()}
            assert names & files, f"{path}: from {'.' * node.level}{node.module or ''}"


def test_the_command_line_runs_from_the_shipped_files_alone(tmp_path: Path) -> None:
    copy = tmp_path / "custom_nodes" / "RestART"
    unpack(copy)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(copy), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
            env={**os.environ, "PYTHONPATH": ""},
        )  # fmt: skip

    help_text = run("fit", "--help")
    assert help_text.returncode == 0, help_text.stderr
    assert "--comfyui FOLDER" in help_text.stdout
    # Past the options, into the room that loads ComfyUI: only the folder is at fault.
    started = run("fit", "--comfyui", str(tmp_path), "--checkpoint", "my.safetensors", "--text")
    assert (started.returncode, started.stdout) == (2, "")
    assert "holds no ComfyUI" in started.stderr
    assert "Traceback" not in started.stderr
    without = run("fit", "--checkpoint", "flow", "--text")
    assert without.returncode == 2
    assert "the tiny checkpoint 'flow' is not in this copy of the pack" in without.stderr


def test_pictures_for_the_registry() -> None:
    with Image.open(ROOT / "assets" / "icon.png") as icon:
        assert (icon.format, icon.size) == ("PNG", (256, 256))
    with Image.open(ROOT / "assets" / "banner.png") as banner:
        assert (banner.format, banner.width * 9) == ("PNG", banner.height * 21)
    assert (ROOT / "assets" / "banner.png").stat().st_size <= 300_000
