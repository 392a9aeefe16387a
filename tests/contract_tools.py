"""What the sampler contract is checked with: a denoiser of any shape, a watch for host synchronisation, a meter of
live memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from exact import FlowSampling

aten = torch.ops.aten


class UnitGaussian:
    """Exact denoiser of N(0, I) on any shape, dtype and device: D = a x / (a^2 + sigma^2), a the signal scale.

    Keeps what each call got in `calls`: (x's shape, sigma's shape, the extra arguments, whether grad was on).
    """

    def __init__(self, kind: str = "ve", before_call=None):
        self.kind, self.before_call, self.calls = kind, before_call, []
        if kind == "flow":
            self.model_sampling = FlowSampling()

    def __call__(self, x: Tensor, sigma: Tensor, **extra) -> Tensor:
        self.calls.append((x.shape, sigma.shape, extra, torch.is_grad_enabled()))
        if self.before_call is not None:
            self.before_call(len(self.calls))
        signal = 1 - sigma if self.kind == "flow" else torch.ones_like(sigma)
        gain = signal / (signal**2 + sigma**2)
        return x * gain.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


class HostSyncWatch:
    """Fails at what would make the host wait for a GPU, on the device "meta", which stands for it.

    Reading a meta tensor's values (item, bool, tolist, nonzero, a copy to the CPU) fails in torch itself; this
    adds the copies from the CPU that wait. Records nothing until `arm` is called (at the first model call).
    """

    def __init__(self):
        self.armed, self.waits = False, []
        self.modes = _SyncFunctions(self), _SyncOperators(self)

    def arm(self, call: int) -> None:
        self.armed = True

    def note(self, name: str, waits: bool) -> None:
        if self.armed and waits:
            self.waits.append(name)

    def __enter__(self):
        for mode in self.modes:
            mode.__enter__()
        return self

    def __exit__(self, *error):
        for mode in reversed(self.modes):
            mode.__exit__(*error)


def _on(device: str, value) -> bool:
    return isinstance(value, Tensor) and value.device.type == device


class _SyncFunctions(TorchFunctionMode):
    """Tensors made from Python numbers on the device: a copy that waits, which operators do not show."""

    MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)

    def __init__(self, watch: HostSyncWatch):
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        fresh = func in self.MAKERS and not (func is not Tensor.new_tensor and isinstance(args[0], Tensor))
        self.watch.note(getattr(func, "__name__", str(func)), fresh and _on("meta", out))
        return out


class _SyncOperators(TorchDispatchMode):
    def __init__(self, watch: HostSyncWatch):
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.watch.note(str(func), self.waits(func, args, kwargs, out))
        return out

    @staticmethod
    def waits(func, args, kwargs, out) -> bool:
        if func is aten._to_copy.default:
            return _on("cpu", args[0]) and _on("meta", out) and not kwargs.get("non_blocking")
        if func is aten.copy_.default:
            blocking = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            return _on("meta", args[0]) and _on("cpu", args[1]) and blocking
        if func in {aten.index.Tensor, aten.index_put_.default, aten.index_select.default}:
            return _on("meta", args[0]) and any(_on("cpu", i) for i in tree_leaves(args[1:]))  # copied over first
        return False


class LiveMemory(TorchDispatchMode):
    """Bytes of all tensors alive at once that were made while it is on, in latents: `peak`."""

    def __init__(self, latent: Tensor):
        super().__init__()
        self.unit = latent.untyped_storage().nbytes()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.alive = {key: entry for key, entry in self.alive.items() if not entry[0].expired()}
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()) / self.unit)
        return out


class OperatorCount(TorchDispatchMode):
    """Counts torch operators: `all`, and `after` the first call of the model it was given to as `before_call`."""

    def __init__(self):
        super().__init__()
        self.all, self.calls, self.at_first_call = 0, 0, 0

    def before_call(self, call: int) -> None:
        self.calls = call
        if call == 1:
            self.at_first_call = self.all

    @property
    def after(self) -> int:
        return self.all - self.at_first_call

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.all += 1
        return func(*args, **(kwargs or {}))
