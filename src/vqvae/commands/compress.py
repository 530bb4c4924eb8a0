"""Compress images into one file: their codes under the prior, and on request their pixels under the likelihood."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from vqvae.coding import Block, BlockCoder, ContainerReader, Header, is_name, pack, search_codes
from vqvae.commands.coding_models import CodingModels, keep_models, models_of_run
from vqvae.commands.decompress import decoded
from vqvae.commands.resolve import are_image_files, check_at_least_1, without_ending
from vqvae.config import DataConfig
from vqvae.data import LoadOptions, describe, load, load_files
from vqvae.errors import UserError
from vqvae.files import write_atomically
from vqvae.metrics.bits import bits
from vqvae.model_place import model_place
from vqvae.models import VQVAE
from vqvae.progress import Progress, advancing, silent
from vqvae.published import data_settings
from vqvae.screen import say
from vqvae.tensors import images_from_pixels

_BLOCK = 64  # most images of a block
_BLOCK_PIXELS = 2**22  # most pixels of a block of several images


@dataclass(frozen=True)
class Compressed:
    """What a file holds, and its size.

    Attributes:
        path: the file.
        images: number of images.
        lossless: whether the file holds their pixels.
        exact: whether every machine decodes it.
        dimensions: C*H*W summed over the images.
        size: bytes of the file.
        code_bytes: bytes of the codes' chunks.
        pixel_bytes: bytes of the pixels' chunks.
        model_bytes: bytes of the embedded models.
        kept: whether the cache has the models, so that this machine finds them.
        saved: bits by which ``search`` lowered the bound; None without a search.
    """

    path: str
    images: int
    lossless: bool
    exact: bool
    dimensions: int
    size: int
    code_bytes: int
    pixel_bytes: int
    model_bytes: int
    kept: bool
    saved: float | None = None

    @property
    def bits_per_dim(self) -> float:
        """Bits of the whole file without models, per dimension."""
        return 8 * (self.size - self.model_bytes) / self.dimensions


def compress(
    names: Sequence[str],
    model: str,
    out: Path,
    *,
    lossless: bool = False,
    exact: bool = False,
    embed_model: bool = False,
    search: int | None = None,
    split: str = "test",
    progress: Progress = silent,
) -> Compressed:
    """Compress images into a file, and verify the file by decoding it.

    Args:
        names: image files; or one data set, whose ``split`` is compressed.
        model: the run of a prior; or of a tokenizer, for the uniform prior.
        out: the file to write.
        lossless: whether to keep every pixel; otherwise the codes alone are kept.
        exact: whether to compute the probabilities with the models' integer form, which every machine computes
            alike.
        embed_model: whether to put the model files into the file.
        search: number of candidates for each code, as ``search_codes`` takes it; None keeps the encoder's codes.
        split: which split of a data set.
        progress: called with the number of images done and of all: each is coded once and decoded once.

    Raises:
        UserError: for images that do not fit the model, a likelihood that cannot code pixels, models without an
            integer form if it is asked for, and a search without pixels. Nothing is written.
    """
    if search is not None:
        check_at_least_1(search=search)
    if search is not None and not lossless:
        raise UserError("--search lowers the bits of codes and pixels together: it needs --lossless")
    models = models_of_run(model)
    tokenizer = models.tokenizer.model
    if lossless and not tokenizer.likelihood.codes_pixels:
        raise UserError(f"--lossless: the likelihood of {models.tokenizer.path} does not define cumulative")
    coder = _coder(models, exact=exact, lossless=lossless)
    reading = data_settings(model_place(model)) or DataConfig()
    titles, images = _images(names, tokenizer, reading, lossless=lossless, split=split)
    advance = advancing(progress, 2 * len(images))
    choose = _Chooser(models, search)
    blocks, chunks = _coded(images, choose, coder, lossless=lossless, advance=advance)
    embedded = [file.content for file in models.files] if embed_model else []
    header = _header(models, titles, blocks, embedded, lossless=lossless, exact=exact)
    content = pack(header, [*embedded, *chunks])
    _verify(content, out, models, images if lossless else None, advance)
    write_atomically(out, content)
    return Compressed(
        path=str(out),
        images=len(images),
        lossless=lossless,
        exact=exact,
        dimensions=sum(image.numel() for image in images),
        size=len(content),
        code_bytes=sum(block.codes for block in blocks),
        pixel_bytes=sum(sum(block.pixels) for block in blocks),
        model_bytes=sum(map(len, embedded)),
        kept=embed_model or keep_models(models),
        saved=None if search is None else bits(choose.gain),
    )


def _coder(models: CodingModels, *, exact: bool, lossless: bool) -> BlockCoder:
    try:
        return models.coder(exact=exact, lossless=lossless)
    except UserError as error:  # a model without an integer form
        raise UserError(f"--exact: {error}") from None


class _Chooser:
    """Chooses the codes of images: the encoder's, or better ones by a search, whose gain is added up in nats."""

    def __init__(self, models: CodingModels, search: int | None) -> None:
        self.tokenizer, self.prior = models.tokenizer.model, models.prior and models.prior.model
        self.search, self.gain = search, 0.0

    def codes(self, pixels: Tensor) -> Tensor:
        """Return the codes, int64 [B, h, w, n], of pixels, uint8 [B, C, H, W]."""
        codes = self.tokenizer.encode(images_from_pixels(pixels), exact=True)
        if self.search is None:
            return codes
        codes, gain = search_codes(self.tokenizer, self.prior, codes, pixels, candidates=self.search)
        self.gain += gain
        return codes


def _header(
    models: CodingModels,
    titles: Sequence[str],
    blocks: Sequence[Block],
    embedded: Sequence[bytes],
    *,
    lossless: bool,
    exact: bool,
) -> Header:
    tokenizer, *prior = (bytes.fromhex(file.hash) for file in models.files)
    return Header(
        lossless=lossless,
        tokenizer=tokenizer,
        prior=prior[0] if prior else None,
        names=tuple(titles),
        blocks=tuple(blocks),
        embedded=tuple(map(len, embedded)),
        exact=exact,
    )


def _images(
    names: Sequence[str], tokenizer: VQVAE, reading: DataConfig, *, lossless: bool, split: str
) -> tuple[list[str], list[Tensor]]:
    """Read image files, or a split of one data set; return the names and the pixels, uint8 [C, H, W], of each.

    ``reading.range`` has the values that become 0 and 255 in pixels of more than 8 bits.
    """
    options: LoadOptions = {**DataConfig(range=reading.range).options(tokenizer.factor), "exact": lossless}
    if are_image_files(names):
        files = [Path(name) for name in names]
        images = [_read(file, tokenizer, options) for file in files]
        return _distinct([file.name for file in files]), images
    loaded = load(names[0], split, **options)
    say(describe(loaded))
    if loaded.shape[0] != tokenizer.channels:
        raise UserError(_another_mode(names[0], loaded.shape[0], tokenizer))
    named = loaded.names or [f"{row:08d}" for row in range(len(loaded))]
    return _distinct([name.replace("/", "-") for name in named]), list(loaded.pixels)


def _read(file: Path, tokenizer: VQVAE, options: LoadOptions) -> Tensor:
    """Read one image file, uint8 [C, H, W]."""
    pixels = load_files([file], **options).pixels[0]
    if len(pixels) != tokenizer.channels:
        raise UserError(_another_mode(str(file), len(pixels), tokenizer))
    return pixels


def _another_mode(what: str, channels: int, tokenizer: VQVAE) -> str:
    words = {1: "grey", 3: "RGB"}
    return (
        f"{what}: {words[channels]}, but the tokenizer is of {words[tokenizer.channels]} images: convert it first"
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names without endings such as ``.png``, with a number where another image has the name."""
    found = dict[str, None]()
    for row, name in enumerate(names):
        title = without_ending(name)
        fits = is_name(f"{title}-{len(names)}")  # with the largest number that may follow
        title = title if fits else f"{row:08d}"
        free, number = title, 2
        while free in found:
            free, number = f"{title}-{number}", number + 1
        found[free] = None
    return list(found)


def _coded(
    images: Sequence[Tensor],
    choose: _Chooser,
    coder: BlockCoder,
    *,
    lossless: bool,
    advance: Callable[[int], None],
) -> tuple[list[Block], list[bytes]]:
    """Return the blocks of the images, and the chunks of all blocks."""
    blocks, chunks = list[Block](), list[bytes]()
    for part in _blocks(images):
        pixels = torch.stack(list(part))
        codes = choose.codes(pixels)
        coded = [coder.write_codes(codes)]
        if lossless:
            coded += coder.write_pixels(codes, pixels)
        _, channels, height, width = pixels.shape
        sizes = [len(chunk) for chunk in coded]
        blocks.append(Block(len(pixels), (channels, height, width), sizes[0], tuple(sizes[1:])))
        chunks += coded
        advance(len(pixels))
    return blocks, chunks


def _blocks(images: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Yield neighbouring images of one size."""
    for shape, group in groupby(images, key=lambda image: image.shape):
        part = list(group)
        most = max(1, min(_BLOCK, _BLOCK_PIXELS // prod(shape[1:])))
        yield from (part[at : at + most] for at in range(0, len(part), most))


def _verify(
    content: bytes,
    out: Path,
    models: CodingModels,
    pixels: Sequence[Tensor] | None,
    advance: Callable[[int], None],
) -> None:
    """Decode a file from its bytes and compare it with the images; a checksum compares the codes."""
    with ContainerReader(content, path=out) as reader:
        for number, (_, found) in enumerate(decoded(reader, models)):
            if pixels is not None and not torch.equal(found[0], pixels[number]):
                raise UserError(
                    f"{out}: not written: image {number} does not decode to its pixels on this machine"
                )
            advance(1)
