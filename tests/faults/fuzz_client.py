"""Sends prompts to a real server as fast as it takes them, and says what became of each."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from comfy_server import ComfyServer
from fuzz_prompts import Case

CLEAR = ("ValueError", "ScheduleError", "FileNotFoundError")
BATCH = 40
LONGEST_RUN = 0.7  # seconds; a prompt that was accepted and runs on is then interrupted, as the user may


@dataclass
class Outcome:
    """Counts of what became of the prompts, and those that broke a promise."""

    refused: int = 0  # by validation
    failed: int = 0  # while they ran, with a clear error of ours
    finished: int = 0
    interrupted: int = 0
    slowest: float = 0.0  # answer to /prompt, seconds
    broken: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)  # errors raised in ComfyUI's own nodes

    @property
    def prompts(self) -> int:
        return self.refused + self.failed + self.finished + self.interrupted + len(self.broken) + len(self.hosts)


def send(server: ComfyServer, cases: Iterable[Case]) -> Outcome:
    outcome, waiting = Outcome(), {}
    for name, graph, words in cases:
        began = time.monotonic()
        try:
            answer = json.loads(server.raw("/prompt", {"prompt": graph}))
            if answer.get("node_errors"):
                outcome.refused += 1
            waiting[answer["prompt_id"]] = f"{name}: {words}"
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code == 400 and "error" in json.loads(text):
                outcome.refused += 1
            else:
                outcome.broken.append(f"{name}: {words}: HTTP {error.code} {text[:300]}")
        outcome.slowest = max(outcome.slowest, time.monotonic() - began)
        if len(waiting) >= BATCH:
            _collect(server, waiting, outcome)
            waiting = {}
    _collect(server, waiting, outcome)
    return outcome


def _collect(server: ComfyServer, waiting: dict[str, str], outcome: Outcome) -> None:
    """Wait until the queue is empty, interrupting what runs long; then judge each prompt by its history."""
    running, since, deadline = "", time.monotonic(), time.monotonic() + 120
    while True:
        queue = server.get("/queue")
        if not queue["queue_running"] and not queue["queue_pending"]:
            break
        current = queue["queue_running"][0][1] if queue["queue_running"] else ""
        if current != running:
            running, since = current, time.monotonic()
        elif current and time.monotonic() - since > LONGEST_RUN:
            server.interrupt()
        if time.monotonic() > deadline:
            raise TimeoutError(f"the queue does not empty; running: {waiting.get(running)}")
        time.sleep(0.02)
    for prompt_id, words in waiting.items():
        entry = server.get(f"/history/{prompt_id}").get(prompt_id)
        if entry is None:
            outcome.broken.append(f"{words}: no history")
            continue
        _judge(dict(entry["status"]["messages"]), words, outcome)


def _judge(messages: dict[str, Any], words: str, outcome: Outcome) -> None:
    error = messages.get("execution_error")
    if error is None:
        if "execution_interrupted" in messages:
            outcome.interrupted += 1
        else:
            outcome.finished += 1
        return
    kind = error["exception_type"].rpartition(".")[2]
    ours = "custom_nodes/RestART" in str(error["traceback"][-1]) if error["traceback"] else True
    clear = kind in CLEAR and 0 < len(error["exception_message"]) < 1200
    if clear:
        outcome.failed += 1
    elif error["node_type"].startswith("RestART_") and ours:
        outcome.broken.append(f"{words}: {error['exception_type']}: {error['exception_message'][:300]} "
                              f"{error['traceback'][-1][:300]}")  # fmt: skip
    else:
        outcome.hosts.append(f"{words}: {error['node_type']} {error['exception_type']}: "
                             f"{error['exception_message'][:200]} {error['traceback'][-1][:300]}")  # fmt: skip
