"""What a process shares with everyone in it, as a snapshot to compare, and an ear for files and sockets.

Plain Python and torch, because it also runs inside ComfyUI's own Python.
"""

from __future__ import annotations

import gc
import hashlib
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import types
import warnings
from typing import Any

import torch

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = {
    "os.mkdir": 1,
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 1,
}
PACKAGES = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "nodes", "node_helpers", "server",
            "execution", "latent_preview", "torch", "numpy", "scipy", "PIL", "safetensors", "k_diffusion", "json",
            "logging", "builtins", "os", "sys", "tempfile", "shutil", "warnings", "random", "math")  # fmt: skip
# What these hold changes by itself, whoever runs.
RESTLESS = {"sys:last_value", "sys:last_type", "sys:last_traceback", "builtins:_"}


def settings() -> dict[str, Any]:
    """Switches of torch, Python and the system that everyone in the process shares."""
    root = logging.getLogger()
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return {
        "threads": torch.get_num_threads(), "interop threads": torch.get_num_interop_threads(),
        "default dtype": str(torch.get_default_dtype()), "default device": str(torch.get_default_device()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "deterministic warn": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "cudnn": [cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32],
        "matmul": [cuda.allow_tf32, torch.get_float32_matmul_precision()], "mkldnn": torch.backends.mkldnn.enabled,
        "grad": [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()],
        "autocast": [torch.is_autocast_enabled(), torch.is_autocast_cache_enabled()],
        "denormal": float(torch.tensor(1e-40) * 1), "warnings": [str(f) for f in warnings.filters],
        "log root": [root.level, [type(h).__name__ for h in root.handlers], root.manager.disable],
        "recursion": sys.getrecursionlimit(), "gc": [gc.isenabled(), gc.get_threshold()], "cwd": os.getcwd(),
        "environment": dict(os.environ), "path": list(sys.path), "locale": locale.setlocale(locale.LC_ALL),
        "hooks": [id(sys.excepthook), id(threading.excepthook), id(sys.stdout), id(sys.stderr), id(sys.displayhook)],
        "finders": [id(f) for f in sys.meta_path], "threads alive": _threads(),
        "signals": [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM)],
        "socket": [id(socket.socket), id(socket.create_connection), socket.getdefaulttimeout()],
    }  # fmt: skip


def _threads() -> list[str]:
    """All but the clock that tqdm starts with its first progress bar, the host's as well as ours."""
    return sorted(type(t).__name__ for t in threading.enumerate() if type(t).__name__ != "TMonitor")


def randomness() -> dict[str, str]:
    """The global random number generators."""
    found = {"torch": torch.get_rng_state().numpy().tobytes(), "python": repr(random.getstate()).encode()}
    if "numpy" in sys.modules:
        found["numpy"] = repr(sys.modules["numpy"].random.get_state()).encode()
    return {name: hashlib.sha256(state).hexdigest() for name, state in found.items()}


def attributes() -> dict[str, int]:
    """Identity of each "module:name" and "module:Class.name" in the PACKAGES; 0 for a module in a module."""
    found: dict[str, int] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] not in PACKAGES or not isinstance(module, types.ModuleType):
            continue
        for key, value in list(vars(module).items()):
            if not key.startswith("__"):
                found[f"{name}:{key}"] = 0 if isinstance(value, types.ModuleType) else id(value)
            if isinstance(value, type) and value.__module__ == name and name.startswith(("comfy", "nodes", "server")):
                found.update({f"{name}:{key}.{k}": id(v) for k, v in vars(value).items() if not k.startswith("_")})
    return found


def differences(before: dict[str, Any], after: dict[str, Any], known_modules: set[str] | None = None) -> dict[str, str]:
    """What is new, gone or another thing; with known_modules only of modules that were loaded before.

    A submodule that was imported late is no change.
    """
    found = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key, "(none)"), after.get(key, "(none)")
        fresh = known_modules is not None and (key.partition(":")[0] not in known_modules or new == 0)
        if old != new and key not in RESTLESS and not fresh:
            found[key] = f"{old} -> {new}"
    return found


class Ear:
    """Hears every file that is opened for writing or changed, and every socket event, from now on."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.network: list[str] = []
        self.started: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if (flags or 0) & WRITING and isinstance(path, str | bytes | os.PathLike):
                self.files.add(os.path.realpath(os.fsdecode(path)))
        elif event in CHANGING:
            self.files.update(os.path.realpath(os.fsdecode(p)) for p in arguments[: CHANGING[event]] if p is not None)
        elif event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")) and event != "socket.__new__":
            self.network.append(f"{event} {arguments!r}"[:200])
        elif event.startswith(("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.")):
            self.started.append(f"{event} {arguments!r}"[:200])
