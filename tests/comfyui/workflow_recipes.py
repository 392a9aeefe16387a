"""The shipped workflows, each described once: for the usual checkpoint, and for the tiny one that the tests can run.

build(name) is what lies in workflows/; build(name, tiny=True) is its twin, the same nodes wired to a tiny checkpoint,
a digit for a prompt and a small latent. Twins exist in memory only and cannot drift.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_sheet import Link, Node, Sheet

NOTES = Path(__file__).with_name("workflow_notes")
SHARED = Path(__file__).with_name("shared_schedule.json")  # learned by the twin of LEARN
LEARN = "RestART - learn a schedule for your model"
PROMPT = "a lighthouse on a cliff in the evening light, rough sea, oil painting"
DIGIT, PICTURES = 3, 5
OURS = "ours"


def note(file: str, swap: bool = True) -> str:
    """What a workflow says about itself. swap: and how to use another checkpoint of the same kind."""
    parts = [file, *(["own_checkpoint"] if swap else [])]
    return "\n\n".join((NOTES / f"{part}.md").read_text(encoding="utf-8").strip() for part in parts)


@dataclass(frozen=True)
class Place:
    """Where a workflow runs.

    checkpoint: file name. cfg, size, batch: of the picture. latent: the empty latent node. tiny: with digits for
    prompts; eps: and the checkpoint wired as a Stable-Diffusion-like model. photo: the picture that image to image
    starts from. learn_from: noises of a fit. url: where ComfyUI's own templates have the checkpoint from; the editor
    offers it when the file is missing.
    """

    checkpoint: str
    cfg: float
    size: int
    latent: str = "EmptySD3LatentImage"
    tiny: bool = False
    eps: bool = False
    photo: str = "example.png"
    batch: int = 1
    learn_from: int = 24
    url: str = ""


HUB = "https://huggingface.co/Comfy-Org/{}/resolve/main/{}?download=true"
SD15_FILE, SD35_FILE = "v1-5-pruned-emaonly-fp16.safetensors", "sd3.5_large_fp8_scaled.safetensors"
SD15 = Place(
    SD15_FILE, 7.0, 512, "EmptyLatentImage", url=HUB.format("stable-diffusion-v1-5-archive", SD15_FILE)
)  # fmt: skip
SD35 = Place(SD35_FILE, 4.0, 1024, url=HUB.format("stable-diffusion-3.5-fp8", SD35_FILE))
_TINY: dict[str, Any] = {"cfg": 2.0, "size": 64, "tiny": True, "photo": "digit.png", "batch": PICTURES, "learn_from": 8}
TINY_EPS = Place("tiny_eps.safetensors", eps=True, **_TINY)
TINY_FLOW = Place("tiny_flow.safetensors", **_TINY)


class Studio:
    """What every workflow has: checkpoint, prompts and latent on the left, pictures on the right."""

    def __init__(self, name: str, place: Place, text: str) -> None:
        self.sheet, self.place = Sheet(name), place
        sheet = self.sheet
        sheet.column(-500, 440, y=-64)
        sheet.note(text)
        sheet.column(0, 360)
        self.loader = sheet.add("CheckpointLoaderSimple", ckpt_name=place.checkpoint)
        if place.url:
            file = {"name": place.checkpoint, "url": place.url, "directory": "checkpoints"}
            self.loader.data["properties"]["models"] = [file]
        self.model = self.loader["MODEL"]
        if place.eps:
            self.model = sheet.add("ModelSamplingDiscrete", model=self.model, sampling="eps", zsnr=False).out
        if place.tiny:
            self.positive = sheet.add("RestARTTest_DigitConditioning", digit=DIGIT).out
        else:
            self.positive = self.prompt("Positive prompt", "yes", PROMPT)
        self.negative = self.prompt("Negative prompt", "no", "" if place.tiny else "text, watermark, blurry")

    def prompt(self, title: str, colour: str, text: str) -> Link:
        return self.sheet.add("CLIPTextEncode", title, colour, clip=self.loader["CLIP"], text=text).out

    def empty(self) -> Link:
        """An empty latent of the model's size; closes the first group."""
        size = self.place.size
        latent = self.sheet.add(self.place.latent, width=size, height=size, batch_size=self.place.batch).out
        self.sheet.group("1 Model, prompt, size")
        return latent

    def photo(self, masked: bool) -> Link:
        """A picture from the disk as a latent, its painted mask with it if asked for; closes the first group."""
        self.sheet.column(420, 320)
        image = self.sheet.add("LoadImage", tall=340, image=self.place.photo)
        encoder = "RestARTTest_EncodeDigits" if self.place.tiny else "VAEEncode"
        latent = self.sheet.add(encoder, pixels=image["IMAGE"], vae=self.loader["VAE"]).out
        if masked:
            latent = self.sheet.add("SetLatentNoiseMask", samples=latent, mask=image["MASK"]).out
        self.sheet.group("1 Model, prompt, picture")
        return latent

    def stock(self, scheduler: str, steps: int, denoise: float = 1.0) -> Link:
        kind = "BasicScheduler"
        return self.sheet.add(kind, model=self.model, scheduler=scheduler, steps=steps, denoise=denoise).out

    def solver(self, name: str, title: str | None = None) -> Link:
        return self.sheet.add("KSamplerSelect", title, sampler_name=name).out

    def restart(self, preset: str, solver: str, budget: str = "on top of steps") -> Link:
        segments = "3, 2, 0.06, 0.30"
        return self.sheet.add(
            "RestART_SamplerRestart", None, OURS, segments=segments, solver=solver, s_noise=1.0, preset=preset,
            budget=budget,
        ).out  # fmt: skip

    def sample(self, sampler: Link, sigmas: Link, latent: Link, title: str | None = None) -> Node:
        return self.sheet.add(
            "SamplerCustom", title, model=self.model, add_noise=True, noise_seed=1, cfg=self.place.cfg,
            positive=self.positive, negative=self.negative, sampler=sampler, sigmas=sigmas, latent_image=latent,
        )  # fmt: skip

    def decode(self, samples: Node) -> Link:
        image = self.sheet.add("VAEDecode", samples=samples["output"], vae=self.loader["VAE"]).out
        return self.sheet.add("SplitImageWithAlpha", image=image).out if self.place.tiny else image

    def save(self, image: Link, name: str, title: str | None = None, tall: int = 480) -> None:
        self.sheet.add("SaveImage", title, tall=tall, images=image, filename_prefix=f"RestART/{name}")

    def finish(self, sampler: Link, sigmas: Link, latent: Link, name: str, x: int = 860) -> None:
        """One run with its picture; closes the third group."""
        self.sheet.column(x, 320)
        image = self.decode(self.sample(sampler, sigmas, latent))
        self.sheet.column(x + 360, 520)
        self.save(image, name)
        self.sheet.group("3 Picture")


def one_click(place: Place, name: str) -> Sheet:
    studio = Studio(name, place, note("one_click"))
    latent = studio.empty()
    studio.sheet.column(430, 360)
    sampler, sigmas = studio.restart("a1111", "heun"), studio.stock("karras", 20)
    studio.sheet.group("2 Restart and its steps")
    studio.finish(sampler, sigmas, latent, "restart")
    return studio.sheet


def equal_calls(place: Place, name: str) -> Sheet:
    studio = Studio(name, place, note("equal_calls"))
    sheet, latent = studio.sheet, studio.empty()
    sheet.column(430, 360)
    sigmas = studio.stock("karras", 20)
    sheet.group("2 Steps of both")
    for left, y, title in ((0, 0, "Plain"), (0, 720, "Restart")):
        sheet.column(870 + left, 360, y)
        sampler = studio.restart("a1111", "heun") if y else studio.solver("heun")
        sheet.column(1270 + left, 320, y)
        image = studio.decode(studio.sample(sampler, sigmas, latent, f"Sample: {title}"))
        sheet.column(1630 + left, 520, y)
        studio.save(image, title.lower(), title)
        sheet.group(f"{title}: heun, 39 model calls", "#3f789e" if y else "#8a6d3b")
    return sheet


def randomized(place: Place, name: str) -> Sheet:
    studio = Studio(name, place, note("randomized"))
    latent = studio.empty()
    studio.sheet.column(430, 360)
    kind = "RestART_SamplerRandomizedMidpoint"
    sampler = studio.sheet.add(
        kind, None, OURS, measure="sigma", spread=0.6, antithetic=True, preset="custom"
    ).out  # fmt: skip
    sigmas = studio.stock("karras", 10)
    studio.sheet.group("2 Sampler and its steps")
    studio.finish(sampler, sigmas, latent, "randomized midpoint")
    return studio.sheet


def parallel(place: Place, name: str) -> Sheet:
    studio = Studio(name, place, note("parallel"))
    latent = studio.empty()
    studio.sheet.column(430, 360)
    sampler = studio.sheet.add("RestART_SamplerParallelMidpoint", None, OURS, midpoints=4, sweeps=1).out
    sigmas = studio.stock("karras", 12)
    studio.sheet.group("2 Sampler and its steps")
    studio.finish(sampler, sigmas, latent, "parallel midpoint")
    return studio.sheet


def learn(place: Place, name: str) -> Sheet:
    studio = Studio(name, place, note("learn"))
    sheet, latent = studio.sheet, studio.empty()
    sheet.column(430, 400)
    fit = sheet.add(
        "RestART_FitARTSchedule", None, OURS, tall=680, model=studio.model, positive=studio.positive,
        negative=studio.negative, cfg=place.cfg, latent_image=latent, seed=0, solver="euler", steps="12",
        trajectories=place.learn_from, method="refined", free_start=True,
    )  # fmt: skip
    sheet.add(
        "RestART_SaveARTSchedule", None, OURS, schedule=fit["schedule"], name="my model", if_exists="keep both"
    )  # fmt: skip
    sheet.group("2 Learn once")
    sheet.column(900, 320)
    image = studio.decode(studio.sample(studio.solver("euler"), fit["sigmas"], latent))
    sheet.column(1260, 520)
    studio.save(image, "learned", tall=400)
    sheet.add("PreviewAny", "What was measured", tall=340, source=fit["report"])
    sheet.add("PreviewAny", "The schedule as text, to share", tall=160, source=fit["schedule_text"])
    sheet.group("3 Picture")
    return sheet


def shared(place: Place, name: str) -> Sheet:
    studio = Studio(name, place, note("shared"))
    sheet, latent = studio.sheet, studio.empty()
    sheet.column(430, 400)
    sampler = studio.solver("euler")
    scheduler = sheet.add(
        "RestART_ARTScheduler", None, OURS, tall=380, model=studio.model, steps=12, denoise=1.0,
        schedule_text=SHARED.read_text(encoding="utf-8").strip(), sampler=sampler, cfg=place.cfg,
    )  # fmt: skip
    sheet.add("PreviewAny", "What it was learned for", tall=240, source=scheduler["info"])
    sheet.group("2 The schedule")
    studio.finish(sampler, scheduler["SIGMAS"], latent, "shared schedule", x=900)
    return sheet


def image_to_image(place: Place, name: str) -> Sheet:
    studio = Studio(name, place, note("image_to_image"))
    latent = studio.photo(masked=False)
    studio.sheet.column(810, 360)
    sampler, sigmas = studio.restart("a1111", "heun"), studio.stock("karras", 20, 0.6)
    studio.sheet.group("2 Restart and its steps")
    studio.finish(sampler, sigmas, latent, "image to image", x=1240)
    return studio.sheet


def inpaint(place: Place, name: str) -> Sheet:
    studio = Studio(name, place, note("inpaint"))
    latent = studio.photo(masked=True)
    studio.sheet.column(810, 360)
    sampler, sigmas = studio.restart("auto", "dpmpp_2m"), studio.stock("karras", 30, 0.9)
    studio.sheet.group("2 Restart and its steps")
    studio.finish(sampler, sigmas, latent, "inpaint", x=1240)
    return studio.sheet


def flow(place: Place, name: str) -> Sheet:
    studio = Studio(name, place, note("flow", swap=False))
    latent = studio.empty()
    studio.sheet.column(430, 360)
    sampler, sigmas = studio.restart("auto", "dpmpp_2m", "within steps"), studio.stock("sgm_uniform", 30)
    studio.sheet.group("2 Restart and its steps")
    studio.finish(sampler, sigmas, latent, "flow")
    return studio.sheet


Recipe = Callable[[Place, str], Sheet]
RECIPES: dict[str, tuple[Recipe, Place, Place]] = {
    "RestART - Restart in one click": (one_click, SD15, TINY_EPS),
    "RestART - Restart against the plain solver": (equal_calls, SD15, TINY_EPS),
    "RestART - randomized midpoint": (randomized, SD15, TINY_EPS),
    "RestART - parallel midpoint": (parallel, SD15, TINY_EPS),
    LEARN: (learn, SD15, TINY_EPS),
    "RestART - use a shared schedule": (shared, SD15, TINY_EPS),
    "RestART - image to image with Restart": (image_to_image, SD15, TINY_EPS),
    "RestART - inpaint with Restart": (inpaint, SD15, TINY_EPS),
    "RestART - flow model with Restart": (flow, SD35, TINY_FLOW),
}


def build(name: str, tiny: bool = False) -> dict[str, Any]:
    """The workflow of that name, or its twin."""
    recipe, real, twin = RECIPES[name]
    return recipe(twin if tiny else real, name).workflow()
