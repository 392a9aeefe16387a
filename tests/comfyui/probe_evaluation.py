"""Runs inside ComfyUI's own Python: several sigmas in one call on live models, against one call per sigma.

<ComfyUI's python> probe_evaluation.py <checkout> <folder holding the pack as RestART> <checkpoint folder>

Each case is sampled through a real guider by a "sampler" that evaluates R levels with PairEvaluator, then level by
level as any sampler would, then once more in one batch with the obstacle overlooked. Prints JSON.
"""

import importlib
import json
import sys
from contextlib import nullcontext
from pathlib import Path

from evaluation_cases import device_cases, guider_cases, make_cases, packed_case
from probe_host import prepare

LEVELS = [0.95, 0.7, 0.4, 0.1]


def conditioning(torch, rows, seed):
    """A prompt as the tiny checkpoint was trained on: digit seed, seed + 1, ... (the class is one-hot)."""
    pooled = torch.zeros(rows, 2048)
    for row in range(rows):
        pooled[row, (seed + row) % 10] = 1.0
    return [[torch.zeros(rows, 77, 4096), {"pooled_output": pooled}]]


class Judge:
    """A sampler that compares the ways of evaluating, and keeps what it found."""

    def __init__(self, torch, evaluation, options=None):
        self.torch, self.evaluation, self.options = torch, evaluation, options or {}
        self.found = {}

    def __call__(self, model, x, sigmas, extra_args=None, callback=None, disable=None):
        torch = self.torch
        generator = torch.Generator().manual_seed(9)
        sigma = torch.tensor(LEVELS)[:, None].expand(-1, len(x)).to(x)
        points = torch.randn(len(LEVELS), *x.shape, generator=generator).to(x)
        expected = torch.stack([model(points[i], sigma[i], **extra_args) for i in range(len(LEVELS))])
        evaluator = self.evaluation.PairEvaluator(model, extra_args, **self.options)
        out = evaluator.evaluate(points, sigma)
        calls = evaluator.calls
        again = evaluator.evaluate(points, sigma)
        self.found = {
            "obstacle": evaluator.obstacle,
            "calls": [calls, evaluator.calls - calls],
            "rounds": evaluator.rounds,
            "evaluations": evaluator.evaluations,
            "max_batch": evaluator.max_batch,
            "spread": evaluator.spread,
            "error": max(self.distance(out, expected), self.distance(again, expected)),
            "size": float(expected.abs().max()),
        }
        careless = self.evaluation.PairEvaluator(model, extra_args)
        careless._prepare(points)
        careless.obstacle = None
        try:
            self.found["careless"] = self.distance(careless.evaluate(points, sigma), expected)
        except (RuntimeError, IndexError) as error:
            self.found["careless"] = f"{type(error).__name__}"
        return x

    @staticmethod
    def distance(a, b):
        return float((a - b).abs().max())


def run(judge, samplers, guider, torch, batch=2, mask=None, shape=(16, 8, 8), nested=None):
    noise = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(5))
    latent = torch.zeros_like(noise) if mask is None else 0.5 * torch.ones_like(noise)
    if nested is not None:
        noise, latent = nested(noise), nested(latent)
    sigmas = torch.tensor([1.0, 0.8, 0.5, 0.2, 0.0])
    sampler = samplers.KSAMPLER(judge)
    guider.sample(noise, latent, sampler, sigmas, denoise_mask=mask, seed=3, disable_pbar=True)
    return judge.found


def plain_run(samplers, model, positive, negative, torch):
    """A whole parallel-midpoint run as KSampler does it: guider calls made, and samples in each."""
    sizes = []
    inner = samplers.sampling_function

    def counting(model, x, *args, **kwargs):
        sizes.append(len(x))
        return inner(model, x, *args, **kwargs)

    samplers.sampling_function = counting
    try:
        noise = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(1))
        sample = importlib.import_module("comfy.sample").sample
        sample(
            model, noise, 4, 2.0, "parallel_midpoint", "simple", positive, negative, torch.zeros_like(noise),
            seed=1, disable_pbar=True,
        )  # fmt: skip
    finally:
        samplers.sampling_function = inner
    return sizes


def main(checkout: str, packs: str, checkpoints: str) -> None:
    _, sd, _ = prepare(Path(checkout), Path(packs))
    torch = importlib.import_module("torch")
    samplers = importlib.import_module("comfy.samplers")
    importlib.import_module("RestART.nodes.host")
    evaluation = importlib.import_module("RestART.samplers.evaluation")
    file = str(Path(checkpoints) / "tiny_flow.safetensors")
    model = sd.load_checkpoint_guess_config(file)[0]
    positive, negative = conditioning(torch, 1, 1), conditioning(torch, 1, 2)
    answer = {"plain run": plain_run(samplers, model, positive, negative, torch), "cases": {}, "not here": {}}

    def cfg_guider(model, positive, negative, cfg):
        guider = samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        return guider

    def judged(name, make):
        try:
            case = make()
        except (ImportError, AttributeError, TypeError) as error:  # this ComfyUI has no such node, or another form
            answer["not here"][name] = f"{type(error).__name__}: {error}"
            return
        judge = Judge(torch, evaluation, case.pop("options", None))
        guider = case.pop("guider", None) or cfg_guider(
            case.pop("model", model), case.pop("positive", positive), case.pop("negative", negative),
            case.pop("cfg", 2.0),
        )  # fmt: skip
        notes = case.pop("notes", {})
        with case.pop("during", None) or nullcontext():
            answer["cases"][name] = {**run(judge, samplers, guider, torch, **case), **notes}

    def conds(rows, seed):
        return conditioning(torch, rows, seed)

    cases = {**make_cases(model, conds), **guider_cases(model, conds), **device_cases(model, conds)}
    cases["packed"] = packed_case(sd, file)
    only = sys.argv[4:]
    for name, make in cases.items():
        if not only or name in only:
            judged(name, make)
    print("PROBE " + json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:4])
