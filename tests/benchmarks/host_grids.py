"""Runs inside ComfyUI's own Python: every scheduler's sigmas for the benchmark's three kinds of model. Prints JSON.

<ComfyUI's python> host_grids.py <checkout> <steps,steps,...>
-> {"version": text, "grids": {"EDM" | "SD" | "flow": {scheduler: {steps: [sigmas]}}}}, None where one refuses.
"""

import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "comfyui"))
from boot import ImportMender


def main(checkout: str, steps: str) -> None:
    sys.meta_path.insert(0, ImportMender())
    sys.path.insert(0, str(Path(checkout)))
    sys.argv = ["main.py", "--cpu"]
    importlib.import_module("comfy.options").enable_args_parsing()
    samplers = importlib.import_module("comfy.samplers")
    sampling = importlib.import_module("comfy.model_sampling")
    edm = type("Edm", (sampling.ModelSamplingContinuousEDM, sampling.EDM), {})()
    edm.set_parameters(0.002, 80.0, 0.5)
    flow = type("Flow", (sampling.ModelSamplingDiscreteFlow, sampling.CONST), {})()
    flow.set_parameters(shift=3.0, multiplier=1000)
    discrete = type("Eps", (sampling.ModelSamplingDiscrete, sampling.EPS), {})()

    def grid(model_sampling, name, count):
        try:
            return samplers.calculate_sigmas(model_sampling, name, count).tolist()
        except (ValueError, IndexError, ZeroDivisionError):
            return None

    counts = [int(n) for n in steps.split(",")]
    grids = {
        kind: {name: {n: grid(found, name, n) for n in counts} for name in samplers.SCHEDULER_NAMES}
        for kind, found in (("EDM", edm), ("SD", discrete), ("flow", flow))
    }
    version = importlib.import_module("comfyui_version").__version__
    print(json.dumps({"version": version, "grids": grids}))


main(*sys.argv[1:3])
