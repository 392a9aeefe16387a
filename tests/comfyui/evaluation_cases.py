"""The live set-ups that probe_evaluation.py runs: what artists hang around a model, made by ComfyUI's own nodes."""

import importlib
from contextlib import contextmanager


def node(module, name):
    return getattr(importlib.import_module(module), name)()


def first(result):
    return result[0] if isinstance(result, tuple) else result.args[0]


def use(module, name, *args, **kwargs):
    """The first output of a node of ComfyUI, old style or new."""
    instance = node(module, name)
    return first(getattr(instance, getattr(instance, "FUNCTION", "execute"))(*args, **kwargs))


def extra(file, name, *args, **kwargs):
    return use(f"comfy_extras.{file}", name, *args, **kwargs)


def make_cases(model, conds):
    """Name -> a function that makes the case: what differs from a plain run. conds(rows, seed): a prompt."""
    import torch

    one = conds(1, 1)
    mask = torch.zeros(2, 1, 8, 8)
    mask[..., 4:] = 1.0
    soft = torch.linspace(0, 1, 8).expand(2, 1, 8, 8).clone()

    def timed(keep, start, end):
        return use("nodes", "ConditioningSetTimestepRange", keep, start, end)

    def wrapped():
        patched = model.clone()
        patched.set_model_unet_function_wrapper(whole_batch_wrapper)
        return patched

    def patched_with(file, name, *args, **kwargs):
        return {"model": extra(file, name, model, *args, **kwargs)}

    def half(keep):
        painted = torch.zeros(1, 64, 64)
        painted[:, :, :32] = 1.0
        return use("nodes", "ConditioningSetMask", keep, painted, "default", 1.0)

    def area(keep):
        return use("nodes", "ConditioningSetArea", keep, 64, 32, 0, 32, 1.0)

    return {
        "plain": dict,
        "cfg 1": lambda: {"cfg": 1.0},
        "batch 4": lambda: {"batch": 4},
        "batch 4, prompt 4": lambda: {"batch": 4, "positive": conds(4, 1), "negative": conds(4, 2)},
        "batch 4, prompt 2": lambda: {"batch": 4, "positive": conds(2, 1)},
        "batch 4, prompt 3": lambda: {"batch": 4, "positive": conds(3, 1)},
        "batch 2, prompt 4": lambda: {"positive": conds(4, 1)},
        "prompts combined": lambda: {"positive": one + conds(1, 4)},
        "chunks of 4": lambda: {"options": {"max_batch": 4}},
        "area": lambda: {"positive": one + area(conds(1, 4))},
        "masked prompts": lambda: {"positive": half(one) + conds(1, 4)},
        "time range": lambda: {"positive": timed(one, 0.0, 0.4) + timed(conds(1, 4), 0.4, 1.0)},
        "time range of everything": lambda: {"positive": timed(one, 0.0, 1.0)},
        "inpainting": lambda: {"mask": mask},
        "soft inpainting": lambda: {"mask": soft},
        "differential diffusion": lambda: {
            **patched_with("nodes_differential_diffusion", "DifferentialDiffusion"), "mask": soft,
        },
        "controlnet": lambda: {"positive": [[c, {**d, "control": control(0.0, 0.4)}] for c, d in one]},
        "lora hook": lambda: {"positive": [[c, {**d, "hooks": lora_hook(model)}] for c, d in one]},
        "skip layer guidance": lambda: patched_with("nodes_slg", "SkipLayerGuidanceDiT", 2.0, 0.2, 0.6, "0", ""),
        "easy cache": lambda: patched_with("nodes_easycache", "EasyCacheNode", 0.2, 0.0, 0.9, False),
        "lazy cache": lambda: patched_with("nodes_easycache", "LazyCacheNode", 0.2, 0.0, 0.9, False),
        "function wrapper": lambda: {"model": wrapped()},
        "mahiro": lambda: patched_with("nodes_mahiro", "Mahiro"),
        "renorm cfg": lambda: {**patched_with("nodes_lumina2", "RenormCFG", 0.5, 1.0), "batch": 1},
        "rescale cfg": lambda: {"model": extra("nodes_model_advanced", "RescaleCFG", model, 0.7)},
        "cfg zero star": lambda: patched_with("nodes_cfg", "CFGZeroStar"),
        "cfg norm": lambda: patched_with("nodes_cfg", "CFGNorm", 1.0),
        "cfg norm pre": lambda: patched_with("nodes_cfg", "CFGNorm", 1.0, pre_cfg=True),
        "epsilon scaling": lambda: patched_with("nodes_eps", "EpsilonScaling", 1.01),
        "out of memory above 8": lambda: {"during": tight(model, 8)},
        "out of memory above 2": lambda: {"during": tight(model, 2), "cfg": 1.0},
        "little free memory": lambda: {"during": little_memory(model, samples=4)},
    }  # fmt: skip


def whole_batch_wrapper(apply_model, call):
    """What many packs do: decide by the first picture's sigma."""
    scale = 1.0 if call["timestep"][0] > 0.5 else 0.5
    return scale * apply_model(call["input"], call["timestep"], **call["c"])


def control(start, end):
    """A ControlNet of ComfyUI's own class with a network of no weights: it acts in a range of the steps."""
    import torch

    base = importlib.import_module("comfy.controlnet").ControlBase

    class Control(base):
        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            if t[0] > self.timestep_range[0] or t[0] < self.timestep_range[1]:
                return None
            hint = torch.randn(1, 16, 128, generator=torch.Generator().manual_seed(7))
            return {"output": [hint.expand(len(x_noisy), -1, -1)]}

        def copy(self):
            return self

    found = Control()
    found.timestep_percent_range = (start, end)
    return found


def lora_hook(model):
    """A LoRA whose strength changes in mid-run."""
    import torch

    hooks = importlib.import_module("comfy.hooks")
    key = next(k for k in model.model.state_dict() if k.endswith("x_block.attn.qkv.weight"))
    rows, columns = model.model.state_dict()[key].shape
    generator = torch.Generator().manual_seed(2)
    name = key.removesuffix(".weight")
    lora = {
        f"{name}.lora_up.weight": 0.1 * torch.randn(rows, 2, generator=generator),
        f"{name}.lora_down.weight": torch.randn(2, columns, generator=generator),
    }
    group = hooks.create_hook_lora(lora, 1.0, 0.0)
    frames = hooks.HookKeyframeGroup()
    frames.add(hooks.HookKeyframe(strength=1.0, start_percent=0.0, guarantee_steps=0))
    frames.add(hooks.HookKeyframe(strength=0.0, start_percent=0.5, guarantee_steps=0))
    group.set_keyframes_on_hooks(frames)
    return group


@contextmanager
def tight(model, limit):
    """A device on which a model call of more than `limit` samples fails."""
    import torch

    base = model.model
    inner = base.apply_model

    def apply_model(x, *args, **kwargs):
        if len(x) > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return inner(x, *args, **kwargs)

    base.apply_model = apply_model
    try:
        yield
    finally:
        del base.apply_model


@contextmanager
def little_memory(model, samples):
    """ComfyUI finds room for so many samples."""
    management = importlib.import_module("comfy.model_management")
    free = 1.5 * model.model.memory_required([1, 16, 8, 8], cond_shapes={}) * (samples + 0.5)
    known = management.get_free_memory
    management.get_free_memory = lambda dev=None, torch_free_too=False: (free, free) if torch_free_too else free
    try:
        yield
    finally:
        management.get_free_memory = known


def guider_cases(model, conds):
    """Custom guiders."""

    def guider(file, name, args, settings):
        found = getattr(importlib.import_module(f"comfy_extras.{file}"), name)(model)
        found.set_conds(*args)
        if settings:
            found.set_cfg(*settings)
        return {"guider": found}

    a, b, c = conds(1, 1), conds(1, 2), conds(1, 3)
    return {
        "basic guider": lambda: guider("nodes_custom_sampler", "Guider_Basic", (a,), ()),
        "dual cfg guider": lambda: guider("nodes_custom_sampler", "Guider_DualCFG", (a, b, c), (3.0, 2.0)),
        "perp-neg guider": lambda: guider("nodes_perpneg", "Guider_PerpNeg", (a, b, c), (3.0, 1.0)),
    }


def packed_case(sd, file):
    """A model that takes two latents of different shapes, which ComfyUI packs into one (B, 1, N)."""
    import torch

    def make():
        nested = importlib.import_module("comfy.nested_tensor").NestedTensor
        constant = importlib.import_module("comfy.conds").CONDConstant
        model = sd.load_checkpoint_guess_config(file)[0]
        base = model.model
        picture, plain = base.diffusion_model, base.extra_conds

        class Two(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.picture, self.dtype = picture, picture.dtype

            def forward(self, x, t, **kwargs):
                return [self.picture(x[0], t, **kwargs), x[1] * torch.cos(t).view(-1, 1, 1)]

        def extra_conds(**kwargs):
            return {**plain(**kwargs), "latent_shapes": constant(kwargs["latent_shapes"])}

        base.diffusion_model, base.extra_conds = Two(), extra_conds
        return {"model": model, "nested": lambda latent: nested([latent, latent.flatten(2)[:, :3, :10].clone()])}

    return make


def device_cases(model, conds):
    """ComfyUI's MultiGPU work units on two logical devices of one CPU (ComfyUI 0.33 has them, 0.8 does not)."""

    def two(**case):
        import torch

        multigpu = importlib.import_module("comfy.multigpu")
        management = importlib.import_module("comfy.model_management")
        known = management.get_all_torch_devices
        management.get_all_torch_devices = lambda exclude_current=False: [torch.device("cpu"), torch.device("cpu", 1)]
        try:
            double = multigpu.create_multigpu_deepclones(model, 2)
        finally:
            management.get_all_torch_devices = known
        notes = {"rows": [[], []]}
        bases = [double.model, *(clone.model for clone in double.get_additional_models_with_key("multigpu"))]
        return {"model": double, "during": watched(bases, notes["rows"]), "notes": notes, **case}

    area = use("nodes", "ConditioningSetArea", conds(1, 4), 64, 32, 0, 32, 1.0)
    return {
        "two devices": two,
        "two devices, cfg 1": lambda: two(cfg=1.0),
        "two devices, batch 4, prompt 4": lambda: two(batch=4, positive=conds(4, 1), negative=conds(4, 2)),
        "two devices, prompts combined": lambda: two(positive=conds(1, 1) + conds(1, 4)),
        "two devices, area": lambda: two(positive=conds(1, 1) + area),
        "two devices, inpainting": lambda: two(mask=_half_mask()),
    }


def _half_mask():
    import torch

    mask = torch.zeros(2, 1, 8, 8)
    mask[..., 4:] = 1.0
    return mask


@contextmanager
def watched(bases, rows):
    """Note how many rows each device's model was given in each of its calls."""

    def watch(base, seen):
        inner = base.apply_model

        def apply_model(x, *args, **kwargs):
            seen.append(len(x))
            return inner(x, *args, **kwargs)

        base.apply_model = apply_model

    for base, seen in zip(bases, rows, strict=True):
        watch(base, seen)
    try:
        yield
    finally:
        for base in bases:
            del base.apply_model
