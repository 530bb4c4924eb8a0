"""Decompress images from a file that ``vqvae compress`` wrote: all of them, or one."""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from vqvae.coding import Block, BlockCoder, ContainerReader
from vqvae.commands.coding_models import CodingModels, models_of_file
from vqvae.commands.depth import check_depth
from vqvae.errors import ArgumentError, UserError, what_failed
from vqvae.files import write_atomically
from vqvae.progress import Progress, silent


@dataclass(frozen=True)
class Decompressed:
    """What was written.

    Attributes:
        out: the folder.
        images: number of images that were written.
        lossless: whether they are the images that were compressed, pixel for pixel.
        depth: number of codes of each position that were decoded; None if all were.
    """

    out: str
    images: int
    lossless: bool
    depth: int | None = None


def decompress(
    path: Path,
    out: Path,
    *,
    only: int | None = None,
    depth: int | None = None,
    model: str | None = None,
    progress: Progress = silent,
) -> Decompressed:
    """Write the images of a compressed file as PNG files, named as the images were.

    The folder appears when all images are decoded. So nothing is written for a damaged file.

    Args:
        path: the file.
        out: the folder. If it exists, no file in it is overwritten.
        only: the number of one image, from 0; None for all images.
        depth: decode the first codes of each position alone, this many, and no pixels; for a residual quantizer.
            None decodes what the file holds.
        model: the run or model file that compressed the images; None looks in the file and in the cache.
        progress: called with the number of images done and of all images.

    Raises:
        UserError: for a file that is damaged or of another kind, a missing model, an image that is not in the
            file, a depth that the tokenizer does not have, and images that exist already.
    """
    with ContainerReader(path, path=path) as reader:
        names = reader.header.names
        if only is not None and not 0 <= only < len(names):
            raise ArgumentError("only", f"{only}: the file has the images 0 to {len(names) - 1}")
        wanted = [names[only]] if only is not None else list(names)
        _check_absent(out, wanted)
        models = models_of_file(reader, model)
        check_depth(models.tokenizer.model, depth)
        if only is None:
            reader.check()
        _write(decoded(reader, models, only, depth=depth), out, len(wanted), progress)
        return Decompressed(str(out), len(wanted), reader.header.lossless and depth is None, depth)


def decoded(
    reader: ContainerReader, models: CodingModels, only: int | None = None, *, depth: int | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the pixels, uint8 [1, C, H, W], of each image; or of one image.

    To decode one image, its block's codes are decoded, and its own pixels.

    Raises:
        FormatError: for a chunk that is damaged, or that decodes to other numbers on this machine.
    """
    header = reader.header
    coder = models.coder(exact=header.exact, lossless=header.lossless and depth is None)
    chunk, first = len(header.embedded), 0
    for number, block in enumerate(header.blocks):
        rows = range(block.count) if only is None else range(only - first, only - first + 1)
        if rows.start in range(block.count):
            _check_shape(reader, block, models)
            yield from _decoded_rows(reader, coder, rows, _Place(block, number, chunk, first), depth)
        chunk, first = chunk + 1 + len(block.pixels), first + block.count


class _Place(NamedTuple):
    """A block, its number, the number of its first chunk, and the number of its first image."""

    block: Block
    number: int
    chunk: int
    first: int


def _decoded_rows(
    reader: ContainerReader, coder: BlockCoder, rows: range, place: _Place, depth: int | None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the pixels of some images of a block, which are numbered from 0."""
    block, number, chunk, first = place
    where = f"{reader.path}: the codes of block {number}"
    codes = coder.read_codes(block, reader.chunk(chunk), where=where)
    names = [reader.header.names[first + row] for row in rows]
    own = codes[rows.start : rows.stop]
    if not reader.header.lossless or depth is not None:
        yield from (
            (name, coder.reconstruct(one, depth=depth)) for name, one in zip(names, own.split(1), strict=True)
        )
        return
    chunks = (
        (f"{reader.path}: image {first + row}, {name}", reader.chunk(chunk + 1 + row))
        for row, name in zip(rows, names, strict=True)
    )
    yield from zip(names, coder.read_pixels(own, chunks), strict=True)


def _check_shape(reader: ContainerReader, block: Block, models: CodingModels) -> None:
    channels, height, width = block.shape
    tokenizer = models.tokenizer.model
    if channels != tokenizer.channels or height % tokenizer.factor or width % tokenizer.factor:
        raise reader.damaged(f"its images of {channels}x{height}x{width} do not fit its tokenizer")
    if reader.header.lossless and not tokenizer.likelihood.codes_pixels:
        raise reader.damaged("it holds pixels, and the likelihood of its tokenizer codes none")


def _check_absent(out: Path, names: list[str]) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} exists and is not a folder: choose another --out")
    for name in names if out.is_dir() else ():
        if (out / f"{name}.png").exists():
            raise UserError(f"{out / name}.png exists and is not overwritten: choose another --out")


def _write(images: Iterator[tuple[str, Tensor]], out: Path, count: int, progress: Progress) -> None:
    """Write images into a folder beside, and move them when all are decoded."""
    beside: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name[:100]}.", dir=out.parent))
        for number, (name, pixels) in enumerate(images):
            write_atomically(beside / f"{name}.png", _png(pixels[0]))
            progress(number + 1, count)
        out.mkdir(exist_ok=True)
        for file in beside.iterdir():
            os.replace(file, out / file.name)
    except OSError as error:
        raise UserError(f"cannot write the images: {what_failed(error)}") from None
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def _png(pixels: Tensor) -> bytes:
    """Return an image, uint8 [C, H, W], as the bytes of a PNG file."""
    shown = pixels.permute(1, 2, 0)
    found = io.BytesIO()
    Image.fromarray((shown[..., 0] if shown.shape[2] == 1 else shown).contiguous().numpy()).save(found, "PNG")
    return found.getvalue()
