"""A block of images to chunks of a file, and back.

The chunk of a block holds the codes of its images, coded side by side. The chunk of an image holds its pixels
given its codes, so that one image can be read alone. A chunk begins with a checksum of what it decodes to. So a
machine whose arithmetic gives other probabilities gets an error, and no wrong image.

The numbers of a network in floating point depend on the batch size and on the number of threads. So a block's
codes are coded with the block as the batch, the decoder runs on one image at a time, and both run on one thread.
The numbers of the integer form depend on neither.
"""

import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor

from vqvae.coding.codes import code_codes
from vqvae.coding.container import Block
from vqvae.coding.integer import PRIORS, IntegerPixels
from vqvae.coding.pixels import code_pixels
from vqvae.coding.range_coder import OTHER_NUMBERS, RangeReader, RangeWriter, SideBySide
from vqvae.errors import FormatError
from vqvae.models import VQVAE
from vqvae.priors import Prior
from vqvae.tensors import CodeSpec, pixels_from_images

_CRC = 4
_MOST_PIXELS = 2**17  # of images whose pixels are coded side by side


class BlockCoder:
    """Codes the chunks of blocks with a tokenizer and a prior, on the CPU.

    Args:
        tokenizer: the tokenizer.
        prior: the prior over its codes; None for the uniform prior.
        exact: whether to compute the probabilities with the integer form of the models.
        lossless: whether the file holds pixels.

    Raises:
        UserError: when a model has no integer form and it is asked for.
    """

    def __init__(self, tokenizer: VQVAE, prior: Prior | None, *, exact: bool, lossless: bool) -> None:
        self.tokenizer, self.exact = tokenizer, exact
        self.prior = PRIORS.make(prior) if exact and prior is not None else prior
        self.pixels = IntegerPixels(tokenizer) if exact and lossless else _FloatPixels(tokenizer)

    def write_codes(self, codes: Tensor) -> bytes:
        """Return the chunk of a block's codes, int64 [B, h, w, n]."""
        writer = RangeWriter()
        spec = CodeSpec((codes.shape[1], codes.shape[2]), codes.shape[3], self.tokenizer.num_codes)
        with _threads(self.exact):
            code_codes(writer, spec, count=len(codes), prior=self.prior, codes=codes)
        return _sum_of(codes) + writer.finish()

    def read_codes(self, block: Block, chunk: bytes, *, where: str) -> Tensor:
        """Return the codes of a block, int64 [B, h, w, n].

        Args:
            block: the block.
            chunk: its chunk of codes.
            where: the file and the block, for errors.

        Raises:
            FormatError: when the chunk does not decode, or decodes to other codes than were written.
        """
        _, height, width = block.shape
        reader = RangeReader(chunk[_CRC:], where=where)
        with _threads(self.exact):
            spec = self.tokenizer.code_spec(height, width)
            codes = code_codes(reader, spec, count=block.count, prior=self.prior)
        _check(codes, chunk, where)
        reader.finish()
        return codes

    def write_pixels(self, codes: Tensor, pixels: Tensor) -> list[bytes]:
        """Return the chunk of each image's pixels, uint8 [B, C, H, W], given its codes, int64 [B, h, w, n]."""
        chunks: list[bytes] = []
        at_once = self._at_once(pixels.shape[2] * pixels.shape[3])
        for own, given in zip(codes.split(at_once), pixels.split(at_once), strict=True):
            writers = [RangeWriter() for _ in given]
            self._code_pixels(SideBySide(writers), own, given)
            chunks += [_sum_of(image) + writer.finish() for image, writer in zip(given, writers, strict=True)]
        return chunks

    def read_pixels(self, codes: Tensor, chunks: Iterator[tuple[str, bytes]]) -> Iterator[Tensor]:
        """Yield the pixels of each image, uint8 [1, C, H, W].

        Args:
            codes: int64 [B, h, w, n].
            chunks: the file and the image, for errors, and the chunk of its pixels; B of them.

        Raises:
            FormatError: as ``read_codes``.
        """
        height, width = (self.tokenizer.factor * side for side in codes.shape[1:3])
        for own in codes.split(self._at_once(height * width)):
            parts = list(islice(chunks, len(own)))
            readers = [RangeReader(chunk[_CRC:], where=where) for where, chunk in parts]
            pixels = self._code_pixels(SideBySide(readers), own)
            for image, reader, (where, chunk) in zip(pixels.split(1), readers, parts, strict=True):
                _check(image, chunk, where)
                reader.finish()
                yield image

    def _at_once(self, pixels: int) -> int:
        """Return the number of images that are coded side by side, given the number of pixels of an image."""
        return max(1, _MOST_PIXELS // pixels) if self.exact else 1

    def _code_pixels(self, coder: SideBySide, codes: Tensor, pixels: Tensor | None = None) -> Tensor:
        with _threads(self.exact):
            return code_pixels(coder, self.pixels.likelihood, self.pixels.parameters_of(codes), pixels)

    def reconstruct(self, codes: Tensor, *, depth: int | None = None) -> Tensor:
        """Return the mean image of the codes of one image, uint8 [1, C, H, W].

        Args:
            codes: int64 [1, h, w, n].
            depth: number of codes of each position that are decoded, the first ones; None decodes all.
        """
        with _threads(False):
            return pixels_from_images(self.tokenizer.decode(codes[..., :depth]))


class _FloatPixels:
    """The decoder and the likelihood of a tokenizer, in floating point."""

    def __init__(self, tokenizer: VQVAE) -> None:
        self.tokenizer, self.likelihood = tokenizer, tokenizer.likelihood

    def parameters_of(self, codes: Tensor) -> Tensor:
        return self.tokenizer.decode_parameters(codes).double()


@contextmanager
def _threads(exact: bool) -> Generator[None, None, None]:
    """Run torch on one thread during the block, unless the numbers do not depend on it."""
    before = torch.get_num_threads()
    if not exact:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sum_of(values: Tensor) -> bytes:
    kind = torch.uint8 if values.dtype == torch.uint8 else torch.int32
    return zlib.crc32(values.to(kind).contiguous().numpy().data).to_bytes(_CRC, "little")


def _check(values: Tensor, chunk: bytes, where: str) -> None:
    if chunk[:_CRC] != _sum_of(values):
        raise FormatError(f"{where}: {OTHER_NUMBERS}")
