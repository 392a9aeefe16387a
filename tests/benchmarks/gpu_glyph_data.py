"""Glyphs of free fonts: pictures of letters and digits, and the latents that stand for them."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Free fonts that draw Latin letters; what else lies on the machine is left alone.
FREE = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmr10", "cmss10", "cmtt10", "cmb10", "Liberation", "FreeSans",
        "FreeSerif", "FreeMono", "NotoSans-", "NotoSerif-", "OpenSans", "Roboto-")  # fmt: skip
NOT_LETTERS = ("Display", "Math", "NonUni", "Symbol")
SYSTEM = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))


def find_fonts() -> list[Path]:
    """Free fonts that matplotlib ships and that the system has, one file for each name, sorted."""
    places = list(SYSTEM)
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not there: only the system's fonts")
    else:
        places.insert(0, Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    files = [file for place in places for file in place.rglob("*.[ot]tf")]
    usable = {f.name: f for f in files if f.name.startswith(FREE) and not any(word in f.name for word in NOT_LETTERS)}
    if not usable:
        raise RuntimeError("no free font was found; matplotlib ships some")
    return [usable[name] for name in sorted(usable)]


def render(font: Path, character: str, pixels: int, generator: torch.Generator) -> Tensor:
    """(pixels, pixels) in -1 (paper) to 1 (ink), uint8-exact: of random size, place and turn."""
    scale, turn, right, down = (torch.rand(4, generator=generator) * 2 - 1).tolist()
    big = 4 * pixels
    picture = Image.new("L", (big, big), 0)
    face = ImageFont.truetype(str(font), round(big * (0.7 + 0.12 * scale)))
    middle = (big * (0.5 + 0.06 * right), big * (0.5 + 0.06 * down))
    ImageDraw.Draw(picture).text(middle, character, fill=255, font=face, anchor="mm")
    small = picture.rotate(10 * turn, Image.Resampling.BILINEAR).resize((pixels, pixels), Image.Resampling.BOX)
    values = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return values.reshape(pixels, pixels).float() / 127.5 - 1


def glyphs(pixels: int, renderings: int, seed: int, fonts: list[Path]) -> tuple[Tensor, Tensor]:
    """(pictures (n, 1, pixels, pixels), classes (n,)): every character `renderings` times in random fonts."""
    generator = torch.Generator().manual_seed(seed)
    pictures, classes = [], []
    for label, character in enumerate(CHARACTERS):
        for _ in range(renderings):
            font = fonts[int(torch.randint(len(fonts), (1,), generator=generator))]
            pictures.append(render(font, character, pixels, generator))
            classes.append(label)
    return torch.stack(pictures)[:, None], torch.tensor(classes)


def to_latents(pictures: Tensor) -> Tensor:
    """(n, 1, p, p) -> (n, 4, p/2, p/2), nothing lost: a model of ComfyUI has four channels."""
    return pixel_unshuffle(pictures, 2)


def to_pictures(latents: Tensor) -> Tensor:
    return pixel_shuffle(latents, 2)


def prompts(classes: Tensor, width: int) -> Tensor:
    """(n,) -> (n, 1, width): one token that says which character."""
    return torch.nn.functional.one_hot(classes, width).float()[:, None]
