"""Lets a CUDA build of torch import on a machine without the CUDA libraries (gigabytes), for tests on the CPU.

Only the small CUDA runtime has to be real: torch hands it its kernels while it loads. Every other library is replaced
by a stand-in with the same name, versions and symbols, made with gcc, whose functions end the process when called:
nothing that passes here passed because a CUDA library answered wrongly.

    python version_standins.py <site-packages>/torch/lib
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

CUDA = re.compile(r"lib(?:cu(?!da\.|dart\.)|nv|nccl)\w*[.-]")  # not the driver, and the runtime is real
LAZY = ("libcaffe2_nvrtc",)  # loaded only when CUDA is used
NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
FILE = re.compile(r"Version: 1 +File: (\S+)")
VERSION = re.compile(r"Name: (\S+) +Flags")
UNDEFINED = re.compile(r" UND (\w+)(?:@(\S+))?")


def wanted(folder: Path) -> dict[str, dict[str, set[str]]]:
    """Library -> version ("" where it has none) -> symbols that the libraries in folder take from it."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in sorted(folder.glob("*.so*")):
        if path.name.startswith(LAZY):
            continue
        command = ["readelf", "--wide", "--dynamic", "--version-info", "--dyn-syms", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        libraries = [name for name in NEEDED.findall(text) if CUDA.match(name)]
        owner, file = {}, ""  # version -> library
        for line in text.splitlines():
            if match := FILE.search(line):
                file = match[1]
            elif file and (match := VERSION.search(line)):
                owner[match[1]] = file
        for name in libraries:
            found[name][""] |= set()
        for symbol, version in UNDEFINED.findall(text):
            name = owner.get(version) or next((n for n in libraries if symbol.lower().startswith(stem(n))), "")
            if CUDA.match(name):
                found[name][version].add(symbol)
    return found


def stem(library: str) -> str:
    """libcurand.so.10 -> curand: what its symbols begin with."""
    return re.split(r"[.-]", library.removeprefix("lib"))[0].lower()


def build(folder: Path, name: str, symbols: dict[str, set[str]]) -> None:
    """Writes the stand-in for one library into folder."""
    with tempfile.TemporaryDirectory() as temporary:
        source, script = Path(temporary, "all.c"), Path(temporary, "versions")
        names = sorted(set().union(*symbols.values()))
        source.write_text("".join(f"void {n}(void) {{ __builtin_trap(); }}\n" for n in names))
        versions = {v: names for v, names in symbols.items() if v}
        script.write_text(
            "".join(f"{v} {{ global: {' '.join(f'{n};' for n in sorted(s))} }};\n" for v, s in versions.items())
        )
        flags = [f"-Wl,--version-script={script}"] if versions else []
        command = ["gcc", "-w", "-shared", "-fPIC", "-o", str(folder / name), f"-Wl,-soname,{name}", *flags]
        subprocess.run([*command, str(source)], check=True, capture_output=True)


def make(folder: Path) -> list[str]:
    """Writes every stand-in that torch's folder of libraries needs and does not find; gives their names."""
    present = {path.name for path in [*folder.iterdir(), *folder.parents[1].glob("nvidia/**/*.so*")]}
    made = {name: symbols for name, symbols in wanted(folder).items() if name not in present}
    for name, symbols in made.items():
        build(folder, name, symbols)
    return sorted(made)


if __name__ == "__main__":
    print(" ".join(make(Path(sys.argv[1]))) or "nothing is missing")
