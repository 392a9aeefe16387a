"""A compact SD3 transformer (MMDiT) in plain torch.

What it is: the joint image/context diffusion transformer of Stable Diffusion 3 (Esser et al. 2024,
"Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", section 4 and figure 2), in the
size that follows from one number, the depth d: hidden width 64 d, d attention heads of 64, d joint blocks.
State-dict keys and arithmetic are those of SD3 checkpoints, so the same file runs here and, under the
prefix `model.diffusion_model.`, in ComfyUI.

What it leaves out: q/k normalisation, a second self-attention (SD3.5) and a stored `pos_embed`. Positions
are the sine/cosine code of a grid stretched to 0..15 on the shorter side, whatever the resolution.

The tiny checkpoints see one context only: `CONTEXT_TOKENS` tokens of zeros. Identical tokens stay identical
through every joint block, so they are carried as one token whose attention logit is raised by
log CONTEXT_TOKENS: the softmax is then the same as over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 2
CHANNELS = 16
POOLED = 2048  # width of the pooled text embedding
CONTEXT = 4096  # width of a context token
CONTEXT_TOKENS = 77  # tokens in the empty context ComfyUI makes for an SD3 checkpoint without text encoders
HEAD = 64
FREQUENCIES = 256


def sincos_1d(width: int, position: Tensor) -> Tensor:
    """(n,) positions -> (n, width): sines then cosines at wavelengths 2 pi .. 2 pi 10^4."""
    rate = 1.0 / 10000 ** (torch.arange(width // 2, dtype=position.dtype, device=position.device) / (width / 2))
    angle = position[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def sincos_2d(width: int, rows: int, columns: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Position code of a rows x columns token grid, (rows * columns, width): first the column, then the row."""
    short = min(rows, columns)

    def axis(n: int) -> Tensor:
        reach = 7.5 * n / short
        return torch.linspace(7.5 - reach, 7.5 + reach, n, device=device, dtype=dtype)

    row, column = torch.meshgrid(axis(rows), axis(columns), indexing="ij")
    return torch.cat([sincos_1d(width // 2, column.reshape(-1)), sincos_1d(width // 2, row.reshape(-1))], dim=1)


def timestep_code(t: Tensor, width: int = FREQUENCIES) -> Tensor:
    """(B,) timesteps in 0..1000 -> (B, width): cosines then sines at geometrically spaced rates."""
    half = width // 2
    rate = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angle = t[:, None].float() * rate
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift[:, None], _norm(x), 1 + scale[:, None])


class Embedder(nn.Module):
    """Two linear layers with a SiLU between them; key `mlp`."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class PatchEmbed(nn.Module):
    """Latent (B, C, H, W) -> tokens (B, H/2 * W/2, hidden); key `proj`."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(CHANNELS, hidden, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class _Attention(nn.Module):
    """The projections of one stream; the attention itself is joint and lives in `JointBlock`."""

    def __init__(self, hidden: int, *, with_output: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(hidden, 3 * hidden)
        if with_output:
            self.proj = nn.Linear(hidden, hidden)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, n, hidden) -> q, k, v of (B, heads, n, 64) each."""
        batch, n, _ = x.shape
        q, k, v = self.qkv(x).view(batch, n, 3, -1, HEAD).permute(2, 0, 3, 1, 4)
        return q, k, v


class _FeedForward(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden, 4 * hidden)
        self.fc2 = nn.Linear(4 * hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Stream(nn.Module):
    """One of the two streams (context or image) of a joint block, with its adaptive layer norms.

    pre_only: the stream only feeds keys and values to the other one and ends here (the last context block).
    """

    def __init__(self, hidden: int, *, pre_only: bool = False) -> None:
        super().__init__()
        self.pre_only = pre_only
        self.attn = _Attention(hidden, with_output=not pre_only)
        if not pre_only:
            self.mlp = _FeedForward(hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, (2 if pre_only else 6) * hidden))

    def modulation(self, vector: Tensor) -> tuple[Tensor, ...]:
        """(B, hidden) -> shift, scale and, unless pre_only, gate, shift, scale, gate; (B, hidden) each."""
        return self.adaLN_modulation(vector).chunk(2 if self.pre_only else 6, dim=1)

    def update(self, x: Tensor, attended: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """Adds the gated attention output and the gated feed-forward to x (B, n, hidden)."""
        _, _, gate, shift, scale, gate_mlp = modulation
        x = x + gate[:, None] * self.attn.proj(attended)
        return x + gate_mlp[:, None] * self.mlp(_modulated(x, shift, scale))


class JointBlock(nn.Module):
    """Context and image tokens, each with own weights, attend to each other in one softmax."""

    def __init__(self, hidden: int, *, last: bool) -> None:
        super().__init__()
        self.context_block = Stream(hidden, pre_only=last)
        self.x_block = Stream(hidden)

    def forward(self, context: Tensor, x: Tensor, vector: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """context (B, m, hidden), x (B, n, hidden), vector (B, hidden), bias (1, 1, 1, m + n) or None."""
        context_mod, x_mod = self.context_block.modulation(vector), self.x_block.modulation(vector)
        parts = zip(
            self.context_block.attn.heads(_modulated(context, *context_mod[:2])),
            self.x_block.attn.heads(_modulated(x, *x_mod[:2])),
            strict=True,
        )
        q, k, v = (torch.cat(pair, dim=2) for pair in parts)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
        split = context.shape[1]
        if not self.context_block.pre_only:
            context = self.context_block.update(context, attended[:, :split], context_mod)
        return context, self.x_block.update(x, attended[:, split:], x_mod)


class FinalLayer(nn.Module):
    """Tokens (B, n, hidden) -> patches (B, n, 2 * 2 * 16)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, PATCH * PATCH * CHANNELS)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * hidden))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vector).chunk(2, dim=1)
        return self.linear(_modulated(x, shift, scale))


class MMDiT(nn.Module):
    """The network of an SD3 checkpoint of the given depth (depth 24 would be SD3 medium's).

    depth: number of joint blocks and of heads; hidden width is 64 * depth. Raises ValueError below 1.
    """

    def __init__(self, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        super().__init__()
        self.hidden = hidden = HEAD * depth
        self.x_embedder = PatchEmbed(hidden)
        self.t_embedder = Embedder(FREQUENCIES, hidden)
        self.y_embedder = Embedder(POOLED, hidden)
        self.context_embedder = nn.Linear(CONTEXT, hidden)
        self.joint_blocks = nn.ModuleList([JointBlock(hidden, last=i == depth - 1) for i in range(depth)])
        self.final_layer = FinalLayer(hidden)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> MMDiT:
        """Builds the network a state dict (keys without prefix) describes, in the state's own dtype.

        Raises ValueError when keys or shapes are not those of a plain SD3 network of some depth.
        """
        weight = state.get("x_embedder.proj.weight")
        if weight is None or weight.ndim != 4 or weight.shape[0] % HEAD:
            raise ValueError("not an SD3 network: x_embedder.proj.weight is missing or has a foreign shape")
        with torch.device("meta"):
            net = cls(weight.shape[0] // HEAD)
        try:
            net.load_state_dict(state, strict=True, assign=True)
        except RuntimeError as error:
            raise ValueError(f"not a plain SD3 network: {error}") from None
        return net

    def forward(self, x: Tensor, timesteps: Tensor, pooled: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, 16, H, W) with H and W even, timesteps (B,), pooled (B, 2048) -> (B, 16, H, W).

        context: (B, m, 4096) tokens; None stands for 77 tokens of zeros and is about 5 times faster.
        Raises ValueError for a shape it cannot take.
        """
        batch, channels, height, width = x.shape
        if channels != CHANNELS or height % PATCH or width % PATCH:
            raise ValueError(f"x must be (B, {CHANNELS}, even, even), not {tuple(x.shape)}")
        rows, columns = height // PATCH, width // PATCH
        tokens = self.x_embedder(x) + sincos_2d(self.hidden, rows, columns, device=x.device, dtype=x.dtype)
        vector = self.t_embedder(timestep_code(timesteps).to(x.dtype)) + self.y_embedder(pooled)
        bias = None
        if context is None:
            text = self.context_embedder.bias.expand(batch, 1, -1)
            bias = x.new_zeros(1, 1, 1, 1 + rows * columns)
            bias[..., 0] = math.log(CONTEXT_TOKENS)
        else:
            text = self.context_embedder(context)
        for block in self.joint_blocks:
            text, tokens = block(text, tokens, vector, bias)
        patches = self.final_layer(tokens, vector).view(batch, rows, columns, PATCH, PATCH, CHANNELS)
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(batch, CHANNELS, height, width)
