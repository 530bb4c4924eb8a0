"""The file of compressed images: what was packed is read, and whatever is not whole is refused."""

import random
import zlib
from pathlib import Path

import pytest

from vqvae.coding import Block, ContainerReader, Header, is_name, pack
from vqvae.coding.container import MAGIC
from vqvae.coding.varint import Fields, varint
from vqvae.errors import FormatError, UserError

PATH = Path("x.vqi")


def small(*, lossless: bool = True, prior: bool = True, embedded: bool = True) -> tuple[Header, list[bytes]]:
    pixels = ((30, 0), (7,)) if lossless else ((), ())
    blocks = (Block(2, (3, 8, 16), 11, pixels[0]), Block(1, (3, 4, 4), 200, pixels[1]))
    models = ((50, 60) if prior else (50,)) if embedded else ()
    header = Header(lossless, bytes(32), b"p" * 32 if prior else None, ("a", "b b", "ü"), blocks, models)
    draw = random.Random(0)
    return header, [draw.randbytes(size) for size in header.sizes]


def read(content: bytes) -> tuple[Header, list[bytes]]:
    with ContainerReader(content, path=PATH) as reader:
        return reader.header, [reader.chunk(number) for number in range(len(reader.header.sizes))]


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("embedded", [False, True])
def test_what_was_packed_is_read(lossless: bool, prior: bool, embedded: bool, tmp_path: Path) -> None:
    header, chunks = small(lossless=lossless, prior=prior, embedded=embedded)
    content = pack(header, chunks)
    assert read(content) == (header, chunks)
    (tmp_path / "x").write_bytes(content)
    with ContainerReader(tmp_path / "x", path=tmp_path / "x") as reader:  # chunks in any order, from the disk
        assert [reader.chunk(n) for n in reversed(range(len(chunks)))] == chunks[::-1]


def test_a_file_of_no_image_more_is_small() -> None:
    header = Header(False, bytes(32), bytes(32), ("a",), (Block(1, (3, 32, 32), 50),))
    assert len(pack(header, [bytes(50)])) < 50 + 110


def test_every_flipped_bit_is_refused() -> None:
    content = pack(*small())
    for position in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            with pytest.raises(UserError):
                read(bytes(changed))


def test_every_cut_and_every_further_byte_is_refused() -> None:
    content = pack(*small())
    for length in range(len(content)):
        with pytest.raises(UserError):
            read(content[:length])
    for more in (b"\0", b"\n", content):
        with pytest.raises(FormatError, match="its header says"):
            read(content + more)


def test_chunks_that_are_swapped_or_of_another_file_are_refused() -> None:
    blocks = (Block(1, (3, 8, 8), 40), Block(1, (3, 8, 8), 40))
    header = Header(False, bytes(32), None, ("a", "b"), blocks)
    one, two = bytes(range(40)), bytes(range(40, 80))
    content = pack(header, [one, two])
    first, second = content[-88:-44], content[-44:]
    with pytest.raises(FormatError, match="checksum"):
        read(content[:-88] + second + first)
    other = pack(Header(False, bytes(32), None, ("a", "c"), blocks), [one, two])
    with pytest.raises(FormatError, match="checksum"):
        read(content[:-88] + other[-88:])


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(99), MAGIC[:5], b"\0" * 200], ids=repr)
def test_a_foreign_file_is_named_so(content: bytes) -> None:
    with pytest.raises(UserError, match=r"x.vqi: (not a file that vqvae compress wrote|damaged: it is cut short)"):
        read(content)


def test_another_version_and_a_missing_file_are_said(tmp_path: Path) -> None:
    content = pack(*small())
    with pytest.raises(UserError, match="version 2 of the format, not 1"):
        read(MAGIC + b"\2" + content[len(MAGIC) + 1 :])
    with pytest.raises(UserError, match=r"none: cannot be read: No such file"):
        ContainerReader(tmp_path / "none", path=tmp_path / "none")


def resealed(body: bytes, flags: int = 0) -> bytes:
    """Return a file of one header whose checksum is right, as malice would write it."""
    head = MAGIC + bytes([1, flags]) + varint(len(body)) + body
    return head + zlib.crc32(head).to_bytes(4, "little")


def body(names: bytes, *numbers: int) -> bytes:
    packed = zlib.compress(names)
    return bytes(32) + varint(len(packed)) + packed + b"".join(map(varint, numbers))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (resealed(body(b"a", 1, 1, 3, 2**30, 2**30, 5)), "images of 3x1073741824x1073741824"),
        (resealed(body(b"a", 1, 2**40, 3, 8, 8, 5)), "it says 1099511627776 images"),
        (resealed(body(b"a", 1, 1, 2, 8, 8, 5)), "images of 2x8x8"),
        (resealed(body(b"a", 1, 0, 3, 8, 8, 5)), "it says 0 images"),
        (resealed(body(b"a", 2**50)), "cut short"),
        (resealed(body(b"a\0b", 1, 1, 3, 8, 8, 5)), "2 names of 1 images"),
        (resealed(body(b"../a", 1, 1, 3, 8, 8, 5)), "no names of files"),
        (resealed(body(b"a\0a", 1, 2, 3, 8, 8, 5)), "no names of files"),
        (resealed(body(b"\xff", 1, 1, 3, 8, 8, 5)), "names of its images cannot be read"),
        (resealed(body(bytes(2**27), 1, 1, 3, 8, 8, 5)), "names of its images cannot be read"),  # a zip bomb
        (resealed(body(b"a", 1, 1, 3, 8, 8, 2**62)), "its header says"),
        (resealed(body(b"a", 1, 1, 3, 8, 8, 5) + b"\0"), "header is too long"),
        (resealed(body(b"a", 1, 1, 3, 8, 8, 5), flags=64), "its flags are 64"),
        (resealed(b"short"), "cut short"),
    ],
)  # fmt: skip
def test_a_header_of_malice_is_refused_before_any_memory_is_taken(content: bytes, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        read(content)


def test_numbers_are_read_as_they_were_written_and_in_one_form_alone() -> None:
    numbers = [0, 1, 127, 128, 300, 2**32, 2**63 - 1]
    fields = Fields(b"".join(map(varint, numbers)), FormatError)
    assert [fields.number() for _ in numbers] == numbers and not fields.left
    assert [len(varint(number)) for number in numbers] == [1, 1, 1, 2, 2, 5, 9]
    for wrong in (b"\x80\0", b"\xff" * 9 + b"\1", b"\x80", b""):
        with pytest.raises(FormatError):
            Fields(wrong, FormatError).number()


@pytest.mark.parametrize("name", ["", "a/b", "..", ".a", "a\0", "a\n", "C:a", "x" * 201, " a", "a\\b"])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    assert not is_name(name) and is_name("shapes test row 7") and is_name("größe_1.2-x")
