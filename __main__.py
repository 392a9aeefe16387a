"""`python -m restart_art`, or `python <this folder>` where the pack is not installed but only lies there."""

import importlib.util
import sys
from pathlib import Path

if __package__:
    from .cli import main
else:
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "restart_art", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != folder]  # its rooms are no packages
    package = importlib.util.module_from_spec(spec)
    sys.modules["restart_art"] = package
    spec.loader.exec_module(package)
    from restart_art.cli import main

if __name__ == "__main__":
    sys.exit(main())
