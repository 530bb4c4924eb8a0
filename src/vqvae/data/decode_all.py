"""From encoded images to one array: decode in threads, in order, and list what could not be read."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vqvae.data.decoding import (
    UndecodableError,
    brightest,
    decode,
    is_float,
    is_grey,
    measure,
    quiet_pil,
    stores,
    to_grey,
)
from vqvae.data.headers import count_in_colour, is_wide
from vqvae.data.image_spec import ImageSpec
from vqvae.data.imageset import BadFile, ImageSet
from vqvae.data.resize import Crop, Size, Strict, most_common, round_down, spell
from vqvae.data.source import Content, Item, Source, all_rows
from vqvae.errors import UserError
from vqvae.processors import processors
from vqvae.progress import make_bar

# What is handed over at once: enough small images to make the hand-over cheap, few enough large ones to hold.
_BATCH_PIXELS = 2**18
_SMALL_BYTES = 16 * 1024
_INEXACT = (
    "only grey and RGB of 8 bits can be kept exactly: no transparency, palette, further frames, other bits, "
    "rotation or colour profile; convert it first"
)


def assemble(source: Source, wanted: ImageSpec, *, spec: str, split: str) -> ImageSet:
    """Decode a source into memory.

    Raises:
        UserError: when sizes do not fit, when nothing can be decoded, and, under ``wanted.strict``, for the first
            image that cannot.
    """
    with quiet_pil():
        wanted = with_range(source, wanted)
        frame = frame_of(source, wanted, where=spec)
        canvas, kept, bad, made_grey = _fill(source, frame, wanted, title=f"decoding {split}")
    if canvas is None:
        raise _nothing_decodes(bad, where=spec)
    names = list(source.names())
    labels = None if source.labels is None else torch.as_tensor(source.labels[kept].astype(np.int64))
    return ImageSet(
        pixels=torch.as_tensor(canvas[: len(kept)]),
        labels=labels,
        classes=source.classes,
        spec=spec,
        split=split,
        bad=tuple(bad),
        origin=source.origin,
        left_out=source.left_out,
        pixel_range=wanted.levels,
        wide=is_wide(source),
        names=tuple(names[row] for row in kept),
        made_grey=made_grey,
    )


def _nothing_decodes(bad: list[BadFile], where: str) -> UserError:
    if len(bad) == 1:
        return UserError(f"{where}: cannot decode {bad[0].path}, its only image: {bad[0].reason}")
    return UserError(
        f"{where}: none of the {len(bad)} images can be decoded; the first is {bad[0].path}: {bad[0].reason}"
    )


def _refuse(bad: BadFile) -> UserError:
    return UserError(
        f"cannot decode {bad.path}: {bad.reason}; mend or remove it, or leave strict off to skip such images"
    )


def with_range(source: Source, wanted: ImageSpec) -> ImageSpec:
    """Settle a range of "auto": 0 and the largest value of the fewest bits, 8, 10, 12, 14 or 16, that hold all."""
    if wanted.pixel_range != "auto":
        return wanted
    first = next(iter(source.items(np.arange(min(source.count, 1)))), None)
    if first is not None and is_float(first.content):
        raise UserError(
            f"{first.name}: --data.range auto is for whole numbers, not floating-point pixels: pass --data.range "
            "MIN,MAX, the values of black and white"
        )
    values = (brightest(item.content) for item in source.items(all_rows(source)))
    most = max((value for value in values if value is not None), default=0.0)
    bits = next((bits for bits in range(8, 16, 2) if most < 2**bits), 16)
    return replace(wanted, pixel_range=(0.0, 2.0**bits - 1))


def frame_of(source: Source, wanted: ImageSpec, where: str) -> Strict | Crop:
    """Settle the size of the whole set before anything is kept."""
    if wanted.fit == "crop":
        size = wanted.size or round_down(_usual_size(source, wanted, where), wanted.multiple_of)
        if not all(size):
            raise UserError(
                f"{where}: most images are smaller than {wanted.multiple_of} pixels on a side; pass --data.size "
                f"{spell((wanted.multiple_of, wanted.multiple_of))} to enlarge them"
            )
        return Crop(size, slack=wanted.multiple_of)
    if wanted.size is not None:
        return Strict(wanted.size, origin=None)
    size, name = _first_size(source, wanted, where)
    rounded = round_down(size, wanted.multiple_of)
    if size != rounded:
        advice = f"crop to {spell(rounded)} or pass" if all(rounded) else "pass --data.size with"
        raise UserError(
            f"image {spell(size)} in {name}: height and width must be multiples of {wanted.multiple_of}; "
            f"{advice} --data.fit crop"
        )
    return Strict(size, origin=name)


def _usual_size(source: Source, wanted: ImageSpec, where: str) -> Size:
    sizes = Counter(size for item in source.items(all_rows(source)) if (size := measure(item.content)) is not None)
    return most_common(sizes) if sizes else _first_size(source, wanted, where)[0]


def _first_size(source: Source, wanted: ImageSpec, where: str) -> tuple[Size, str]:
    image, name = first_image(source, wanted, where)
    return (image.height, image.width), name


def channels_of(source: Source, wanted: ImageSpec, where: str) -> ImageSpec:
    """Settle the channels of a stream: 1 where the first image and a thousand others are grey, else 3."""
    if wanted.channels is not None:
        return wanted
    image, _ = first_image(source, wanted, where)
    grey = image.mode == "L" and not count_in_colour(source)
    return replace(wanted, channels=1 if grey else 3, all_grey=grey)


def first_image(source: Source, wanted: ImageSpec, where: str) -> tuple[Image.Image, str]:
    """Return the first image that decodes, and its name."""
    bad: list[BadFile] = []
    for item in source.items(all_rows(source)):
        try:
            image = decode(item.content, wanted.channels, wanted.levels)
        except UndecodableError as error:
            bad.append(BadFile(item.name, str(error)))
            if wanted.strict:
                raise _refuse(bad[0]) from error
            continue
        return image, item.name
    raise _nothing_decodes(bad, where)


def _fill(
    source: Source, frame: Strict | Crop, wanted: ImageSpec, title: str
) -> tuple[NDArray[np.uint8] | None, list[int], list[BadFile], int]:
    """Decode all rows.

    Returns:
        Pixels [count, C, H, W] of which the first len(kept) are filled; the rows kept; the bad files; and the
        number of colour images that became grey.
    """
    canvas: NDArray[np.uint8] | None = None
    kept: list[int] = []
    bad: list[BadFile] = []
    made_grey = 0
    with make_bar(total=source.count, desc=title, leave=False) as progress:
        for batch in decoded(source, frame, wanted, range(source.count)):
            progress.update(len(batch.rows) + len(batch.bad))
            bad += batch.bad
            made_grey += batch.made_grey
            if batch.rows:
                canvas = _room_for(batch.pixels, canvas, source.count)
                canvas[len(kept) : len(kept) + len(batch.rows)] = batch.pixels  # grey fills all planes
                kept += batch.rows
    return canvas, kept, bad, made_grey


def _room_for(pixels: NDArray[np.uint8], canvas: NDArray[np.uint8] | None, count: int) -> NDArray[np.uint8]:
    if canvas is None:
        return np.empty((count, *pixels.shape[1:]), np.uint8)
    planes = pixels.shape[1]
    # The first colour image in a set that was grey so far.
    return np.repeat(canvas, planes, axis=1) if planes > canvas.shape[1] else canvas


class Batch(NamedTuple):
    """What became of some images that follow one another.

    Attributes:
        rows: those that decoded, in the source.
        names: of those, as the user knows them.
        pixels: uint8 [len(rows), C, H, W].
        bad: the others.
        made_grey: number of colour images that became grey.
    """

    rows: list[int]
    names: list[str]
    pixels: NDArray[np.uint8]
    bad: list[BadFile]
    made_grey: int


def decoded(source: Source, frame: Strict | Crop, wanted: ImageSpec, rows: range) -> Iterator[Batch]:
    """Decode rows that follow one another: large images in threads, a bounded number ahead, small ones here."""
    workers = processors()
    numbered = zip(rows, source.items(np.arange(rows.start, rows.stop)), strict=True)
    batches = _batched(numbered, max(1, _BATCH_PIXELS // (frame.size[0] * frame.size[1])))
    with ThreadPoolExecutor(workers) as pool:

        def start(batch: list[tuple[int, Item]]) -> Callable[[], Batch]:
            if all(_is_small(item.content) for _, item in batch):
                return partial(_decode_batch, batch, frame, wanted)
            return pool.submit(_decode_batch, batch, frame, wanted).result

        pending = deque(start(batch) for batch in islice(batches, 2 * workers))
        while pending:
            yield pending.popleft()()
            pending.extend(start(batch) for batch in islice(batches, 1))


def _is_small(content: Content) -> bool:
    """Tell whether a thread would wait longer for the interpreter lock than the decoder runs without it."""
    raw = isinstance(content, np.ndarray | Image.Image)
    return raw or (isinstance(content, bytes) and len(content) <= _SMALL_BYTES)


def _batched(numbered: Iterator[tuple[int, Item]], size: int) -> Iterator[list[tuple[int, Item]]]:
    while batch := list(islice(numbered, size)):
        yield batch


def _decode_batch(batch: list[tuple[int, Item]], frame: Strict | Crop, wanted: ImageSpec) -> Batch:
    rows: list[int] = []
    names: list[str] = []
    images: list[Image.Image] = []
    bad: list[BadFile] = []
    made_grey = 0
    for row, item in batch:
        try:
            image = decode(item.content, None if wanted.channels == 1 else wanted.channels, wanted.levels)
        except UndecodableError as error:
            bad.append(BadFile(item.name, str(error)))
            if wanted.strict:
                raise _refuse(bad[0]) from error
            continue
        if wanted.exact and not stores(item.content, image):
            raise UserError(f"{item.name}: {_INEXACT}")
        if wanted.channels == 1:
            image, lost = to_grey(image)
            made_grey += lost
        if wanted.all_grey and is_grey(item.content) is False:
            raise UserError(
                f"image {item.name} is in colour, but the first ones are grey: pass --data.channels 3 (or 1)"
            )
        images.append(frame.apply(image, item.name))
        rows.append(row)
        names.append(item.name)
    return Batch(rows, names, _stack(images, frame.size), bad, made_grey)


def _stack(images: list[Image.Image], size: Size) -> NDArray[np.uint8]:
    """Return uint8 [n, C, H, W], through one tall image: for small ones pasting is cheaper than leaving PIL."""
    height, width = size
    mode = "RGB" if any(image.mode == "RGB" for image in images) else "L"
    sheet = Image.new(mode, (width, height * len(images)))
    for index, image in enumerate(images):
        sheet.paste(image, (0, index * height))
    return np.asarray(sheet).reshape(len(images), height, width, len(mode)).transpose(0, 3, 1, 2)
