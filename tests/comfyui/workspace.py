"""Folders for a ComfyUI run that leave the checkout itself untouched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from locate import REPOSITORY

PACK = "RestART"
DIGIT_PACK = Path(__file__).with_name("digit_pack")
CHECKPOINTS = {"tiny_flow.safetensors": "flow.safetensors", "tiny_eps.safetensors": "eps.safetensors"}
NOT_SHIPPED = ("tests", "demo", "bench", "build", "dist", "__pycache__", "requirements")
FOLDERS = ("custom_nodes", "models/checkpoints", "input", "output", "temp", "user")


def copy_pack(target: Path) -> None:
    """Copy what a user installs: the repository without tests, hidden files and build outputs."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        top = Path(folder) == REPOSITORY
        return {
            name
            for name in names
            if name.startswith(".") or name.endswith((".pyc", ".egg-info")) or name == "__pycache__"
            or (top and name in NOT_SHIPPED)
        }  # fmt: skip

    shutil.copytree(REPOSITORY, target, ignore=ignored)


def link_checkpoints(folder: Path) -> None:
    """The tiny checkpoints under the names the workflows use."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in CHECKPOINTS.items():
        link = folder / name
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(REPOSITORY / "tiny" / file)
        except OSError:  # a file system without links
            shutil.copyfile(REPOSITORY / "tiny" / file, link)


def private_base(base: Path, *packs: Path) -> list[str]:
    """A base directory of its own with the pack, the tiny checkpoints and further packs; main.py's arguments."""
    for folder in FOLDERS:
        (base / folder).mkdir(parents=True, exist_ok=True)
    copy_pack(base / "custom_nodes" / PACK)
    for pack in packs:
        shutil.copytree(pack, base / "custom_nodes" / pack.name, ignore=shutil.ignore_patterns("__pycache__"))
    link_checkpoints(base / "models" / "checkpoints")
    return ["--base-directory", str(base), "--database-url", "sqlite:///:memory:"]


def beside_checkout(folder: Path, with_pack: bool) -> list[str]:
    """The user's own ComfyUI with this repository and the tiny checkpoints added; main.py's arguments.

    folder: where links are made; nothing is written into the checkout.
    """
    checkpoints, packs = folder / "checkpoints", folder / "custom_nodes"
    link_checkpoints(checkpoints)
    entry = {"checkpoints": str(checkpoints)}
    if with_pack:
        packs.mkdir(parents=True, exist_ok=True)
        link = packs / PACK
        link.unlink(missing_ok=True)
        link.symlink_to(REPOSITORY, target_is_directory=True)
        entry["custom_nodes"] = str(packs)
    config = folder / "extra_model_paths.yaml"
    config.write_text(json.dumps({"restart_art": entry}, indent=1))  # JSON is YAML
    return ["--extra-model-paths-config", str(config)]
