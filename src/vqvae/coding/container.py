"""The file of compressed images: one header, then chunks, each with a checksum.

docs/file-formats.md describes the bytes. The header says the size of every chunk, so one image can be read without
the others. Every checksum covers its place in the file: chunks that are swapped, or of another file, are refused.
"""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from vqvae.coding.varint import Fields, varint
from vqvae.errors import FormatError, UserError

MAGIC, VERSION = b"\x89VQI\r\n\x1a\n", 1  # a transfer as text would change the ends of lines
LOSSLESS, PRIOR, EMBEDDED, EXACT = 1, 2, 4, 8  # flags
MOST_PIXELS = 2**26  # of a block
_MOST_NAMES = 2**26  # bytes of all names
_HEAD = len(MAGIC) + 2
_CRC = 4


@dataclass(frozen=True)
class Block:
    """Images of one size whose codes are coded together.

    Attributes:
        count: number of images B.
        shape: (C, H, W) of each image.
        codes: size of the chunk of codes in bytes.
        pixels: size of the chunk of pixels of each image, in bytes; empty if the file holds codes alone.
    """

    count: int
    shape: tuple[int, int, int]
    codes: int
    pixels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Header:
    """What the header of a file says.

    Attributes:
        lossless: whether the file holds pixels besides codes.
        tokenizer: SHA-256 of the tokenizer's model file.
        prior: SHA-256 of the prior's model file; None for the uniform prior.
        names: the names of the images.
        blocks: the images, in order.
        embedded: sizes of the model files in the file: of the tokenizer, and of the prior if there is one. Empty
            if the models are not in the file.
        exact: whether the probabilities are those of the models' integer form.
    """

    lossless: bool
    tokenizer: bytes
    prior: bytes | None
    names: tuple[str, ...]
    blocks: tuple[Block, ...]
    embedded: tuple[int, ...] = ()
    exact: bool = False

    def encoded(self) -> bytes:
        """Return the header with magic and checksum."""
        flags = LOSSLESS * self.lossless | PRIOR * (self.prior is not None)
        flags |= EMBEDDED * bool(self.embedded) | EXACT * self.exact
        names = zlib.compress("\0".join(self.names).encode(), 9)
        fields = [self.tokenizer, self.prior or b"", *map(varint, self.embedded)]
        fields += [varint(len(names)), names, varint(len(self.blocks))]
        for block in self.blocks:
            numbers = (block.count, *block.shape, block.codes, *block.pixels)
            fields += map(varint, numbers)
        body = b"".join(fields)
        head = MAGIC + bytes([VERSION, flags]) + varint(len(body)) + body
        return head + zlib.crc32(head).to_bytes(_CRC, "little")

    @property
    def sizes(self) -> list[int]:
        """The size of each chunk without its checksum, in the order of the file."""
        of_blocks = [size for block in self.blocks for size in (block.codes, *block.pixels)]
        return [*self.embedded, *of_blocks]


def pack(header: Header, chunks: Sequence[bytes]) -> bytes:
    """Return the bytes of a file.

    Args:
        header: its sizes are those of the chunks.
        chunks: model files, then for each block its codes and the pixels of its images.
    """
    assert [len(chunk) for chunk in chunks] == header.sizes
    head = header.encoded()
    parts = [head]
    for number, chunk in enumerate(chunks):
        parts += [chunk, _checksum(head, number, chunk)]
    return b"".join(parts)


def _checksum(head: bytes, number: int, chunk: bytes) -> bytes:
    place = head[-_CRC:] + number.to_bytes(8, "little")
    return zlib.crc32(chunk, zlib.crc32(place)).to_bytes(_CRC, "little")


class ContainerReader:
    """Reads a file of compressed images: its header at once, a chunk when it is asked for.

    Args:
        source: the path of the file, or its bytes.
        path: the path for errors.

    Raises:
        UserError: when there is no such file, or it is of another kind or version.
        FormatError: when the file is damaged.
    """

    def __init__(self, source: Path | bytes, *, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = BytesIO(source) if isinstance(source, bytes) else open(source, "rb")
            self._size = self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
        try:
            self._head = self._read_head()
            self.header = self._parsed()
            self._offsets = self._checked_offsets()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        """Close the file."""
        self._file.close()

    def chunk(self, number: int) -> bytes:
        """Return a chunk, by its place in ``header.sizes``.

        Raises:
            FormatError: when its checksum does not match.
        """
        size = self._sizes[number]
        content = self._read(self._offsets[number], size + _CRC)
        chunk, stored = content[:size], content[size:]
        if stored != _checksum(self._head, number, chunk):
            raise self.damaged("a checksum does not match")
        return chunk

    def check(self) -> None:
        """Check every chunk.

        Raises:
            FormatError: as ``chunk``.
        """
        for number in range(len(self._sizes)):
            self.chunk(number)

    def damaged(self, why: str) -> FormatError:
        """Return the error of a damaged file."""
        return FormatError(f"{self.path}: damaged: {why}; restore the file or make it again")

    def _read(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(offset)
            content = self._file.read(size)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        if len(content) != size:
            raise self.damaged("it is cut short")
        return content

    def _read_head(self) -> bytes:
        start = self._read(0, min(self._size, _HEAD + 9))
        if start[: len(MAGIC)] != MAGIC:
            raise UserError(f"{self.path}: not a file that vqvae compress wrote")
        if len(start) <= _HEAD:
            raise self.damaged("it is cut short")
        if start[len(MAGIC)] != VERSION:
            raise UserError(
                f"{self.path}: version {start[len(MAGIC)]} of the format, not {VERSION}: make it again"
            )
        fields = Fields(start[_HEAD:], self.damaged)
        length = fields.number()
        size = _HEAD + fields.position + length + _CRC
        if size > self._size:
            raise self.damaged("it is cut short")
        head = self._read(0, size)
        if zlib.crc32(head[:-_CRC]).to_bytes(_CRC, "little") != head[-_CRC:]:
            raise self.damaged("the checksum of its header does not match")
        return head

    def _parsed(self) -> Header:
        flags = self._head[_HEAD - 1]
        if flags & ~(LOSSLESS | PRIOR | EMBEDDED | EXACT):
            raise self.damaged(f"its flags are {flags}")
        fields = Fields(self._head[_HEAD:-_CRC], self.damaged)
        fields.number()  # the length, which was read before
        tokenizer = fields.take(32)
        prior = fields.take(32) if flags & PRIOR else None
        embedded = tuple(fields.number() for _ in range(1 + (prior is not None))) if flags & EMBEDDED else ()
        names = self._names(fields.take(fields.number()))
        blocks = tuple(self._block(fields, lossless=bool(flags & LOSSLESS)) for _ in range(fields.count()))
        if fields.left:
            raise self.damaged("its header is too long")
        if len(names) != sum(block.count for block in blocks):
            raise self.damaged(f"{len(names)} names of {sum(block.count for block in blocks)} images")
        exact = bool(flags & EXACT)
        return Header(bool(flags & LOSSLESS), tokenizer, prior, names, blocks, embedded, exact)

    def _block(self, fields: Fields, *, lossless: bool) -> Block:
        count, channels, height, width = (fields.number() for _ in range(4))
        if channels not in (1, 3) or not 0 < prod((count, height, width)) <= MOST_PIXELS:
            raise self.damaged(f"it says {count} images of {channels}x{height}x{width}")
        codes = fields.number()
        pixels = tuple(fields.number() for _ in range(count)) if lossless else ()
        return Block(count, (channels, height, width), codes, pixels)

    def _names(self, content: bytes) -> tuple[str, ...]:
        inflate = zlib.decompressobj()
        try:
            text = inflate.decompress(content, _MOST_NAMES)
            if not inflate.eof or inflate.unused_data:
                raise ValueError
            names = tuple(text.decode().split("\0"))
        except (zlib.error, ValueError):
            raise self.damaged("the names of its images cannot be read") from None
        if any(not is_name(name) for name in names) or len(set(names)) < len(names):
            raise self.damaged("the names of its images are no names of files")
        return names

    def _checked_offsets(self) -> list[int]:
        """Return where each chunk begins; the chunks end where the file ends."""
        self._sizes = self.header.sizes
        offsets, at = list[int](), len(self._head)
        for size in self._sizes:
            offsets.append(at)
            at += size + _CRC
        if at != self._size:
            raise self.damaged(f"it has {self._size:,} bytes; its header says {at:,}")
        return offsets


def is_name(name: str) -> bool:
    """Say whether a text may be the name of a file, of at most 200 bytes and without the name of a folder."""
    return (
        0 < len(name.encode("utf-8", "replace")) <= 200
        and name.isprintable()
        and not set(name) & set('/\\:*?"<>|')
        and not name.startswith(".")
        and name.strip() == name
    )
