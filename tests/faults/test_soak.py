"""A long run of the real server: two clients, all nodes, both tiny checkpoints, random cancels."""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from soak_graphs import NODES, SAMPLERS, SEEDS, deck

import digit_graphs as draw
import figures
from comfy_server import ComfyServer, PromptFailed, executed_nodes
from locate import find_python
from workspace import DIGIT_PACK, private_base

PROMPTS = figures.inputs(1000, 20)
WARM_UP = 200  # prompts after which memory may grow no more
CANCEL = 0.08  # share of prompts during which a client presses Cancel (which hits whatever runs)
GROWTH = 20.0  # MB


@pytest.fixture(scope="module")
def soak_server(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """Classic caching: by default newer ComfyUIs keep results until memory is short, which would hide a leak."""
    base = tmp_path_factory.mktemp("soak")
    arguments = private_base(base, DIGIT_PACK)
    folder = base / "models" / "art_schedules"
    folder.mkdir(parents=True)
    for kind, schedule in SEEDS.items():
        schedule.save(folder / f"seed_{kind}.safetensors")
    running = ComfyServer(checkout, find_python(checkout), base, [*arguments, "--cache-classic"])
    yield running
    running.stop()


def resident(server: ComfyServer) -> float:
    """MB of memory of the server's process."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


class Soak:
    """Two clients that take prompts off one deck."""

    def __init__(self, server: ComfyServer, count: int, seed: int) -> None:
        self.server, self.deck = server, deck(random.Random(seed), count)[::-1]
        self.lock, self.cancels, self.done = threading.Lock(), 0, 0
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []
        self.memory: list[tuple[int, float]] = []

    def run(self) -> None:
        clients = [threading.Thread(target=self._client, args=(number,)) for number in (1, 2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def _client(self, number: int) -> None:
        rng = random.Random(number)
        while True:
            with self.lock:
                if not self.deck:
                    return
                name, graph = self.deck.pop()
            try:
                outcome = self._prompt(graph, rng)
            except Exception as error:  # told at the end, with the prompt's name
                outcome = "error"
                self.errors.append(f"{name}: {type(error).__name__}: {error}")
            with self.lock:
                self.outcomes[outcome] += 1
                self.done += 1
                if self.done % 10 == 0:
                    self.memory.append((self.done, resident(self.server)))

    def _prompt(self, graph: dict[str, Any], rng: random.Random) -> str:
        prompt = self.server.submit(graph)
        if rng.random() < CANCEL:
            time.sleep(rng.uniform(0, 0.5))
            with self.lock:
                self.cancels += 1
            self.server.interrupt()
        try:
            self.server.wait(prompt)
        except PromptFailed as failure:
            if "execution_interrupted" not in failure.details:
                raise
            return "cancelled"
        finally:
            # What the server remembers of each prompt is its own and would count as growth.
            self.server.raw("/history", {"delete": [prompt]})
        return "drawn"

    def growth(self) -> float:
        """MB between the 50 prompts after the warm-up and the last 50."""
        after = [size for done, size in self.memory if done > WARM_UP]
        return statistics.median(after[-5:]) - statistics.median(after[:5])


def pictures(server: ComfyServer) -> dict[str, list[bytes]]:
    """Of each sampler with each checkpoint from one seed; really drawn, not served from a cache."""
    found = {}
    for kind in draw.KINDS:
        for sampler in SAMPLERS:
            entry = server.run(draw.ksampler_graph(kind, sampler, f"art/seed_{kind}", batch=1, steps=3, seed=11))
            assert "sample" in executed_nodes(entry)
            found[f"{kind} {sampler}"] = [picture.tobytes() for picture in server.pictures(entry, "save")]
    return found


def test_the_deck_holds_every_node_of_the_pack(soak_server: ComfyServer) -> None:
    kinds = {node["class_type"] for _, graph in deck(random.Random(0), PROMPTS) for node in graph.values()}
    ours = {name for name in soak_server.object_info() if name.startswith("RestART_")}
    assert ours == NODES == {kind for kind in kinds if kind.startswith("RestART_")}


@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
@pytest.mark.timeout(1800)
def test_soak(soak_server: ComfyServer) -> None:
    """Zero errors, the same pictures from the same seed at the start and the end, memory that stays."""
    first = pictures(soak_server)
    soak, began = Soak(soak_server, PROMPTS, seed=3), time.monotonic()
    soak.run()
    seconds = time.monotonic() - began
    assert soak.errors == []
    assert soak.done == sum(soak.outcomes.values()) == PROMPTS
    assert soak.outcomes["drawn"] >= 0.7 * PROMPTS
    assert soak.outcomes["cancelled"] <= soak.cancels
    assert pictures(soak_server) == first
    log = soak_server.log()
    assert log.count("Traceback") == 0, log[log.index("Traceback") :][:3000]
    told = {"prompts": soak.done, "errors": 0, "cancelled": soak.outcomes["cancelled"], "seconds": round(seconds)}
    if figures.FULL:
        told["growth_mb"] = round(soak.growth(), 1)
        print(told, soak.memory[::5])
        assert soak.growth() < GROWTH, soak.memory
    figures.record("soak", **told)
