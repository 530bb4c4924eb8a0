"""What images cost a prior, where in them, and how usual that is: from files to numbers and a heat map."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from vqvae.commands.resolve import PriorRun, images_named, load_for, open_prior_run, own_spec
from vqvae.errors import UserError
from vqvae.metrics.bits import bits
from vqvae.metrics.typicality import code_bits, typicality
from vqvae.models import VQVAE
from vqvae.report.pictures import grid, heat, with_scale
from vqvae.tensors import images_from_pixels, pixels_from_images

HELD_OUT = 1000  # images that say what is usual
_BATCH = 256
_ROWS = 8
_CELL = 96  # pixels that a cell is at least high


@dataclass(frozen=True)
class Likelihoods:
    """What images cost a prior.

    Attributes:
        images: their names.
        nats: -log p of each image's codes.
        bits_per_code: the same a code.
        typicality: of each, in (0, 1]: the share of held-out images at least as far from the entropy.
        validation: the spec of these.
        validation_images: how many.
        validation_nats: the mean of their nats, the estimate of the entropy.
    """

    images: tuple[str, ...]
    nats: tuple[float, ...]
    bits_per_code: tuple[float, ...]
    typicality: tuple[float, ...]
    validation: str
    validation_images: int
    validation_nats: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        return asdict(self)

    def table(self) -> str:
        """Return the figures as aligned lines."""
        wide = max(5, *map(len, self.images))
        rows = zip(self.images, self.nats, self.bits_per_code, self.typicality, strict=True)
        return "\n".join(
            [
                f"{'image':{wide}}{'nats':>10}{'bits a code':>13}{'typicality':>12}",
                *(f"{name:{wide}}{nats:10.2f}{cost:13.4f}{usual:12.3f}" for name, nats, cost, usual in rows),
                f"\n{self.validation_images} held-out images of {self.validation}: "
                f"{self.validation_nats:.2f} in the mean;",
                "typicality is the share of them at least as far from it, above or below",
            ]
        )


def likelihood_picture(
    path: str, names: Sequence[str], *, data: str | None = None, label: str | None = None, device: str = "auto"
) -> tuple[Image.Image, Likelihoods]:
    """Measure images under a prior, and lay out each with its reconstruction and its heat map of bits.

    Args:
        path: the prior's run directory.
        names: image files, or one data spec, of whose test split the first 32 images are taken.
        data: the spec whose test split says what is usual; by default the run's own data.
        label: a class's name or number, of the images and of the held-out ones; None for no class.
        device: where to run.

    Raises:
        UserError: for files that do not fit, an unknown class, or a class without held-out images.
    """
    run = open_prior_run(path, device)
    label_row = run.label_rows(1, label)
    pixels, spec = images_named(path, run.tokenizer, names), data or own_spec(path)
    validation = _heldout(path, run.tokenizer, spec, label_row)
    usual = torch.cat([nats.flatten(1).sum(1) for nats, _ in _measured(run, validation, label_row)])
    parts = list(_measured(run, pixels, label_row))
    code_nats, reconstructions = (torch.cat(found) for found in zip(*parts, strict=True))
    nats = code_nats.flatten(1).sum(1)
    figures = Likelihoods(
        images=tuple(names) if len(names) == len(pixels) else tuple(f"{names[0]} {i}" for i in range(len(pixels))),
        nats=tuple(nats.tolist()),
        bits_per_code=tuple(bits(each) / code_nats[0].numel() for each in nats.tolist()),
        typicality=tuple(typicality(nats, usual).tolist()),
        validation=spec,
        validation_images=len(usual),
        validation_nats=float(usual.mean()),
    )
    return _picture(pixels, reconstructions, code_bits(code_nats)), figures


def _heldout(path: str, tokenizer: VQVAE, spec: str, label_row: Tensor | None) -> Tensor:
    """Return held-out pixels, those of a class where there is one."""
    images, _ = load_for(path, tokenizer, spec, "test")
    if label_row is None or images.labels is None:
        return images.pixels[:HELD_OUT]
    of_class = images.pixels[images.labels == label_row]
    if not len(of_class):
        raise UserError(f"{spec}: no held-out image of class {int(label_row)} to compare with")
    return of_class[:HELD_OUT]


@torch.no_grad()
def _measured(run: PriorRun, pixels: Tensor, label_row: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the nats of each code, float64 [B, h, w, n], and the reconstructed pixels, part by part."""
    for part in tqdm(pixels.split(_BATCH), desc="measure", unit="batch", leave=False, disable=None):
        codes = run.tokenizer.encode(images_from_pixels(part.to(run.device)))
        labels = None if label_row is None else label_row.expand(len(part))
        reconstructed = pixels_from_images(run.tokenizer.decode(codes)).cpu()
        yield run.prior.code_nats(codes, labels).double().cpu(), reconstructed


def _picture(pixels: Tensor, reconstructions: Tensor, position_bits: Tensor) -> Image.Image:
    """Lay out image, reconstruction and heat map side by side, eight images a column, and a scale in bits."""
    most = float(position_bits.max())
    h, w = position_bits.shape[1:]
    maps = heat(position_bits / most)
    maps = maps.repeat_interleave(pixels.shape[2] // h, 2).repeat_interleave(pixels.shape[3] // w, 3)
    triples = torch.stack([pixels.expand(-1, 3, -1, -1), reconstructions.expand(-1, 3, -1, -1), maps], 1)
    columns = 3 * ceil(len(pixels) / _ROWS)
    cells = grid(triples.flatten(0, 1), columns=columns, scale=ceil(_CELL / pixels.shape[2]))
    return with_scale(cells, most, unit="bits")
