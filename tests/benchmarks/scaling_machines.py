"""The machines and models of docs/scaling.md that we do not have: each number with its source, or called assumed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from scaling_model import NOWHERE, Cluster, Cost, Link, Row

GB = 1e9
NVLINK = Link("NVLink 4", 5e-6, 450 * GB)
INFINIBAND = Link("InfiniBand NDR", 10e-6, 50 * GB)
ETHERNET_100 = Link("100 Gb Ethernet", 30e-6, 12.5 * GB)
ETHERNET_10 = Link("10 Gb Ethernet", 50e-6, 1.25 * GB)
ETHERNET_1 = Link("1 Gb Ethernet", 100e-6, 0.125 * GB)
PCIE = Link("PCIe 4.0 x16", 10e-6, 32 * GB)
SLOW_HOST = Link("PCIe 4.0 x16, 2 ms a message", 2e-3, 32 * GB)

SOURCES = {
    NVLINK: "bandwidth: NVIDIA H100 data sheet, 900 GB/s in both directions together, so 450 in one. Latency assumed: "
    "a hop of NCCL's ring took 2.4 to 5 µs on a DGX A100 (NVIDIA/nccl-tests issue 123)",
    INFINIBAND: "bandwidth: 400 Gb/s line rate (NVIDIA ConnectX-7 data sheet). Latency assumed",
    ETHERNET_100: "bandwidth: line rate (IEEE 802.3). Latency assumed, TCP",
    ETHERNET_10: "bandwidth: line rate (IEEE 802.3). Latency assumed, TCP",
    ETHERNET_1: "bandwidth: line rate (IEEE 802.3). Latency assumed, TCP",
    PCIE: "bandwidth: PCI-SIG, 16 GT/s a lane, 16 lanes, about 32 GB/s in one direction. Latency assumed",
    SLOW_HOST: "as above; 2 ms stands for a host whose threads hand work over slowly (assumed)",
}

FREE, NEAR, FAR = "free messages", "nodes of 8 on NVLink, InfiniBand between", "single-GPU machines, 1 Gb Ethernet"
CLUSTERS = {
    FREE: Cluster(NOWHERE, NOWHERE),
    NEAR: Cluster(NVLINK, INFINIBAND),
    "single-GPU machines, 100 Gb Ethernet": Cluster(NVLINK, ETHERNET_100, 1),
    "single-GPU machines, 10 Gb Ethernet": Cluster(NVLINK, ETHERNET_10, 1),
    FAR: Cluster(NVLINK, ETHERNET_1, 1),
}
SAMPLING_LINKS = (NVLINK, PCIE, SLOW_HOST)
DISK = 2 * GB  # bytes a second at which a node reads weights (assumed: one NVMe drive)
FULL, ROOMY = 0.1, 0.7  # share of a call that a further sample in the batch does not take again (assumed)


@dataclass(frozen=True)
class Model:
    """A model by size. weights: bytes. call: seconds of one call. share: as Cost.of_call's. source: of the seconds."""

    name: str
    latent: tuple[int, ...]
    weights: float
    call: float
    share: float
    source: str = "assumed"

    @property
    def cost(self) -> Cost:
        """Seconds by batch."""
        return Cost.of_call(self.call, self.share)

    @property
    def row(self) -> Row:
        """One latent in single precision."""
        return Row(math.prod(self.latent))

    @property
    def loading(self) -> float:
        """Seconds until every node has read the weights once."""
        return self.weights / DISK


# Parameters: Podell et al. 2023 (arXiv 2307.01952), table 1: 860 M and 2.6 B; the 2 B of SD3 Medium, model card.
# Two bytes each.
SIZES = {
    "SD 1.5-sized, 512 px": ((4, 64, 64), 1.72e9, 0.020),
    "SDXL-sized, 1024 px": ((4, 128, 128), 5.2e9, 0.050),
    "SD3-sized (2 B), 1024 px": ((16, 128, 128), 4.0e9, 0.200),
}


COLUMNS = ("model", "pixels", "R", "s, one batch")
BENCHED = {
    ("SD 1.5 UNet", "512"): "SD 1.5-sized, 512 px", ("SDXL UNet", "1024"): "SDXL-sized, 1024 px",
    ("SD3 medium MMDiT", "1024"): "SD3-sized (2 B), 1024 px",
}  # fmt: skip


def fitted_cost(points: Sequence[Sequence[float]]) -> Cost:
    """fixed + each b, both >= 0, nearest to measured (samples, seconds) in relative error. ValueError below two."""
    if len({p[0] for p in points}) < 2:
        raise ValueError(f"{len(points)} points; a cost needs at least two batch sizes")
    b, t = np.array([p[0] for p in points], float), np.array([p[1] for p in points], float)
    (fixed, each), _ = nnls(np.stack([1 / t, b / t], 1), np.ones_like(t))
    return Cost(float(fixed), float(each))


def fitted_link(name: str, points: Sequence[Sequence[float]]) -> Link:
    """The link nearest to measured (bytes, seconds), in relative error."""
    cost = fitted_cost(points)
    return Link(name, cost.fixed, 1 / cost.each if cost.each else math.inf)


def models(measured: Sequence[Mapping[str, Any]]) -> list[Model]:
    """The three sizes, each for a device that one picture fills and for one that it does not; measured ones instead
    where there are any (gpu_costs)."""
    found = [Model(**{**m, "latent": tuple(m["latent"])}) for m in measured]
    known = {m.name for m in found}
    for name, (latent, weights, call) in SIZES.items():
        if name not in known:
            found += [Model(name, latent, weights, call, share) for share in (FULL, ROOMY)]
    return found


def gpu_costs(path: Path) -> list[dict[str, Any]]:
    """Model call times from the record of `make bench-gpu`, as fields of Model; empty where there is none.

    Read are the columns model, pixels, R and "s, one batch" of its part b, at full size. A model without at least two
    batch sizes is left out, and the page then says "assumed".
    """
    if not path.is_file():
        return []
    record = json.loads(path.read_text(encoding="utf-8"))
    points: dict[str, list[list[float]]] = {}
    for table in record.get("tables", []) if record.get("size", "full") == "full" else []:
        if table.get("part") != "b" or not {*COLUMNS} <= set(table["header"]):
            continue
        for row in table["rows"]:
            model, pixels, count, seconds = (row[table["header"].index(c)] for c in COLUMNS)
            name = BENCHED.get((model, pixels))
            if name:
                points.setdefault(name, []).append([int(count), float(seconds)])
    found = []
    for name, measured in points.items():
        if len({p[0] for p in measured}) > 1:
            (latent, weights, _), cost = SIZES[name], fitted_cost(measured)
            call = cost.seconds(1)
            share, source = cost.fixed / call, "measured by make bench-gpu"
            found.append(
                {
                    "name": name,
                    "latent": list(latent),
                    "weights": weights,
                    "call": call,
                    "share": share,
                    "source": source,
                }
            )
    return found
