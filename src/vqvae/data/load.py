"""From what the user names to images, in memory or as a stream."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vqvae.data.cifar import find_cifar
from vqvae.data.decode_all import Fit, ImageSpec, assemble, first_image, frame_of
from vqvae.data.decoding import quiet_pil
from vqvae.data.folder import file_source, find_folder
from vqvae.data.hub import hub_files
from vqvae.data.imageset import ImageSet
from vqvae.data.parquet import find_parquet
from vqvae.data.resize import round_down, spell
from vqvae.data.shapes import shapes
from vqvae.data.source import Source
from vqvae.data.splits import SPLITS, DataSet, Validation, open_split
from vqvae.data.stream import ImageStream
from vqvae.data.webdataset import find_tars
from vqvae.errors import UserError, did_you_mean

_CIFAR10_REPO = "uoft-cs/cifar10"
# What a folder may hold, in the order in which they are looked for; the last takes every folder.
_LAYOUTS: tuple[Callable[[Path], DataSet | None], ...] = (find_parquet, find_cifar, find_tars, find_folder)


def load(
    spec: str,
    split: str,
    *,
    size: tuple[int, int] | None = None,
    fit: Fit = "strict",
    channels: int | None = None,
    multiple_of: int = 1,
    strict: bool = False,
    limit: int | None = None,
    validation: Validation = 0,
) -> ImageSet:
    """Load all images of one split into memory.

    Args:
        spec: ``shapes`` (embedded; ``shapes:50000`` for more than 10,000 training images), ``cifar10``,
            ``hf:OWNER/NAME``, or a path: a folder of images whose sub-folders are classes, a folder with
            ``train*.parquet`` and ``test*.parquet`` in the Hub's image layout, or ``.tar`` files in WebDataset's,
            or CIFAR's binary batches. Only ``cifar10`` and ``hf:`` use the network.
        split: "train", "validation" or "test", by the rule at the top of ``vqvae.data.splits``.
        size: (height, width) in pixels; by default the size all images share or, under crop, the most common one
            rounded down to ``multiple_of``.
        fit: "strict" takes images of that size alone; "crop" scales others to cover it and keeps their centre.
        channels: 1 or 3; by default 1 where every image is grey, else 3.
        multiple_of: what height and width must be multiples of.
        strict: raise for the first image that cannot be decoded, instead of listing it in ``bad``.
        limit: take the first so many images of the split only.
        validation: what is held out of train for validation: a number of rows, a share of them, or "auto" for the
            set's own validation split or else 5,000 rows or 5 %, whichever is less. 0 holds out nothing.

    Raises:
        UserError: for a spec that names nothing, data that cannot be had or read, and images that do not fit.
    """
    _check(split=split, size=size, fit=fit, channels=channels, multiple_of=multiple_of, limit=limit)
    source = _first(open_split(_data_set(spec), split, validation), limit)
    wanted = ImageSpec(size=size, fit=fit, channels=channels, multiple_of=multiple_of, strict=strict)
    return assemble(source, wanted, spec=spec, split=split)


def load_files(
    paths: Sequence[Path],
    *,
    size: tuple[int, int] | None = None,
    fit: Fit = "strict",
    channels: int | None = None,
    multiple_of: int = 1,
) -> ImageSet:
    """Load image files, all of them, in this order; the arguments are those of ``load``.

    Raises:
        UserError: for a file that cannot be decoded, and images that do not fit.
    """
    _check(split="test", size=size, fit=fit, channels=channels, multiple_of=multiple_of, limit=None)
    wanted = ImageSpec(size=size, fit=fit, channels=channels, multiple_of=multiple_of, strict=False)
    images = assemble(file_source(paths), wanted, spec=f"{len(paths)} files", split="test")
    if images.bad:
        raise UserError(f"cannot decode {images.bad[0].path}: {images.bad[0].reason}")
    return images


def open_stream(
    spec: str,
    split: str,
    *,
    size: tuple[int, int] | None = None,
    fit: Fit = "strict",
    channels: int | None = None,
    multiple_of: int = 1,
    strict: bool = False,
    limit: int | None = None,
    validation: Validation = 0,
    interleave: int = 16,
) -> ImageStream:
    """Open one split to be read in pieces, however large it is; the arguments are those of ``load``.

    Only names and labels are held in memory. Under crop without a size, the headers of all images are read.
    Without ``channels``, the first image tells whether they are grey. ``interleave`` is for training: see
    ``interleaved_rows_at_step``.

    Raises:
        UserError: as ``load``.
    """
    _check(split=split, size=size, fit=fit, channels=channels, multiple_of=multiple_of, limit=limit)
    source = _first(open_split(_data_set(spec), split, validation), limit)
    wanted = ImageSpec(size=size, fit=fit, channels=channels, multiple_of=multiple_of, strict=strict)
    with quiet_pil():
        if channels is None:
            image, _ = first_image(source, wanted, where=spec)
            wanted = replace(wanted, channels=len(image.getbands()))
        frame = frame_of(source, wanted, where=spec)
    return ImageStream(source, frame, wanted, spec, split, interleave)


def _check(
    *,
    split: str,
    size: tuple[int, int] | None,
    fit: str,
    channels: int | None,
    multiple_of: int,
    limit: int | None,
) -> None:
    for name, word, known in (("split", split, SPLITS), ("fit", fit, ("strict", "crop"))):
        if word not in known:
            raise UserError(f"no {name} '{word}'{did_you_mean(word, known)}")
    if channels not in (None, 1, 3):
        raise UserError(f"channels is {channels}: pass 1 for grey or 3 for RGB")
    for name, value in (("multiple_of", multiple_of), ("limit", limit)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}: pass 1 or more")
    if size is not None and (min(size) < 1 or size != round_down(size, multiple_of)):
        rounded = tuple(max(side, multiple_of) for side in round_down(size, multiple_of))
        raise UserError(
            f"size {spell(size)}: height and width must be multiples of {multiple_of}; pass --data.size "
            f"{spell((rounded[0], rounded[1]))}"
        )


def _data_set(spec: str) -> DataSet:
    if spec == "shapes":
        return shapes()
    if spec.startswith("shapes:"):
        return shapes(_shapes_count(spec))
    if spec == "cifar10":
        return hub_files(_CIFAR10_REPO)
    if spec.startswith("hf:"):
        return hub_files(spec.removeprefix("hf:"))
    path = Path(spec).expanduser()
    if path.is_dir():
        return next(data for find in _LAYOUTS if (data := find(path)) is not None)
    if path.exists():
        raise UserError(f"{spec} is a file: pass the folder it is in, or unpack it and pass that folder")
    known = ("shapes", "cifar10", "hf:OWNER/NAME")
    if "/" in spec or spec.startswith((".", "~")):
        raise UserError(f"no folder {spec}: pass one of {', '.join(known)}, or a path that exists")
    raise UserError(f"no data set '{spec}'{did_you_mean(spec, known)} (or a path that exists)")


def _shapes_count(spec: str) -> int:
    count = spec.removeprefix("shapes:")
    if not re.fullmatch("[1-9][0-9]{0,6}", count):
        raise UserError(f"{spec}: pass a number of training images below ten million, as in shapes:50000")
    return int(count)


def _first(source: Source, limit: int | None) -> Source:
    if limit is None or limit >= source.count:
        return source
    return source.subset(np.arange(limit), f"{source.origin}; the first {limit:,} of {source.count:,}")
