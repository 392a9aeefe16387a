"""What the shipped package never does: pickles, evaluated text, other programs, the network, global switches."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator

import pytest
from package_files import ROOT, packed, tracked

# Modules that no shipped file imports.
MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "subprocess",
    "multiprocessing", "pty", "socket", "socketserver", "ssl", "http", "urllib", "ftplib", "smtplib",
    "requests", "httpx", "aiohttp", "urllib3", "huggingface_hub", "ctypes", "cffi", "code", "codeop",
    "webbrowser", "imp", "pip", "ensurepip",
}  # fmt: skip
# Calls that no shipped file makes: by plain name, or as the last parts of a dotted one.
CALLS = {
    "eval", "exec", "compile", "__import__", "breakpoint", "input",
    "os.system", "os.popen", "os.fork", "os.putenv", "os.chdir", "os.umask", "os.startfile", "torch.load", "torch.save",
    "numpy.load", "np.load", "np.save", "np.random.seed", "random.seed", "torch.hub.load", "sys.setrecursionlimit",
    "torch.set_default_dtype", "torch.set_default_device", "torch.set_num_interop_threads", "torch.set_grad_enabled",
    "torch.use_deterministic_algorithms", "torch.set_float32_matmul_precision", "torch.set_printoptions",
    "torch.autograd.set_detect_anomaly", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all",
    "logging.basicConfig", "logging.disable", "logging.captureWarnings", "warnings.simplefilter",
    "warnings.filterwarnings", "warnings.resetwarnings", "matplotlib.use", "plt.switch_backend", "signal.signal",
    "atexit.register", "importlib.reload", "gc.disable", "locale.setlocale", "sys.addaudithook", "sys.settrace",
}  # fmt: skip
STARTS = ("os.exec", "os.spawn", "os.posix_spawn")
# The few that need it, and why.
ALLOWED = {
    ("samplers/solver_probe.py", "torch.manual_seed"): "inside torch.random.fork_rng: the caller's numbers stay",
    ("samplers/registry.py", "setattr"): "adds a sampler to the host's namespace where the name is free",
    ("schedules/art/surrogate.py", "setattr"): "on its own object",
    ("samplers/solvers.py", "importlib.import_module"): "the k-diffusion that is there: the host's or the package",
    ("nodes/headless.py", "importlib.import_module"): "the command line's ComfyUI without a server",
    ("cli/running.py", "torch.set_num_threads"): "the command line's own process, and set back",
    ("cli/options.py", "os.umask"): "read, which the system allows only by setting it, and set back",
    ("tiny/train.py", "torch.manual_seed"): "the script that trained the tiny checkpoints; nothing imports it",
    ("tiny/train.py", "torch.set_num_threads"): "the same",
}
ASKED = {"setattr", "importlib.import_module", "torch.manual_seed", "torch.set_num_threads", "runpy.run_path"}


def dotted(node: ast.expr) -> str:
    """a.b.c of an attribute chain, or the plain name; empty for anything else."""
    if isinstance(node, ast.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr}" if front else ""
    return node.id if isinstance(node, ast.Name) else ""


def offences(source: str, path: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [] if node.level else [node.module or ""]
        else:
            names = []
        yield from (f"{path}:{node.lineno} imports {name}" for name in names if name.split(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            banned = name in CALLS or name.startswith(STARTS) or name in ASKED
            if banned and (path, name) not in ALLOWED:
                yield f"{path}:{node.lineno} calls {name}"
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            name = dotted(target) if isinstance(target, ast.Attribute) else ""
            if name.startswith(("torch.", "comfy.", "numpy.", "np.", "folder_paths.", "logging.", "warnings.")):
                yield f"{path}:{node.lineno} assigns {name}"


@functools.cache
def shipped() -> list[str]:
    return [path for path in packed(tracked()) if path.endswith(".py")]


def test_no_shipped_file_does_any_of_it() -> None:
    files = shipped()
    assert len(files) > 90
    found = [text for path in files for text in offences((ROOT / path).read_text(encoding="utf-8"), path)]
    assert not found, found


@functools.cache
def calls(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("case", sorted(ALLOWED))
def test_every_exception_is_still_needed(case: tuple[str, str]) -> None:
    path, call = case
    assert path in shipped()
    assert call in calls(path), f"{path} no longer calls {call}: drop the exception"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from subprocess import run", "import urllib.request", "eval('1')", "os.system('x')",
        "os.execvp('x', [])", "torch.load('x')", "torch.manual_seed(1)", "comfy.samplers.KSampler = 3",
        "setattr(comfy, 'x', 1)", "torch.set_num_threads(2)", "def f():\n    import socket",
    ],
)  # fmt: skip
def test_the_scan_sees_it(line: str) -> None:
    assert list(offences(line, "x.py"))


def test_the_scan_leaves_plain_code_alone() -> None:
    assert not list(offences("x = re.compile('a')\nmodel.eval()\nself.torch = 1\nfrom . import http", "x.py"))
