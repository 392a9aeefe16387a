"""The four commands. Each takes parsed arguments, prints what it did, and returns the exit code."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from tqdm import tqdm

from ..schedules import ArtSchedule, edm_sigmas, stock_schedules
from ..schedules.plot import pilot_chart, schedule_curves
from . import comfyui, running
from .fitting import fit_checkpoint, pilot_text
from .options import UserError, output_file, output_folder, write_whole
from .pictures import contact_sheet, png_bytes

BAR = "{desc:<22} {percentage:3.0f}% {bar} {n:.0f}/{total:.0f} [{elapsed}<{remaining}]"


def demo(arguments: Namespace) -> int:
    """``restart-art demo``: the experiment, then the report."""
    from . import report
    from .data import Settings
    from .demo import run_demo

    folder = output_folder("--out", arguments.out)
    names = ("flow", "eps") if arguments.checkpoint == "both" else (arguments.checkpoint,)
    settings = Settings.quick() if arguments.quick else Settings()
    with Bars(not arguments.no_progress) as bars:
        result = run_demo(names, settings, arguments.seed, bars.stage)
        bars.stage("report", "draw and write", 0, 1)
        page = report.write_report(folder, result)
    print(report.summary(result))
    print(f"Report: {page.resolve()}")
    return 0


def fit(arguments: Namespace) -> int:
    """``restart-art fit``: learn a schedule, show its pilot, save it."""
    if not arguments.out and not arguments.text:
        raise UserError("--out: nothing to write to; give --out FILE.safetensors, or --text")
    path = output_file("--out", arguments.out, ".safetensors") if arguments.out else None
    first = comfyui.rank() == 0
    with Bars(first and not arguments.no_progress) as bars, running.threads(1):

        def show(progress: Any) -> None:
            bars.stage("fit", progress.stage, progress.done, progress.total)

        if arguments.comfyui:
            schedule = comfyui.fit_in_comfyui(arguments, show)
        else:
            schedule = fit_checkpoint(
                running.load_checkpoint(arguments.checkpoint),
                solver=arguments.solver,
                steps=arguments.steps,
                trajectories=arguments.trajectories,
                seed=arguments.seed,
                method=arguments.method,
                callback=show,
                ranks=comfyui.join_ranks(),
            )
    if not first:
        return 0
    page = sys.stderr if arguments.text else sys.stdout
    print(pilot_text(schedule.report), file=page)
    if path is not None:
        try:
            schedule.save(path)
        except OSError:  # a full disk, say: what was learned is not lost
            if not arguments.text:
                print("It could not be saved. The schedule as text, to paste into an ART Scheduler:", file=sys.stderr)
            print(schedule.to_text())
            raise
        print(f"Saved: {path}", file=page)
    if arguments.text:
        print(schedule.to_text())
    return 0


def sample(arguments: Namespace) -> int:
    """``restart-art sample``: pictures into one PNG."""
    path = output_file("--out", arguments.out, ".png")
    checkpoint = running.load_checkpoint(arguments.checkpoint)
    solver = arguments.sampler if arguments.sampler in ("euler", "heun", "dpmpp_2m") else None
    chosen = running.find_schedule(arguments.scheduler, checkpoint, solver)
    for warning in chosen.warnings:
        print(f"restart-art sample: note: {warning}", file=sys.stderr)
    digits = arguments.digits * arguments.rows
    try:
        outcome = running.sample_digits(
            checkpoint.model,
            arguments.sampler,
            chosen.sigmas(arguments.steps),
            noise=running.starting_noise(len(digits), arguments.seed),
            classes=torch.tensor(digits),
            seed=arguments.seed,
        )
    except ValueError as problem:
        raise UserError(f"--steps {arguments.steps} of {arguments.scheduler}: {problem}") from None
    images = checkpoint.model.decode(outcome.latent)
    write_whole(path, png_bytes(contact_sheet(images, len(arguments.digits))))
    print(
        f"{running.TITLES[arguments.sampler]}, {arguments.scheduler}, {arguments.steps} steps: "
        f"{outcome.calls:g} model calls a picture in {outcome.rounds} rounds, "
        f"{outcome.seconds:.2f} s for {len(digits)} pictures"
    )
    print(f"Saved: {path}")
    return 0


def plot(arguments: Namespace) -> int:
    """``restart-art plot``: curves of saved schedules, or the pilot of one, into a PNG."""
    path = output_file("--out", arguments.out, ".png")
    schedules = [running.read_schedule("FILE", text) for text in arguments.files]
    if arguments.pilot:
        if len(schedules) > 1:
            raise UserError(f"--pilot: {len(schedules)} files given; allowed: one")
        if not schedules[0].report.get("pilot"):
            raise UserError(f"--pilot: {arguments.files[0]!r} holds no pilot table; allowed: a file with one")
        picture = pilot_chart(schedules[0].report)
    else:
        picture = schedule_curves(plot_series(arguments, schedules), f"{arguments.steps} steps")
    write_whole(path, png_bytes(picture))
    print(f"Saved: {path}")
    return 0


def plot_series(arguments: Namespace, schedules: list[ArtSchedule]) -> dict[str, list[float]]:
    """The curves ``plot`` draws: the baselines on the first schedule's bounds, then each file by its name."""
    first, steps = schedules[0], arguments.steps
    low, high = float(first.sigma_min), float(first.sigma_max)
    stock = dict(stock_schedules(None, low, high))
    stock["edm"] = lambda count: edm_sigmas(count, low, high, flow=first.process == "flow")
    series = {name: stock[name](steps).tolist() for name in arguments.baseline}
    for text, schedule in zip(arguments.files, schedules, strict=True):
        name = f"ART {Path(text).stem} ({schedule.solver})"
        while name in series:
            name += "'"
        series[name] = schedule.sigmas(steps).tolist()
    return series


class Bars:
    """Progress on standard error: a tqdm bar for each work; a line a stage where that is no terminal."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.lock = Lock()
        self.bars: dict[str, tqdm[Any]] = {}
        self.stages: dict[str, str] = {}

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self.bars.values():
            bar.close()

    def stage(self, work: str, what: str, done: float, total: float) -> None:
        """``work`` is in the stage ``what``, ``done`` out of ``total``. Any thread may call it."""
        if not self.shown:
            return
        with self.lock:
            name, terminal = f"{work}: {what}", sys.stderr.isatty()
            if terminal and work not in self.bars:
                rank = len(self.bars)
                self.bars[work] = tqdm(position=rank, leave=False, dynamic_ncols=True, bar_format=BAR)
            if self.stages.get(work) != what:
                self.stages[work] = what
                if terminal:
                    self.bars[work].reset(total)
                    self.bars[work].set_description_str(name)
                else:
                    print(name, file=sys.stderr, flush=True)
            if terminal:
                bar = self.bars[work]
                bar.total = max(total, done)
                bar.update(done - bar.n)
