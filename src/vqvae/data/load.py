"""From what the user names or holds to images, in memory or as a stream."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np

from vqvae.data.decode_all import assemble, channels_of, frame_of, with_range
from vqvae.data.decoding import PixelRange, quiet_pil
from vqvae.data.find import find_data
from vqvae.data.folder import file_source
from vqvae.data.image_spec import Fit, ImageSpec
from vqvae.data.imageset import ImageSet
from vqvae.data.labels import Columns
from vqvae.data.objects import Objects
from vqvae.data.resize import round_down, spell
from vqvae.data.source import Source
from vqvae.data.splits import SPLITS, WHOLE, Validation, naming_others, open_split, whole_split
from vqvae.data.stream import ImageStream
from vqvae.errors import UserError, did_you_mean


class LoadOptions(TypedDict, total=False):
    """The keyword arguments of ``load``, which says what they mean."""

    size: tuple[int, int] | None
    fit: Fit
    channels: int | None
    multiple_of: int
    strict: bool
    limit: int | None
    validation: Validation
    label: str | None
    image: str | None
    pixel_range: PixelRange | Literal["auto", "full"]
    exact: bool


def load(data: str | Path | Objects, split: str = "train", **options: Unpack[LoadOptions]) -> ImageSet:
    """Load all images of one split into memory.

    Args:
        data: ``shapes`` (embedded; ``shapes:50000`` for more than 10,000 training images), ``cifar10``,
            ``hf:OWNER/NAME`` (``hf:OWNER/NAME:CONFIG@REVISION``), or a path: a folder of images whose sub-folders
            are classes; parquet files; tar files in WebDataset's layout; arrays in .npz or .npy files; MNIST's IDX
            files; or CIFAR's binary batches. README.md has the list.
            Or an object: pixels [N, H, W, C], [N, C, H, W] or [N, H, W]; a pair of
            pixels and labels; a list or torch ``Dataset`` of images or (image, label) pairs; a Hugging Face
            ``Dataset``; or a mapping from train, validation and test to such objects. Only ``cifar10`` and ``hf:``
            use the network.
        split: "train", "validation", "test", "all" or "auto", by the rule at the top of ``vqvae.data.splits``.
        **options: any of

            - ``size``: (height, width) in pixels; by default the size that all images share or, under crop, the
              most common one rounded down to ``multiple_of``.
            - ``fit``: "strict", the default, takes images of that size alone; "crop" scales others to cover it and
              keeps their centre.
            - ``channels``: 1 or 3; by default 1 where every image is grey, else 3.
            - ``multiple_of``: what height and width must be multiples of.
            - ``strict``: raise for the first image that cannot be decoded, instead of listing it in ``bad``.
            - ``limit``: take the first so many images of the split only.
            - ``validation``: what is held out of train for validation: a number of rows, a share of them, or
              "auto" for the set's own validation split or else 5,000 rows or 5 %, whichever is less. 0, the
              default, holds out nothing.
            - ``label``: the column of labels, where the images come in a table; see ``vqvae.data.labels``.
            - ``image``: the column of images, where they come in a table or in arrays.
            - ``pixel_range``: (the values that become 0 and 255) for pixels of more than 8 bits; "full", the
              default, is 0 and 65535; "auto" is 0 and the largest value of 8, 10, 12, 14 or 16 bits, the fewest
              that hold every pixel. Pixels of 32 bits and floats need a pair.
            - ``exact``: raise for the first image whose pixels in 8 bits of grey or RGB would not be exactly those
              that its file stores.

    Raises:
        UserError: for data that cannot be found or read, and images that do not fit.
    """
    source, wanted, name, split = _prepared(data, split, **options)
    return assemble(source, wanted, spec=name, split=split)


def load_all(data: str | Path | Objects, split: str = "test", **options: Unpack[LoadOptions]) -> ImageSet:
    """Load all images of a data set that has no splits of its own; of one that has, one split.

    Args:
        data: as ``load`` takes it.
        split: which split, where there are any.
        **options: those of ``load``.

    Raises:
        UserError: as ``load``.
    """
    found = find_data(data, Columns(options.get("label"), options.get("image")))
    return load(data, "all" if set(found.splits) == {"train"} else split, **options)


def load_files(paths: Sequence[Path], **options: Unpack[LoadOptions]) -> ImageSet:
    """Load image files, all of them, in this order; the options are those of ``load``.

    Raises:
        UserError: for a file that cannot be decoded, and images that do not fit.
    """
    wanted = _wanted("test", **options)
    images = assemble(file_source(paths), wanted, spec=f"{len(paths)} files", split="test")
    if images.bad:
        raise UserError(f"cannot decode {images.bad[0].path}: {images.bad[0].reason}")
    return images


def open_stream(
    data: str | Path | Objects, split: str = "train", *, interleave: int = 16, **options: Unpack[LoadOptions]
) -> ImageStream:
    """Open one split to be read in pieces, however large it is.

    Only names and labels are held in memory. Under crop without a size, the headers of all images are read.
    Without ``channels``, a thousand images tell whether all are grey.

    Args:
        data: as ``load`` takes it.
        split: as ``load`` takes it.
        interleave: number of interleaved read positions per training batch; see ``interleaved_rows_at_step``.
        **options: those of ``load``.

    Raises:
        UserError: as ``load``.
    """
    source, wanted, name, split = _prepared(data, split, **options)
    with quiet_pil():
        wanted = channels_of(source, with_range(source, wanted), where=name)
        frame = frame_of(source, wanted, where=name)
    return ImageStream(source, frame, wanted, name, split, interleave)


def _prepared(
    data: str | Path | Objects, split: str, **options: Unpack[LoadOptions]
) -> tuple[Source, ImageSpec, str, str]:
    """Return the encoded images, what they should become, what they are called, and the split, never "auto"."""
    wanted = _wanted(split, **options)
    found = find_data(data, Columns(options.get("label"), options.get("image")))
    if split == "auto":
        split = whole_split(found)
        source = naming_others(open_split(found, split, options.get("validation", 0)), found, split)
    else:
        source = open_split(found, split, options.get("validation", 0))
    name = str(data) if isinstance(data, str | Path) else found.where
    return _first(source, options.get("limit")), wanted, name, split


def _wanted(split: str, **options: Unpack[LoadOptions]) -> ImageSpec:
    """Check the options and return what the images should become."""
    wanted = ImageSpec(
        size=options.get("size"),
        fit=options.get("fit", "strict"),
        channels=options.get("channels"),
        multiple_of=options.get("multiple_of", 1),
        strict=options.get("strict", False),
        pixel_range=options.get("pixel_range", "full"),
        column=options.get("image"),
        exact=options.get("exact", False),
    )
    for name, word, known in (("split", split, (*SPLITS, *WHOLE)), ("fit", wanted.fit, ("strict", "crop"))):
        if word not in known:
            raise UserError(f"no {name} '{word}'{did_you_mean(word, known)}")
    if wanted.channels not in (None, 1, 3):
        raise UserError(f"channels is {wanted.channels}: pass 1 for grey or 3 for RGB")
    for name, value in (("multiple_of", wanted.multiple_of), ("limit", options.get("limit"))):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}: pass 1 or more")
    if wanted.levels is not None and not wanted.levels[0] < wanted.levels[1]:
        raise UserError(
            f"range {wanted.levels[0]:g},{wanted.levels[1]:g}: the first value must be the smaller one"
        )
    size, multiple_of = wanted.size, wanted.multiple_of
    if size is not None and (min(size) < 1 or size != round_down(size, multiple_of)):
        rounded = tuple(max(side, multiple_of) for side in round_down(size, multiple_of))
        raise UserError(
            f"size {spell(size)}: height and width must be multiples of {multiple_of}; pass --data.size "
            f"{spell((rounded[0], rounded[1]))}"
        )
    return wanted


def _first(source: Source, limit: int | None) -> Source:
    if limit is None or limit >= source.count:
        return source
    return source.subset(np.arange(limit), f"{source.origin}; the first {limit:,} of {source.count:,}")
