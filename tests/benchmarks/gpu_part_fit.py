"""Part (e): what fitting a schedule costs: seconds, model evaluations and peak memory, beside Euler's own peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gpu_live import Live
from gpu_meter import Clock
from gpu_report import Result, Table, Target
from gpu_specs import LIMITS, SPECS

HEADER = [
    "model", "method", "seconds", "evaluations", "pilot's", "GiB", "GiB, Euler", "times Euler", "chosen",
]  # fmt: skip
TOY_BASELINES = 1


class PeakOfCalls:
    """A denoiser that keeps the peak memory of its calls, measured once for each batch size: the CPU's stand-in, for
    watching all of a fit takes long there."""

    def __init__(self, model: Any, clock: Clock) -> None:
        self.model, self.clock, self.peak = model, clock, 0.0
        self.sizes: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        found: list[Tensor] = []
        if len(x) in self.sizes:
            found.append(self.model(x, sigma, **kwargs))
        else:
            self.sizes.add(len(x))
            self.peak = max(self.peak, self.clock.peak(lambda: found.append(self.model(x, sigma, **kwargs))))
        return found[0]


@dataclass
class Fit:
    """peak: GiB; on the CPU of the model's calls."""

    schedule: Any
    seconds: float
    peak: float


def fit(live: Live, model: Any, guider: Any, shape: tuple[int, ...], method: str) -> Fit:
    """fit_schedule for Euler, run as the node Fit ART Schedule does. shape: (1, ...) of a latent."""
    sampling, counts = live.sampling(model), live.size.fit_steps
    low, high = live.host.bounds_of(sampling)
    baselines = live.host.stock_schedules(sampling, counts)
    if live.size.name == "toy":
        baselines = dict(list(baselines.items())[:TOY_BASELINES])
    found: list[Any] = []
    calls: list[PeakOfCalls] = []

    def job(denoiser: Any, noise: Tensor, extra_args: Any) -> Any:
        if not live.clock.cuda:
            denoiser = PeakOfCalls(denoiser, live.clock)
            calls.append(denoiser)
        return live.ours("schedules.art.fit").fit_schedule(
            denoiser, noise, sigma_min=low, sigma_max=high, solver="euler", steps=counts, method=method,
            baselines=baselines, seed=live.seed, extra_args=extra_args,
        )  # fmt: skip

    def whole() -> None:
        found.append(
            live.host.run_in_guider(
                guider, shape=shape[1:], seed=live.seed, trajectories=live.size.trajectories, job=job
            )
        )

    seconds: list[float] = []
    if live.clock.cuda:
        peak = live.clock.peak(lambda: seconds.append(live.clock.seconds(whole)))
    else:
        seconds.append(live.clock.seconds(whole))
        peak = calls[0].peak
    return Fit(found[0], seconds[0], peak)


def euler_peak(live: Live, model: Any, guider: Any, shape: tuple[int, ...]) -> float:
    """GiB at most while ComfyUI's Euler draws one picture."""

    def draw() -> None:
        live.inside(
            guider, shape, live.sigmas(model, "simple", live.size.fit_steps[0]),
            lambda m, x, s, args: live.function("euler")(m, x, s, extra_args=args, disable=True),
        )  # fmt: skip

    if live.clock.cuda:
        draw()  # loads the model
    return live.clock.peak(draw)


def run(live: Live, models: list[str]) -> Result:
    rows, targets = [], []
    for key, pixels, method in live.size.fits:
        if key not in models:
            continue
        spec, model = SPECS[key], live.build(SPECS[key])
        guider, shape = live.guider(model, spec), live.shape(model, pixels)
        euler = euler_peak(live, model, guider, shape)
        done = fit(live, model, guider, shape, method)
        report, where = done.schedule.report, f"{spec.name}, {pixels}"
        chosen = ", ".join(f"{steps}: {name}" for steps, name in report["chosen"].items())
        rows.append([
            where, method, f"{done.seconds:.1f}", str(report["model_evaluations"]), str(report["pilot_evaluations"]),
            f"{done.peak:.4g}", f"{euler:.4g}", f"{done.peak / euler:.2f}", chosen,
        ])  # fmt: skip
        if key == "sd15":
            targets.append(Target(f"(e) {where}, {method}: seconds", done.seconds, LIMITS["fit seconds"]))
        memory = Target(f"(e) {where}, {method}: peak memory / Euler's", done.peak / euler, LIMITS["fit memory"])
        targets.append(memory)
        del model, guider
        live.release()
    text = [
        f"The node Fit ART Schedule's own path, for Euler, {', '.join(map(str, live.size.fit_steps))} steps, "
        f"{live.size.trajectories} trajectories, guidance {live.size.cfg:g}. GiB: the most allocated, weights "
        "included (on the CPU what its model calls, or Euler's run, newly made); beside it, Euler drawing one picture. "
        "A schedule learned from random weights is of no use to anybody."
    ]
    return Result([Table("(e) Fitting a schedule", HEADER, rows, text)], targets)
