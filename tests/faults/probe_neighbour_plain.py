"""What import, every sampler, a fit and a saved schedule change, on a tiny checkpoint outside ComfyUI. Prints JSON.

<python> probe_neighbour_plain.py <folder to save into>
"""

import json
import sys
from pathlib import Path

import neighbour_state as state
import numpy as np
import scipy.stats  # noqa: F401  (ComfyUI has imported it)
import torch
import torch._dynamo  # (torch.optim imports it when a fit makes its first optimiser)


def main(folder: Path) -> None:
    np.random.seed(7)
    torch.manual_seed(7)
    torch.set_num_threads(1)
    ear = state.Ear()
    answer = {}

    def watched(name, function):
        before, numbers = state.settings(), state.randomness()
        result = function()
        answer[name] = {**state.differences(before, state.settings()), **state.differences(numbers, state.randomness())}
        return result

    def load():
        import restart_art
        from restart_art import samplers, schedules

        return restart_art, samplers, schedules

    _, samplers, schedules = watched("import", load)
    from restart_art import tiny
    from restart_art.cli.running import CountedModel

    model = tiny.load_tiny("flow")
    low, high = float(model.model_sampling.sigma_min), float(model.model_sampling.sigma_max)
    noise = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    sigmas = schedules.edm_sigmas(6, low, high, flow=True)

    def sample(function, **options):
        return lambda: function(
            CountedModel(model, None, 2), noise * sigmas[0], sigmas, extra_args={"seed": 3}, disable=True, **options
        )

    # dpmpp_2m, because k-diffusion's own euler and heun draw random numbers that they do not use.
    with torch.no_grad():
        watched("restart", sample(samplers.sample_restart, segments=((3, 2, 0.06, 0.3),), solver="dpmpp_2m"))
        watched("restart auto", sample(samplers.sample_restart, segments="auto", solver="dpmpp_2m", churn=0.05))
        watched("randomized_midpoint", sample(samplers.sample_randomized_midpoint, corrector_steps=1))
        watched("parallel_midpoint", sample(samplers.sample_parallel_midpoint))

    def fit(method):
        return lambda: schedules.fit_schedule(
            model, noise.repeat(2, 1, 1, 1), sigma_min=low, sigma_max=high, solver="dpmpp_2m", steps=(4,),
            method=method, seed=1, baselines=schedules.stock_schedules(model.model_sampling, low, high),
        )  # fmt: skip

    for method in ("direct", "refined"):
        schedule = watched(f"fit {method}", fit(method))
    watched("save", lambda: schedule.save(folder / "learned.safetensors"))
    watched("load", lambda: schedules.ArtSchedule.load(folder / "learned.safetensors"))
    answer["files"] = sorted(ear.files)
    answer["network"], answer["started"] = ear.network, ear.started
    print("PROBE " + json.dumps(answer))


main(Path(sys.argv[1]).resolve())
