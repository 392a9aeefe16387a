"""`make comfyui`: start the user's ComfyUI with this pack and the tiny checkpoints, on any machine.

    python tests/comfyui/launch.py [main.py's own arguments, for example --port 8190 --listen 0.0.0.0]

ComfyUI is COMFYUI_PATH, else ~/comfy/ComfyUI, else the one this pack lies in; COMFYUI_PYTHON names its
Python.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from locate import HOW_TO_INSTALL, find_checkout, find_python, lies_in, version_of
from workspace import beside_checkout

BOOT = Path(__file__).with_name("boot.py")
PROBE = "import sys, torch; sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available()))"


def has_gpu(python: Path) -> bool:
    """Whether torch in that Python sees a GPU."""
    return subprocess.run([python, "-c", PROBE], capture_output=True, check=False).returncode == 0


def command(checkout: Path, python: Path, arguments: list[str]) -> list[str]:
    """The command line that starts a checkout; --cpu is added where there is no GPU."""
    device = [] if "--cpu" in arguments or has_gpu(python) else ["--cpu"]
    return [str(python), str(BOOT), str(checkout), *device, *arguments]


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in {"-h", "--help"}:
        print(__doc__)
        return 0
    try:
        checkout = find_checkout()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if checkout is None:
        print(HOW_TO_INSTALL, file=sys.stderr)
        return 2
    python = find_python(checkout)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends and the folder goes, too
    with tempfile.TemporaryDirectory(prefix="restart-art-comfyui-") as folder:
        extra = beside_checkout(Path(folder), with_pack=not lies_in(checkout))
        print(f"Starting ComfyUI {version_of(checkout)} at {checkout} with {python}")
        print('In the browser: Browse Templates (in the menu) > Extensions > RestART > "learn a schedule and sample"')
        sys.stdout.flush()
        try:
            return subprocess.run(command(checkout, python, [*extra, *arguments]), check=False).returncode
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
