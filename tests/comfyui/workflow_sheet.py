"""A workflow in the editor's own format, laid out in columns from a list of nodes."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import Any

TITLE, GAP, MARGIN = 30, 40, 20  # pixels: a node's title bar; between two nodes; from a group's edge to its nodes
SOCKET, WIDGET, TEXT, FOOT = 24, 32, 80, 24
ROOM = 40  # for a line of text under one of the pack's own nodes, and for an input that a later version adds
CONTROLS = "fixed"  # beside a seed
NAMESPACE = uuid.UUID("5b0f2b39-7d0c-4d3a-9a70-4c2f5f9f1d10")
COLOURS = {"note": ("#432", "#653"), "yes": ("#232", "#353"), "no": ("#322", "#533"), "ours": ("#223", "#335")}

# Inputs in the server's order, then outputs. "name:TYPE" is a socket, "name" a widget, "name!" one with a control of
# its own beside it, "name~" a text box. tests/comfyui/test_workflow_twins.py holds this against the server's list.
NODES = {
    "CheckpointLoaderSimple": ("ckpt_name", "MODEL:MODEL CLIP:CLIP VAE:VAE"),
    "CLIPTextEncode": ("text~ clip:CLIP", "CONDITIONING:CONDITIONING"),
    "EmptyLatentImage": ("width height batch_size", "LATENT:LATENT"),
    "EmptySD3LatentImage": ("width height batch_size", "LATENT:LATENT"),
    "KSamplerSelect": ("sampler_name", "SAMPLER:SAMPLER"),
    "BasicScheduler": ("model:MODEL scheduler steps denoise", "SIGMAS:SIGMAS"),
    "SamplerCustom": (
        "model:MODEL add_noise noise_seed! cfg positive:CONDITIONING negative:CONDITIONING sampler:SAMPLER "
        "sigmas:SIGMAS latent_image:LATENT",
        "output:LATENT denoised_output:LATENT",
    ),
    "VAEDecode": ("samples:LATENT vae:VAE", "IMAGE:IMAGE"),
    "VAEEncode": ("pixels:IMAGE vae:VAE", "LATENT:LATENT"),
    "SetLatentNoiseMask": ("samples:LATENT mask:MASK", "LATENT:LATENT"),
    "LoadImage": ("image", "IMAGE:IMAGE MASK:MASK"),
    "SaveImage": ("images:IMAGE filename_prefix", ""),
    "PreviewAny": ("source:*", ""),
    "SplitImageWithAlpha": ("image:IMAGE", "IMAGE:IMAGE MASK:MASK"),
    "ModelSamplingDiscrete": ("model:MODEL sampling zsnr", "MODEL:MODEL"),
    "RestART_SamplerRestart": (
        "segments~ solver s_noise preset budget sampler:SAMPLER main_solver churn",
        "SAMPLER:SAMPLER",
    ),
    "RestART_SamplerRandomizedMidpoint": (
        "measure spread antithetic preset corrector_steps corrector_strength",
        "SAMPLER:SAMPLER",
    ),
    "RestART_SamplerParallelMidpoint": (
        "midpoints sweeps warm_start jitter measure tolerance corrector_steps corrector_strength preset",
        "SAMPLER:SAMPLER",
    ),
    "RestART_ARTScheduler": (
        "model:MODEL steps denoise schedule_text~ schedule:ART_SCHEDULE sampler:SAMPLER cfg",
        "SIGMAS:SIGMAS info:STRING",
    ),
    "RestART_FitARTSchedule": (
        "model:MODEL positive:CONDITIONING negative:CONDITIONING cfg latent_image:LATENT seed solver steps "
        "trajectories method free_start",
        "schedule:ART_SCHEDULE sigmas:SIGMAS curve:IMAGE report:STRING schedule_text:STRING",
    ),
    "RestART_SaveARTSchedule": ("schedule:ART_SCHEDULE name if_exists", "schedule:ART_SCHEDULE scheduler:STRING"),
    "RestARTTest_DigitConditioning": ("digit", "CONDITIONING:CONDITIONING"),
    "RestARTTest_EncodeDigits": ("pixels:IMAGE vae:VAE", "LATENT:LATENT"),
}


@dataclass(frozen=True)
class Link:
    """An output of a node."""

    node: int
    slot: int
    kind: str


class Node:
    """A node on a sheet; node["name"] is its output of that name, node.out its first."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def __getitem__(self, name: str) -> Link:
        names = [output["name"] for output in self.data["outputs"]]
        return Link(self.data["id"], names.index(name), self.data["outputs"][names.index(name)]["type"])

    @property
    def out(self) -> Link:
        return self[self.data["outputs"][0]["name"]]


class Sheet:
    """Nodes are put below one another in the current column; group() frames what was put since the last one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []
        self.groups: list[dict[str, Any]] = []
        self._x, self._y, self._width, self._framed = 0, 0, 0, 0

    def column(self, x: int, width: int, y: int = 0) -> None:
        self._x, self._y, self._width = x, y, width

    def note(self, text: str, title: str = "Read me") -> None:
        """A MarkdownNote, outside any group, as high as its text."""
        per_line = self._width / 7.2
        lines = sum(max(1, math.ceil(len(line) / per_line)) for line in text.splitlines())
        self._put("MarkdownNote", [], [], [text], 17 * lines + 8 * text.count("\n\n") + 40, title, "note")
        self._framed = len(self.nodes)

    def add(self, kind: str, title: str | None = None, colour: str | None = None, tall: int = 0, **inputs: Any) -> Node:
        """A node. inputs: a Link for a socket, a value for a widget; the last widgets may be left to their defaults.

        tall: at least this many pixels (pictures and reports need room).
        """
        sockets: list[dict[str, Any]] = []
        values: list[Any] = []
        missing: list[str] = []
        high, known = FOOT + ROOM * kind.startswith("RestART_"), set()
        wanted, given = NODES[kind]
        for word in wanted.split():
            name, _, socket = word.partition(":")
            bare = name.rstrip("!~")
            known.add(bare)
            value = inputs.get(bare)
            if socket:
                sockets.append({"name": bare, "type": socket, "link": self._link(value, len(sockets), socket)})
            elif value is not None:
                if missing:
                    raise ValueError(f"{kind}: {bare} is given, but {missing} before it is not")
                values += [value, CONTROLS] if name.endswith("!") else [value]
            else:
                missing.append(bare)
            high += 0 if socket else WIDGET * (1 + name.endswith("!")) + TEXT * name.endswith("~")
        if set(inputs) - known:
            raise ValueError(f"{kind} has no {sorted(set(inputs) - known)}")
        outputs = [dict(zip(("name", "type"), word.split(":"), strict=True)) for word in given.split()]
        high += SOCKET * max(len(sockets), len(outputs))
        return self._put(kind, sockets, outputs, values, max(high, tall), title, colour)

    def group(self, title: str, colour: str = "#3f789e") -> None:
        """Frame every node since the last group or note."""
        inside = self.nodes[self._framed :]
        self._framed = len(self.nodes)
        left, top = (min(node["pos"][axis] for node in inside) - MARGIN for axis in (0, 1))
        right, bottom = (max(node["pos"][axis] + node["size"][axis] for node in inside) + MARGIN for axis in (0, 1))
        top -= TITLE + 34  # the nodes' own titles and the group's
        self.groups.append(
            {
                "id": len(self.groups) + 1,
                "title": title,
                "bounding": [left, top, right - left, bottom - top],
                "color": colour,
                "font_size": 24,
                "flags": {},
            }
        )

    def workflow(self) -> dict[str, Any]:
        """What the editor loads."""
        return {
            "id": str(uuid.uuid5(NAMESPACE, self.name)),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {"ds": {"scale": 0.7, "offset": [480, 120]}},
            "version": 0.4,
        }

    def _link(self, source: Link | None, slot: int, kind: str) -> int | None:
        """A new link from `source` to the node about to be put."""
        if source is None:
            return None
        if kind not in ("*", source.kind):
            raise ValueError(f"a {source.kind} cannot go into a {kind} socket")
        number = len(self.links) + 1
        self.links.append([number, source.node, source.slot, len(self.nodes) + 1, slot, source.kind])
        self.nodes[source.node - 1]["outputs"][source.slot]["links"].append(number)
        return number

    def _put(
        self, kind: str, sockets: list[Any], outputs: list[Any], values: list[Any], tall: int, title: str | None,
        colour: str | None,
    ) -> Node:  # fmt: skip
        data = {
            "id": len(self.nodes) + 1,
            "type": kind,
            "pos": [self._x, self._y],
            "size": [self._width, tall],
            "flags": {},
            "order": len(self.nodes),
            "mode": 0,
            "inputs": sockets,
            "outputs": [{**output, "links": []} for output in outputs],
            "properties": {},
            "widgets_values": values,
        }
        if kind != "MarkdownNote":
            pack = "restart-art" if kind.startswith("RestART") else "comfy-core"
            data["properties"] = {"Node name for S&R": kind, "cnr_id": pack}
        if title:
            data["title"] = title
        if colour:
            data["color"], data["bgcolor"] = COLOURS[colour]
        self.nodes.append(data)
        self._y += tall + TITLE + GAP
        return Node(data)
