"""What the GPU benchmark runs: the models' configurations, the sizes, and what they cost. Plain Python: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

UNET = {
    "use_checkpoint": False, "image_size": 32, "in_channels": 4, "out_channels": 4, "use_spatial_transformer": True,
    "legacy": False, "use_temporal_attention": False, "use_temporal_resblock": False,
}  # fmt: skip


def mmdit(depth: int, positions: int) -> dict[str, Any]:
    """A configuration of SD3's network; it is 64 depth wide, as ComfyUI reads it from a checkpoint."""
    embed = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64 * depth}}
    return {
        "in_channels": 16, "out_channels": 16, "patch_size": 2, "depth": depth, "input_size": None,
        "adm_in_channels": 2048, "context_embedder_config": embed, "num_patches": positions**2,
        "pos_embed_max_size": positions, "pos_embed_scaling_factor": None,
    }  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """One architecture.

    kind: ComfyUI's class in comfy.supported_models. parameters, teraflops (of one picture without guidance, by pixels)
    and megabytes (ComfyUI's estimate for one picture of 512 x 512) are of the full size; a test measures them again.
    tokens: of a prompt. pooled: width of its pooled vector. flow: a flow model.
    """

    name: str
    kind: str
    full: dict[str, Any]
    toy: dict[str, Any]
    dtype: str
    tokens: int
    pooled: int
    parameters: int
    teraflops: dict[int, float]
    flow: bool = False

    @property
    def width(self) -> int:
        """Of a prompt's tokens at full size."""
        return int(self.full.get("context_dim") or 4096)


SD15_FULL = {
    **UNET, "adm_in_channels": None, "model_channels": 320, "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "channel_mult": [1, 2, 4, 4], "transformer_depth_middle": 1,
    "use_linear_in_transformer": False, "context_dim": 768, "num_heads": 8,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}  # fmt: skip
SD15_TOY = {
    **UNET, "adm_in_channels": None, "model_channels": 32, "num_res_blocks": [1], "transformer_depth": [0],
    "channel_mult": [1], "transformer_depth_middle": 1, "use_linear_in_transformer": False, "context_dim": 64,
    "num_heads": 8, "transformer_depth_output": [0, 0],
}  # fmt: skip
SDXL_FULL = {
    **UNET, "num_classes": "sequential", "adm_in_channels": 2816, "model_channels": 320, "num_res_blocks": [2, 2, 2],
    "transformer_depth": [0, 0, 2, 2, 10, 10], "channel_mult": [1, 2, 4], "transformer_depth_middle": 10,
    "use_linear_in_transformer": True, "context_dim": 2048, "num_head_channels": 64,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
}  # fmt: skip
SDXL_TOY = {
    **UNET, "num_classes": "sequential", "adm_in_channels": 2816, "model_channels": 32, "num_res_blocks": [1, 1],
    "transformer_depth": [0, 1], "channel_mult": [1, 2], "transformer_depth_middle": 1,
    "use_linear_in_transformer": True, "context_dim": 64, "num_head_channels": 64,
    "transformer_depth_output": [0, 0, 0, 0],
}  # fmt: skip
# The network that is trained on glyphs: SD 1.5's class, with one prompt token that says which character.
GLYPH_FULL = {
    **SD15_FULL, "model_channels": 64, "num_res_blocks": [2, 2, 2], "transformer_depth": [0, 0, 1, 1, 1, 1],
    "channel_mult": [1, 2, 2], "context_dim": 64, "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1],
}  # fmt: skip

SPECS = {
    "sd15": Spec(
        "SD 1.5 UNet", "SD15", SD15_FULL, SD15_TOY, "float16", 77, 0, 859_520_964, {512: 0.803, 1024: 4.674}
    ),
    "sdxl": Spec(
        "SDXL UNet", "SDXL", SDXL_FULL, SDXL_TOY, "float16", 77, 1280, 2_567_463_684, {512: 1.589, 1024: 6.761}
    ),
    "sd3": Spec(
        "SD3 medium MMDiT", "SD3", mmdit(24, 192), mmdit(1, 16), "bfloat16", 154, 2048, 2_028_328_000,
        {512: 1.803, 1024: 8.437}, flow=True,
    ),
}  # fmt: skip
GLYPH = Spec("glyph UNet", "SD15", GLYPH_FULL, SD15_TOY, "float32", 1, 0, 9_889_796, {64: 0.004})
MEGABYTES = {"sd15": 614, "sdxl": 492, "sd3": 983}  # ComfyUI's estimate of one picture of 512 x 512 at work


@dataclass(frozen=True)
class Glyphs:
    """Part f. pixels: of a picture. images: drawn by each run, and as many real ones. batch: drawn at once."""

    pixels: int
    renderings: int
    train_steps: int
    train_batch: int
    classifier_steps: int
    images: int
    batch: int
    calls: tuple[int, ...]
    schedules: tuple[str, ...] = ("simple", "karras", "learned")


@dataclass(frozen=True)
class Size:
    """full, or toy: the same code on the same classes with few channels and tiny latents.

    latents: pixels -> latent side. levels: R of part b. calls: of each run of part c. runs, races: model -> pixels it
    is run at in parts c and d. sequential: steps of DDIM, and twice those of Heun. ladder: step counts that are
    tried. shapes: (R, K). windows, tolerances: of ParaDiGMS. fits: (model, pixels, method) of part e.
    """

    name: str
    latents: dict[int, int]
    levels: tuple[int, ...]
    repeats: int
    calls: int
    runs: dict[str, int]
    races: dict[str, int]
    sequential: int
    reference_steps: int
    ladder: tuple[int, ...]
    shapes: tuple[tuple[int, int], ...]
    windows: tuple[int, ...]
    tolerances: tuple[float, ...]
    fits: tuple[tuple[str, int, str], ...]
    fit_steps: tuple[int, ...]
    trajectories: int
    glyphs: Glyphs
    cfg: float = 5.0


LIMITS = {
    "overhead": 0.01,  # of a sampler's time, beside its model calls
    "syncs": 0.0,
    "fit seconds": 60.0,  # SD 1.5 at 512
    "fit memory": 1.1,  # of Euler's own peak
    "parallel seconds": 1.0,  # of the sequential solver's, and of ParaDiGMS's
}
FULL = Size(
    name="full", latents={512: 64, 1024: 128}, levels=(1, 2, 4, 8, 16), repeats=3, calls=25,
    runs={"sd15": 512, "sdxl": 1024, "sd3": 1024}, races={"sd15": 512, "sdxl": 512, "sd3": 512}, sequential=100,
    reference_steps=200, ladder=(8, 12, 16, 24), shapes=((4, 1), (8, 1)), windows=(50,), tolerances=(0.1, 0.03),
    fits=(("sd15", 512, "direct"), ("sd15", 512, "refined"), ("sdxl", 512, "direct")), fit_steps=(12,), trajectories=24,
    glyphs=Glyphs(64, 80, 3000, 256, 1500, 2048, 1024, (5, 9, 15, 29)),
)  # fmt: skip
TOY = Size(
    name="toy", latents={512: 8}, levels=(1, 4), repeats=1, calls=5, runs={"sd3": 512},
    races={"sdxl": 512, "sd3": 512}, sequential=5, reference_steps=10, ladder=(3,), shapes=((2, 1),), windows=(5,),
    tolerances=(0.5, 0.0), fits=(("sd15", 512, "refined"),), fit_steps=(3,), trajectories=2,
    glyphs=Glyphs(16, 2, 3, 16, 3, 16, 8, (5,), ("simple", "learned")),
)  # fmt: skip
SIZES = {"full": FULL, "toy": TOY}
SAMPLERS = ("euler", "heun", "dpmpp_2m", "restart", "randomized_midpoint", "parallel_midpoint")
OURS = SAMPLERS[3:]
