"""A small discrete simulation of rounds of model evaluations on several devices: rounds, devices and messages in turn.

A round is one batch of samples that must be answered before the next can be asked. What is dealt, and what is sent,
is what schedules/art/ranks.py does (fits) and what ComfyUI's MultiGPU does for nodes/host/devices.py (sampling);
what a batch and a message cost is stated by the caller. Seconds and bytes everywhere.

The cost of a message is Hockney's latency + bytes / bandwidth (Parallel Computing 20, 1994); a broadcast is a binomial
tree, an all-gather a ring (Thakur, Rabenseifner & Gropp, "Optimization of Collective Communication Operations in
MPICH", IJHPCA 19(1), 2005). Real libraries choose among more algorithms; so these are upper estimates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

HEADER = 80  # bytes: ranks.py announces each batch with ten int64
STATE = 8  # bytes a rank: whether its share worked


@dataclass(frozen=True)
class Cost:
    """Seconds of one model call on a batch of b samples: fixed + each b; nothing for no samples."""

    fixed: float
    each: float

    def seconds(self, samples: int) -> float:
        """Seconds of a call; 0 without samples."""
        return self.fixed + self.each * samples if samples else 0.0

    @classmethod
    def of_call(cls, seconds: float, share: float) -> Cost:
        """A single sample takes `seconds`, of which `share` (0 to 1) a further one in the batch does not take again."""
        return cls(seconds * share, seconds * (1 - share))


@dataclass(frozen=True)
class Link:
    """A way between two devices: seconds a message takes at the least, and bytes a second on top."""

    name: str
    latency: float
    bandwidth: float

    def seconds(self, size: float) -> float:
        """Seconds of one message of `size` bytes."""
        return self.latency + size / self.bandwidth


NOWHERE = Link("no cost", 0.0, math.inf)


@dataclass(frozen=True)
class Cluster:
    """Nodes of `per_node` devices; `inside` joins the devices of a node, `between` the nodes."""

    inside: Link
    between: Link
    per_node: int = 8

    def broadcast(self, size: float, devices: int) -> float:
        """Binomial tree over the nodes, then inside each: one message a level."""
        if devices < 2:
            return 0.0
        nodes = -(-devices // self.per_node)
        levels = (math.ceil(math.log2(nodes)), math.ceil(math.log2(min(devices, self.per_node))))
        return levels[0] * self.between.seconds(size) + levels[1] * self.inside.seconds(size)

    def all_gather(self, part: float, devices: int) -> float:
        """Ring: devices - 1 steps, in each of which everyone passes on one part; as slow as its slowest link."""
        if devices < 2:
            return 0.0
        steps = [self.inside.seconds(part)]
        if devices > self.per_node:
            steps.append(self.between.seconds(part))
        return (devices - 1) * max(steps)


@dataclass(frozen=True)
class Row:
    """One sample on the wire: `values` numbers of `item` bytes each."""

    values: int
    item: int = 4

    @property
    def size(self) -> int:
        """Bytes of the latent alone."""
        return self.values * self.item


@dataclass(frozen=True)
class Message:
    """One collective: kind ("broadcast" or "all_gather") and payload: bytes a rank holds of it when it is done."""

    kind: str
    payload: int


def shares(samples: int, devices: int) -> list[int]:
    """How ranks.py deals a batch: contiguous parts of ceil(samples / devices); the last devices may get none."""
    part = -(-samples // devices)
    return [max(0, min(part, samples - rank * part)) for rank in range(devices)]


def batch_messages(samples: int, devices: int, row: Row) -> list[Message]:
    """The collectives of one batch, in order, as ranks.py sends them; answers are padded to equal parts."""
    part = -(-samples // devices)
    return [
        Message("broadcast", HEADER),
        Message("broadcast", samples * row.size),
        Message("broadcast", samples * row.item),  # sigma
        Message("broadcast", samples * 8),  # which trajectory each belongs to
        Message("all_gather", devices * STATE),
        Message("all_gather", devices * part * row.size),
    ]


@dataclass(frozen=True)
class Outcome:
    """What a simulated run took.

    seconds = loading + serial + model + wire. model: of the slowest device, summed over the rounds. busy: device
    seconds in the model, all devices. sent: bytes over all links (a collective's payload reaches devices - 1 others).
    """

    devices: int
    seconds: float
    model: float
    wire: float
    serial: float
    loading: float
    busy: float
    rounds: int
    evaluations: int
    messages: int
    payload: int
    sent: int

    @property
    def use(self) -> float:
        """Share of the device time spent in the model, 0 to 1."""
        return self.busy / (self.devices * self.seconds) if self.seconds else 0.0


def simulate(
    rounds: Sequence[int], devices: int, cost: Cost, cluster: Cluster, row: Row, *,
    serial: float = 0.0, loading: float = 0.0, ranked: bool = True,
) -> Outcome:  # fmt: skip
    """A fit: loading, then every round dealt, evaluated and gathered, with `serial` seconds of rank 0's own work.

    Args:
        rounds: samples of each round, in order. ranked: whether one device too would go through ranks.py (it sends
            nothing, but asks); False: several devices do, one does not.
    """
    now, busy, model, wire, messages, payload, sent = loading, 0.0, 0.0, 0.0, 0, 0, 0
    known: dict[int, _Round] = {}  # rounds of the same size are alike
    for samples in rounds:
        if samples not in known:
            known[samples] = _round(samples, devices, cost, cluster, row, devices > 1 or ranked)
        one = known[samples]
        # No device goes on before rank 0 has asked, nor rank 0 before the slowest has answered.
        now += one.asking + max(one.work) + one.answering
        busy, model, wire = busy + sum(one.work), model + max(one.work), wire + one.asking + one.answering
        messages, payload, sent = messages + one.messages, payload + one.payload, sent + one.payload * (devices - 1)
    return Outcome(
        devices, now + serial, model, wire, serial, loading, busy, len(rounds), sum(rounds), messages, payload, sent
    )  # fmt: skip


@dataclass(frozen=True)
class _Round:
    """Seconds of a round's broadcasts, of each device's share, of its all-gathers; its messages and their payload."""

    asking: float
    work: tuple[float, ...]
    answering: float
    messages: int
    payload: int


def _round(samples: int, devices: int, cost: Cost, cluster: Cluster, row: Row, talking: bool) -> _Round:
    post = batch_messages(samples, devices, row) if talking else []
    asking = sum(cluster.broadcast(m.payload, devices) for m in post if m.kind == "broadcast")
    answering = sum(cluster.all_gather(m.payload / devices, devices) for m in post if m.kind == "all_gather")
    work = tuple(cost.seconds(n) for n in shares(samples, devices))
    return _Round(asking, work, answering, len(post), sum(m.payload for m in post))


def simulate_sampling(rounds: Sequence[int], devices: int, cost: Cost, link: Link, row: Row) -> Outcome:
    """Parallel sampling in one process: the first device sends every other one its rows, and gets its answers.

    The messages of a round queue up at the first device; its own share runs meanwhile. A round is over when the last
    answer is back.
    """
    now = busy = model = wire = 0.0
    messages = payload = 0
    for samples in rounds:
        parts = [n for n in shares(samples, devices) if n]
        port = now  # when the first device's port is free
        back = now + cost.seconds(parts[0])
        ready = []
        for part in parts[1:]:
            port += link.seconds(part * (row.size + row.item))
            ready.append((port + cost.seconds(part), part))
        for done, part in ready:
            port = max(port, done) + link.seconds(part * row.size)
            messages += 2
            payload += part * (2 * row.size + row.item)
        end = max(back, port)
        slowest = max(cost.seconds(part) for part in parts)
        busy += sum(cost.seconds(part) for part in parts)
        model += slowest
        wire += end - now - slowest
        now = end
    return Outcome(
        devices, now, model, wire, 0.0, 0.0, busy, len(rounds), sum(rounds), messages, payload, payload
    )  # fmt: skip


def critical_path(rounds: Sequence[int], cost: Cost, serial: float = 0.0, loading: float = 0.0) -> float:
    """Seconds with a device for every sample and free messages: what no number of devices goes below."""
    return loading + serial + len(rounds) * cost.seconds(1)
