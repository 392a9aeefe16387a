"""Write the workflows of workflows/ from their descriptions, and their thumbnails.

python tests/comfyui/make_workflows.py               the JSON files
python tests/comfyui/make_workflows.py --thumbnails  the pictures too: runs every tiny twin on a real ComfyUI
python tests/comfyui/make_workflows.py --schedule    learn the text of "use a shared schedule" first (tiny checkpoint)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from workflow_recipes import RECIPES, build

from locate import REPOSITORY

FOLDER = REPOSITORY / "workflows"


def path_of(name: str, suffix: str = ".json") -> Path:
    return FOLDER / f"{name}{suffix}"


def text_of(workflow: dict[str, Any]) -> str:
    """The file's content."""
    return json.dumps(workflow, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    if set(arguments) - {"--thumbnails", "--schedule"}:
        print(__doc__)
        return 2
    if "--schedule" in arguments:
        from workflow_thumbnails import learn_shared

        learn_shared()
        return main([word for word in arguments if word != "--schedule"])
    for name in RECIPES:
        path_of(name).write_text(text_of(build(name)), encoding="utf-8")
    if "--thumbnails" in arguments:
        from workflow_thumbnails import draw_all

        draw_all({name: path_of(name, ".jpg") for name in RECIPES})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
