"""Runs inside ComfyUI's own Python: every scheduler's sigmas for the two tiny checkpoints. Prints JSON.

<ComfyUI's python> stock_grids.py <checkout> <steps,steps,...>
-> {"flow" | "eps": {scheduler: {steps: [sigmas]}}}, with None where a scheduler refuses.
"""

import importlib
import json
import sys
from pathlib import Path

from boot import ImportMender


def main(checkout: str, steps: str) -> None:
    sys.meta_path.insert(0, ImportMender())
    sys.path.insert(0, str(Path(checkout)))
    sys.argv = ["main.py", "--cpu"]
    importlib.import_module("comfy.options").enable_args_parsing()
    samplers = importlib.import_module("comfy.samplers")
    sampling = importlib.import_module("comfy.model_sampling")
    flow = type("Flow", (sampling.ModelSamplingDiscreteFlow, sampling.CONST), {})()
    flow.set_parameters(shift=3.0, multiplier=1000)
    eps = type("Eps", (sampling.ModelSamplingDiscrete, sampling.EPS), {})()

    def grid(model_sampling, name, count):
        try:
            return samplers.calculate_sigmas(model_sampling, name, count).tolist()
        except (ValueError, IndexError, ZeroDivisionError):
            return None

    counts = [int(n) for n in steps.split(",")]
    print(
        json.dumps(
            {
                kind: {name: {n: grid(ms, name, n) for n in counts} for name in samplers.SCHEDULER_NAMES}
                for kind, ms in (("flow", flow), ("eps", eps))
            }
        )
    )


main(*sys.argv[1:3])
