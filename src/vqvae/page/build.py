"""One HTML file with a run's models in it, which needs no server and no network."""

import base64
import io
import json
import re
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from math import ceil, isqrt
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqvae.errors import UserError
from vqvae.models import VQVAE
from vqvae.page.codebook import MOST_CODES, code_colours, code_places
from vqvae.page.graph_json import Blob
from vqvae.page.models import page_models
from vqvae.priors import Prior
from vqvae.sampling import PLAIN, Controls

MOST_COMPARED = 65536  # a page compares all codes of a codebook up to this size, else the codes of the image
_MOST_CODES = 2**53  # of a page, whose numbers are float64
MOST_IMAGES = 96  # images that the page holds: for the first picture, the walk and the patches
_SCRIPTS = ("runtime.js", "model.js", "app.js", "canvas.js", "paint.js", "start.js")
_NEAREST = ("vq", "ema", "simvq", "cosine")  # quantizers that choose the nearest vector


@dataclass(frozen=True)
class PageFacts:
    """What a page says about its run.

    Attributes:
        title: the name of the run.
        kicker: the line above the title, as text.
        quantizer: the kind of the quantizer.
        beta: the weight of the commitment term; None if it is unknown.
        classes: the names of the prior's classes.
        sampling: how samples of the prior are drawn until other settings are chosen.
        counted: where the images come from, such as ``validation images of shapes``.
        footer: the last line, as text.
    """

    title: str
    kicker: str
    quantizer: str
    beta: float | None = None
    classes: tuple[str, ...] = ()
    sampling: Controls = PLAIN
    counted: str = ""
    footer: str = ""


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        html: the text of the file.
        left_out: what the page cannot do, a sentence each.
    """

    html: str
    left_out: list[str] = field(default_factory=list[str])


def build_page(
    tokenizer: VQVAE, prior: Prior | None, facts: PageFacts, *, size: tuple[int, int], pixels: Tensor | None
) -> Page:
    """Return the page of a tokenizer, or of a prior and its tokenizer.

    Args:
        tokenizer: in eval mode, on the CPU.
        prior: in eval mode, on the CPU; or None.
        facts: the words of the page.
        size: height and width of its images.
        pixels: uint8 [N, C, H, W], real images for the use and the patches of codes; or None.

    Raises:
        UserError: for a tokenizer that the page's runtime cannot run, more than 2^53 codes, or a missing package.
    """
    if tokenizer.num_codes > _MOST_CODES:
        raise UserError(f"K = {tokenizer.num_codes:,} codes: a page holds codes of up to K = {_MOST_CODES:,}")
    blob = Blob()
    models = page_models(tokenizer, prior, size, blob)
    left_out = [f"the page has no prior: {models.left_out}"] if models.left_out else []
    data = {
        "graphs": models.graphs,
        "prior": models.prior,
        "model": _sizes(tokenizer, size),
        "classes": list(facts.classes),
        "sampling": vars(facts.sampling),
        "colours": code_colours(tokenizer),
        "mostCompared": MOST_COMPARED,
        "nearest": facts.quantizer in _NEAREST,
        **_images(tokenizer, pixels, facts.counted),
    }
    words = {
        "title": escape(facts.title),
        "kicker": escape(facts.kicker),
        "lead": escape(_lead(tokenizer, models.prior is not None, size)),
        "size": _by(size),
        "dimensions": f"{tokenizer.quantizer.channels:,}",
        "among": "in the codebook" if tokenizer.num_codes <= MOST_COMPARED else "in this image",
        "beta": "" if facts.beta is None else f"; here \N{GREEK SMALL LETTER BETA} is {facts.beta:g}",
        "footer": escape(facts.footer),
        "style": _text("style.css"),
        "grid": _by(tokenizer.code_spec(*size).grid),
        "script": "\n".join(_text(name) for name in _SCRIPTS),
        "data": json.dumps(data, separators=(",", ":")).replace("</", "<\\/"),
        "weights": base64.b64encode(blob.content).decode(),
    }
    parts = {
        "{{prior}}": "" if models.prior is None else _text("prior.html"),
        "{{canvas}}": _text("canvas.html") if models.any_size else "",
    }
    html = _text("page.html")
    for place, part in parts.items():
        html = html.replace(place, part)
    return Page(re.sub(r"\{\{(\w+)\}\}", lambda found: words[found[1]], html), left_out)


def _by(size: tuple[int, int]) -> str:
    """Return a size in words, the width first."""
    return f"{size[1]}\N{MULTIPLICATION SIGN}{size[0]}"


def _sizes(tokenizer: VQVAE, size: tuple[int, int]) -> dict[str, Any]:
    """Return the sizes that the page's script reads."""
    spec = tokenizer.code_spec(*size)
    return {
        "numCodes": spec.num_codes,
        "codesPerPosition": spec.codes_per_position,
        "channels": tokenizer.channels,
        "factor": tokenizer.factor,
        "size": list(size),
        "grid": list(spec.grid),
    }


def _text(name: str) -> str:
    return files("vqvae.page").joinpath(name).read_text(encoding="utf-8")


def _lead(tokenizer: VQVAE, has_prior: bool, size: tuple[int, int]) -> str:
    spec = tokenizer.code_spec(*size)
    grid = _by(spec.grid)
    each = f"{spec.codes_per_position} codes" if spec.codes_per_position > 1 else "one code"
    codes = f"{each} of {spec.num_codes:,}"
    maps = f"The tokenizer maps an image to a grid of {grid} positions with {codes} each, and back."
    runs = "All of it runs in this page: nothing is sent anywhere."
    return f"{maps} The prior draws new grids. {runs}" if has_prior else f"{maps} {runs}"


def _images(tokenizer: VQVAE, pixels: Tensor | None, words: str) -> dict[str, Any]:
    """Return the images of the page as one PNG, and the use and the places of codes."""
    if pixels is None or not len(pixels):
        return {"sprite": None, "counts": None, "counted": 0, "countedWords": "", "places": {}}
    with torch.no_grad():
        codes = torch.cat([tokenizer.encode(part) for part in pixels.split(64)])
    held = pixels[:MOST_IMAGES]
    counted = tokenizer.num_codes <= MOST_CODES
    counts = torch.bincount(codes.flatten(), minlength=tokenizer.num_codes).tolist() if counted else None
    return {
        "sprite": _sprite(held),
        "counts": counts,
        "counted": len(pixels),
        "countedWords": words,
        "places": code_places(tokenizer, codes[:MOST_IMAGES]),
    }


def _sprite(pixels: Tensor) -> dict[str, Any]:
    """Return images as one PNG in rows."""
    count, channels, height, width = pixels.shape
    columns = isqrt(count - 1) + 1
    canvas = torch.zeros(channels, ceil(count / columns) * height, columns * width, dtype=torch.uint8)
    for number, image in enumerate(pixels):
        row, column = divmod(number, columns)
        canvas[:, row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    picture = Image.fromarray(canvas.permute(1, 2, 0).squeeze(2).contiguous().numpy())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    png = base64.b64encode(buffer.getvalue()).decode()
    return {"png": f"data:image/png;base64,{png}", "count": count, "columns": columns}
