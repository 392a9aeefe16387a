"""Run a ComfyUI checkout's main.py in this process, on any machine.

    <ComfyUI's python> boot.py <checkout> [main.py's own arguments ...]

On a machine without a GPU the torchvision and torchaudio of the package index are often CUDA builds whose
native libraries do not load; ComfyUI imports both at start. `ImportMender` gives them what they miss at the
moment they are imported. It touches nothing on disk, does nothing where a GPU is present or the libraries
load, and is test and demo set-up only: the pack itself never needs it.
"""

from __future__ import annotations

import runpy
import sys
import types
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

NMS_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class ImportMender(MetaPathFinder):
    """Watches for the first import of torchvision and torchaudio, mends, and leaves the finding to others."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        if name == "torchvision":
            self._mend_torchvision()
        elif name == "torchaudio":
            self._mend_torchaudio()
        return None

    @staticmethod
    def _mend_torchvision() -> None:
        import torch

        spec = PathFinder.find_spec("torchvision")
        folders = spec.submodule_search_locations if spec else None
        libraries = [library for folder in folders or () for library in Path(folder).glob("_C*.so")]
        try:
            for library in libraries:
                torch.ops.load_library(str(library))
        except OSError:
            for operator in ("nms", "qnms"):
                torch.library.define(f"torchvision::{operator}", NMS_SCHEMA)

    @staticmethod
    def _mend_torchaudio() -> None:
        import torch

        if torch.cuda.is_available():
            return
        extension = types.ModuleType("torchaudio._extension")
        vars(extension).update(
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            _IS_ALIGN_AVAILABLE=False,
            fail_if_no_align=lambda function: function,
        )
        sys.modules.setdefault(extension.__name__, extension)


def main(arguments: list[str]) -> None:
    """Run `<checkout>/main.py` as if it had been started by hand."""
    if not arguments:
        raise SystemExit(__doc__)
    script = Path(arguments[0]).resolve() / "main.py"
    if not script.is_file():
        raise SystemExit(f"boot.py: {script} does not exist: is {arguments[0]!r} a ComfyUI checkout?")
    sys.meta_path.insert(0, ImportMender())
    sys.argv = [str(script), *arguments[1:]]
    sys.path[0] = str(script.parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
