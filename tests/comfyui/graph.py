"""Turns a saved workflow (the editor's format) into what /prompt takes, with the server's own "
"/object_info."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOT_RUN = {"Note", "MarkdownNote"}
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
MUTED, BYPASSED = 2, 4


def load_workflow(path: Path) -> dict[str, Any]:
    workflow: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return workflow


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """API-format graph of a workflow of plain nodes. ValueError for an unknown node type or a widget left "
    "over."""
    links = {link[0]: (str(link[1]), link[2]) for link in workflow["links"]}
    graph = {}
    for node in workflow["nodes"]:
        if node["type"] in NOT_RUN or node.get("mode") in {MUTED, BYPASSED}:
            continue
        if node["type"] not in object_info:
            raise ValueError(f"node type {node['type']!r} is not known to this ComfyUI")
        inputs = _widget_values(node, object_info[node["type"]])
        for socket in node.get("inputs", ()):
            if socket.get("link") is not None:
                inputs[socket["name"]] = list(links[socket["link"]])
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph


def _widget_values(node: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    values = list(node.get("widgets_values") or ())
    inputs: dict[str, Any] = {}
    for name, (kind, *options) in ((n, s) for part in ("required", "optional") for n, s in _ordered(info, part)):
        if not (isinstance(kind, list) or kind in WIDGET_TYPES):
            continue
        extra = options[0] if options else {}
        if extra.get("forceInput") or not values:
            continue
        inputs[name] = values.pop(0)
        # The editor keeps "randomize", "fixed" ... beside a seed, as a widget of its own.
        after = extra.get("control_after_generate", name in {"seed", "noise_seed"})
        if after and values:
            values.pop(0)
    if values:
        raise ValueError(f"node {node['id']} ({node['type']}): widget values left over: {values}")
    return inputs


def _ordered(info: dict[str, Any], part: str) -> list[tuple[str, Any]]:
    entries = info["input"].get(part, {})
    order = info.get("input_order", {}).get(part, list(entries))
    return [(name, entries[name]) for name in order if name in entries]
