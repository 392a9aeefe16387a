"""What forbids several sigmas in one batch: known things by name, unknown things always."""

from __future__ import annotations

import types

import pytest
import torch

from restart_art.samplers.evaluation import PairEvaluator
from restart_art.samplers.obstacles import batching_obstacle

from exact import Mixture, grid_5x5


def holder(kind, content):
    """A host's holder of a model's conditioning, known by the name of its class."""
    found = type(kind, (), {})()
    found.cond = content
    return found


def guided(*conditions, guider="CFGGuider", base="SD3", low=0.0, high=14.6, objects=None, injections=None, **network):
    """The shape of a host's wrapped model: conditions live on the guider."""
    found = type(guider, (), {})()
    found.conds = {"positive": list(conditions), "negative": None}
    found.model_patcher = types.SimpleNamespace(object_patches=objects or {}, injections=injections or {})
    found.inner_model = type(base, (), {})()
    found.inner_model.model_sampling = types.SimpleNamespace(sigma_min=low, sigma_max=torch.tensor(high))
    found.inner_model.diffusion_model = types.SimpleNamespace(**network)
    return types.SimpleNamespace(inner_model=found)


def options(transformer=None, **named):
    return {"model_options": {**named, "transformer_options": transformer or {}}}


def unknown_function():
    pass


def stock(file, name):
    """A function that says of itself that it comes from a stock node."""

    def function(args):
        return args

    function.__module__, function.__qualname__ = file, name
    return function


RESCALE = "RescaleCFG.patch.<locals>.rescale_cfg"
WRAPPED = {"wrappers": {"diffusion_model": {"easycache": [unknown_function]}}}
MODEL_CONDS = {
    "c_crossattn": holder("CONDRegular", torch.zeros(1, 77, 8)),
    "y": holder("CONDRegular", torch.zeros(2, 8)),
}

OBSTACLES = {
    "inpainting": (guided(), {"denoise_mask": torch.ones(1)}, "inpainting mask"),
    "controlnet": (guided({"control": object()}), {}, "ControlNet"),
    "hooks": (guided({"hooks": object()}), {}, "hook"),
    "gligen": (guided({"gligen": ("position", 1, 2)}), {}, "GLIGEN"),
    "default": (guided({"default": True}), {}, "default prompt"),
    "late start": (guided({"timestep_start": 5.0}), {}, "time range"),
    "early end": (guided({"timestep_end": 5.0}), {}, "time range"),
    "second prompt": (guided({}, {"timestep_end": 5.0}), {}, "time range"),
    "unknown entry": (guided({"someones_key": 3}), {}, "'someones_key'"),
    "registered hooks": (guided(), options(registered_hooks=[1]), "(registered_hooks)"),
    "function wrapper": (guided(), options(model_function_wrapper=len), "(model_function_wrapper)"),
    "cfg function": (guided(), options(sampler_cfg_function=unknown_function), "(sampler_cfg_function)"),
    "post cfg": (guided(), options(sampler_post_cfg_function=[unknown_function]), "(sampler_post_cfg_function)"),
    "one of two": (
        guided(),
        options(sampler_post_cfg_function=[stock("comfy_extras.nodes_model_advanced", RESCALE), unknown_function]),
        "(sampler_post_cfg_function)",
    ),
    "another pack's namesake": (
        guided(), options(sampler_cfg_function=stock("pack.nodes_model_advanced", RESCALE)), "(sampler_cfg_function)",
    ),
    "mask function": (guided(), options(denoise_mask_function=unknown_function), "(denoise_mask_function)"),
    "context windows": (guided(), options(context_handler=object()), "(context_handler)"),
    "unknown option": (guided(), options(someones_option=0.5), "(someones_option)"),
    "patches": (guided(), options({"patches": {"attn1": [len]}}), "'patches'"),
    "replacements": (guided(), options({"patches_replace": {"dit": {("block", 3): len}}}), "'patches_replace'"),
    "cache": (guided(), options(WRAPPED), "diffusion_model: easycache"),
    "cache's own entry": (guided(), options({"easycache": object(), **WRAPPED}), "EasyCache"),
    "cache loaded with hooks": (guided(), options(to_load_options=WRAPPED), "diffusion_model: easycache"),
    "state watcher": (guided(), options({"callbacks": {"on_prepare_state": {"a": [len]}}}), "on_prepare_state"),
    "unknown transformer option": (guided(), options({"someones": [1]}), "'someones'"),
    "attention": (guided(), options({"optimized_attention_override": unknown_function}), "attention_override"),
    "part replaced": (guided(objects={"diffusion_model.forward": len}), {}, "replaces a part of the model"),
    "injected": (guided(injections={"AnimateDiff": [1]}), {}, "inside the model (AnimateDiff)"),
    "two models": (guided(guider="Guider_DualModel"), {}, "Guider_DualModel"),
    "guider": (guided(guider="Guider_PerpNeg"), {}, "Guider_PerpNeg"),
    "frames": (guided({"model_conds": {"num_video_frames": holder("CONDConstant", 14)}}), {}, "frames of one video"),
    "video model": (guided(base="SVD_img2vid"), {}, "frames of one video"),
    "payload": (guided({"model_conds": {"x": holder("CONDConstant", {"a": 1})}}), {}, "shared by the whole batch"),
    "unknown holder": (guided({"model_conds": {"x": holder("CONDOther", torch.ones(1))}}), {}, "CONDOther"),
    "packed": (guided({"model_conds": {"latent_shapes": holder("CONDConstant", [(1, 2), (1, 3)])}}), {}, "packed"),
    "step by sigma": (guided(time_r_in=torch.nn.Identity()), {}, "first picture's sigma"),
    "first sigma": (guided(base="MiniMaxH3"), {}, "one sigma"),
}  # fmt: skip


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_may_read_one_sigma_for_the_whole_batch_forbids_batching(name):
    model, args, words = OBSTACLES[name]
    found = batching_obstacle(model, args, 2)
    assert found is not None
    assert words in found


ALLOWED = {
    "no host": (grid_5x5(), {}),
    "plain": (guided({"pooled_output": 1, "uuid": 2, "timestep_start": None, "control": None}), {"seed": 1}),
    "what a plain run holds": (
        guided({"cross_attn": 1, "model_conds": MODEL_CONDS}),
        options({"wrappers": {}, "callbacks": {}, "patches": {}, "sample_sigmas": torch.ones(3)},
                to_load_options={"wrappers": {}, "callbacks": {"on_load_after": {}}}, disable_cfg1_optimization=True),
    ),
    "whole time range": (guided({"timestep_start": 999999999.9, "timestep_end": 0.0}), {}),
    "whole time range of flow": (guided({"timestep_start": 1.0, "timestep_end": 0.0}, high=1.0), {}),
    "several devices": (guided(), options(multigpu_clones={1: 1, 2: 2}, multigpu_thread_pool=object())),
    "compiled": (guided(), options({"wrappers": {"apply_model": {"torch.compile": [unknown_function]}}})),
    "verified by package": (
        guided(), options(sampler_cfg_function=stock("comfy_extras.nodes_model_advanced", RESCALE)),
    ),
    "verified by path": (
        guided(), options(sampler_cfg_function=stock("/opt/ComfyUI/comfy_extras/nodes_model_advanced", RESCALE)),
    ),
    "verified on Windows": (
        guided(), options(sampler_cfg_function=stock(r"C:\AI\comfy_extras\nodes_model_advanced", RESCALE)),
    ),
    "other sampling": (guided(objects={"model_sampling": 1, "manual_cast_dtype": 2}), {}),
    "bypassed LoRA": (guided(injections={"bypass_lora": [1]}), {}),
    "compiled part": (guided(objects={"diffusion_model.blocks.0": type("OptimizedModule", (), {})()}), {}),
    "area and mask": (guided({"area": (4, 4, 0, 0), "mask": torch.ones(1, 8, 8), "strength": 0.5}), {}),
    "switched off": (guided(time_r_in=None), options(model_function_wrapper=None, sampler_pre_cfg_function=[])),
    "one latent": (guided({"model_conds": {"latent_shapes": holder("CONDConstant", [(1, 2)])}}), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_what_treats_each_picture_by_itself_allows_batching(name):
    model, args = ALLOWED[name]
    assert batching_obstacle(model, args, 2) is None


@pytest.mark.parametrize(
    ("rows", "batch", "fits"), [(1, 4, True), (2, 4, True), (4, 4, True), (3, 4, False), (4, 2, False)]
)
@pytest.mark.parametrize("where", ["tensor", "list", "mask"])
def test_per_sample_conditioning_must_line_up_with_the_batch(rows, batch, fits, where):
    tensor = torch.zeros(rows, 8, 8)
    condition = {
        "tensor": {"model_conds": {"y": holder("CONDRegular", tensor)}},
        "list": {"model_conds": {"ref_latents": holder("CONDList", [torch.zeros(1, 8), tensor])}},
        "mask": {"mask": tensor},
    }[where]
    found = batching_obstacle(guided(condition), {}, batch)
    assert (found is None) is fits
    assert fits or f"made for {rows} pictures, and {batch} are drawn" in found
    assert batching_obstacle(guided(condition), {}) is None  # not judged before the batch is known


def test_the_evaluator_judges_by_the_batch_that_comes():
    class Hosted(Mixture):
        def __call__(self, x, sigma, **kw):
            self.sizes = (*getattr(self, "sizes", ()), len(x))
            return super().__call__(x, sigma)

    model = Hosted(grid_5x5().means, 0.2)
    model.inner_model = guided({"model_conds": {"y": holder("CONDRegular", torch.zeros(2, 8))}}).inner_model
    evaluator = PairEvaluator(model)
    assert evaluator.obstacle is None
    evaluator.evaluate(torch.zeros(4, 2, 2), torch.ones(4, 2))
    assert evaluator.obstacle is None
    evaluator.evaluate(torch.zeros(4, 3, 2), torch.ones(4, 3))
    assert "made for 2 pictures, and 3 are drawn" in evaluator.obstacle
    assert model.sizes == (8, 3, 3, 3, 3)
