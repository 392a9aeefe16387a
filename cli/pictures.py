"""Small pictures as PNG: digits enlarged without smoothing, side by side."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor


def contact_sheet(images: Tensor, columns: int, scale: int = 8, gap: int = 4) -> Image.Image:
    """Pictures (B, 8, 8) in [0, 1] row by row, each pixel ``scale`` x ``scale``, on a dark ground.

    columns: pictures in a row. gap: pixels between them and around the sheet.
    """
    rows = -(-len(images) // columns)
    height, width = (int(side) * scale for side in images.shape[1:])
    sheet = Image.new("L", (columns * (width + gap) + gap, rows * (height + gap) + gap), 28)
    grey = (images.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    for rank, pixels in enumerate(grey):
        picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
        row, column = divmod(rank, columns)
        sheet.paste(picture, (gap + column * (width + gap), gap + row * (height + gap)))
    return sheet


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
