"""Measure the likelihood and the typicality of images under a prior, and map their bits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqvae.commands.resolve import PriorRun, images_named, labels_by_name, load_for, same_label
from vqvae.data import OBJECT
from vqvae.errors import ArgumentError, UserError
from vqvae.metrics.bits import bits
from vqvae.metrics.typicality import code_bits, typicality
from vqvae.progress import Progress, advancing, silent
from vqvae.report.pictures import grid, heat, with_scale
from vqvae.screen import say
from vqvae.tensors import images_from_pixels, pixels_from_images
from vqvae.training.store_data import is_store

REFERENCES = 1000  # most reference images for typicality
_BATCH = 256
_ROWS = 8
_CELL = 96  # smallest height of a cell, in pixels


@dataclass(frozen=True)
class Likelihoods:
    """The likelihood of images under a prior.

    Attributes:
        images: the names of the images.
        nats: -log p of the codes of each image.
        bits_per_code_prior: the same in bits per code.
        typicality: in (0, 1], of each image: the fraction of reference images at least as far from the entropy.
        reference: the data set whose test images are the reference images.
        reference_images: number of reference images.
        reference_nats: mean nats of the reference images, the estimate of the entropy.
    """

    images: tuple[str, ...]
    nats: tuple[float, ...]
    bits_per_code_prior: tuple[float, ...]
    typicality: tuple[float, ...]
    reference: str
    reference_images: int
    reference_nats: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        return asdict(self)

    def table(self) -> str:
        """Return the figures as aligned lines."""
        wide = max(5, *map(len, self.images))
        rows = zip(self.images, self.nats, self.bits_per_code_prior, self.typicality, strict=True)
        return "\n".join(
            [
                f"{'image':{wide}}{'nats':>10}{'bits per code':>15}{'typicality':>12}",
                *(f"{name:{wide}}{nats:10.2f}{cost:15.4f}{usual:12.3f}" for name, nats, cost, usual in rows),
                f"\n{self.reference_images} test images of {self.reference}: mean {self.reference_nats:.2f} nats;",
                "typicality is the fraction of them that are at least as far from this mean, above or below",
            ]
        )


def likelihood_picture(
    run: PriorRun,
    names: Sequence[str],
    *,
    data: str | None = None,
    label: str | None = None,
    progress: Progress = silent,
) -> tuple[Image.Image, Likelihoods]:
    """Measure images under a prior, and lay out each image with its reconstruction and a heat map of its bits.

    Args:
        run: the prior and its tokenizer.
        names: image files, or one data set, whose first 32 test images are measured.
        data: the data set whose test images are the reference; by default the run's own data set.
        label: a class's name or number, of the images and of the reference images; None for no class.
        progress: called with the number of images measured and of all images, reference images among them.

    Raises:
        UserError: for images that do not fit, an unknown class, or a class without reference images.
    """
    label_row = same_label(label, 1, run.prior)
    spec = data or _own_data(run)
    pixels = images_named(run, names)
    references = _references(run, spec, label_row)
    advance = advancing(progress, len(references) + len(pixels))
    usual = torch.cat([nats.flatten(1).sum(1) for nats, _ in _measured(run, references, label_row, advance)])
    parts = list(_measured(run, pixels, label_row, advance))
    code_nats, reconstructions = (torch.cat(found) for found in zip(*parts, strict=True))
    nats = code_nats.flatten(1).sum(1)
    figures = Likelihoods(
        images=tuple(names) if len(names) == len(pixels) else tuple(f"{names[0]} {i}" for i in range(len(pixels))),
        nats=tuple(nats.tolist()),
        bits_per_code_prior=tuple(bits(each) / code_nats[0].numel() for each in nats.tolist()),
        typicality=tuple(typicality(nats, usual).tolist()),
        reference=spec,
        reference_images=len(usual),
        reference_nats=float(usual.mean()),
    )
    return _picture(pixels, reconstructions, code_bits(code_nats)), figures


def _own_data(run: PriorRun) -> str:
    if run.data is None or not run.data.spec:
        raise ArgumentError("data", f"is needed: {run.path} has no config.yaml that says what it was trained on")
    if run.data.spec.startswith(OBJECT):
        raise UserError(f"{run.path}: it was trained on an object in Python: pass --data SPEC")
    if is_store(run.data.spec):
        raise ArgumentError("data", f"is needed: {run.path} was trained on a store of codes, not on images")
    return run.data.spec


def _references(run: PriorRun, spec: str, label_row: Tensor | None) -> Tensor:
    """Return test images, of one class where there is a label, uint8 [N, C, H, W]."""
    images, _ = load_for(run, spec, "test")
    if label_row is None:
        return images.pixels[:REFERENCES]
    labels = labels_by_name(images, run.prior)
    if labels is None:
        say(f"{spec}: its test images have no classes: images of all kinds are compared with")
        return images.pixels[:REFERENCES]
    of_class = images.pixels[labels == label_row]
    if not len(of_class):
        raise UserError(f"{spec}: no test image of class {run.prior.card.classes[int(label_row)]} to compare with")
    return of_class[:REFERENCES]


@torch.no_grad()
def _measured(
    run: PriorRun, pixels: Tensor, label_row: Tensor | None, advance: Callable[[int], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, batch by batch, the nats of each code, float64 [B, h, w, n], and the reconstructed pixels."""
    tokenizer = run.tokenizer.model
    for part in pixels.split(_BATCH):
        codes = tokenizer.encode(images_from_pixels(part.to(run.device)), exact=True)
        labels = None if label_row is None else label_row.expand(len(part))
        reconstructed = pixels_from_images(tokenizer.decode(codes)).cpu()
        yield run.prior.model.code_nats(codes, labels).double().cpu(), reconstructed
        advance(len(part))


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
