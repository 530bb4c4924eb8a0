"""A folder of image files; sub-folders are classes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from vqvae.data.labels import BY_RULE, Columns, column_names
from vqvae.data.layout import innermost, split_beginning, split_folders
from vqvae.data.listing import (
    MOST_NAMED,
    Listing,
    class_name,
    counted,
    entries,
    folders_of_images,
    is_folder,
    is_image,
    list_files,
    no_images,
)
from vqvae.data.source import Item, Source, file_line, printable
from vqvae.data.splits import DataSet, open_split
from vqvae.data.table import table_labels
from vqvae.errors import UserError


@dataclass(frozen=True)
class _Place:
    """A split of an image folder.

    Attributes:
        root: the folder of the split.
        folder: the folder of the data set; the same where there are no split folders.
        given: the folder that the user named; another where a folder around all was passed through.
        split: the split.
        label: the column of labels in a table; None for the one that ``label_column`` chooses.
    """

    root: Path
    folder: Path
    given: Path
    split: str
    label: str | None


def folder_source(folder: Path, split: str) -> Source:
    """Return one split of an image folder; without split folders, some images are held out for testing."""
    return open_split(find_folder(folder), split)


def find_folder(folder: Path, columns: Columns = BY_RULE) -> DataSet:
    """Return the splits of an image folder.

    The folders ``train``, ``validation`` and ``test`` (or ``training``, ``val``, ``Test``, ``train2017``, ...) are
    the splits. Without them, all images are for training. Sub-folders are classes. Where some images lie beside
    the sub-folders, there are no classes, unless a table beside the images holds labels. A folder that is the only
    one and holds further folders, or is called ``images``, is passed through. Hidden files and folders are left
    out, and so are the folders of training runs.

    Args:
        folder: where to look.
        columns: the column of labels in a table beside the images, where it is asked for.

    Raises:
        UserError: when it is not clear which folder is which split.
    """
    given, folder, label = folder, innermost(folder, splits=True), columns.label
    roots = split_folders(folder)
    if not roots:
        whole = _Place(folder, folder, given, "train", label)
        return DataSet(str(folder), {"train": partial(_open, whole)}, takes_label=True)
    opened = {split: partial(_open, _Place(root, folder, given, split, label)) for split, root in roots.items()}
    return DataSet(str(folder), opened, "images", "put them into train/", takes_label=True)


def file_source(paths: Sequence[Path]) -> Source:
    """Return some image files, in this order, without labels."""
    return Source(
        count=len(paths),
        items=lambda rows: (Item(printable(str(paths[row])), paths[row]) for row in rows.tolist()),
        names=lambda: map(str, paths),
        files=lambda rows: (file_line(paths[row], str(paths[row])) for row in rows.tolist()),
        origin="the files named",
    )


def _open(place: _Place) -> Source:
    """Return all images of a split.

    Raises:
        UserError: when there is no image.
    """
    root, folder = place.root, place.folder
    inner = innermost(root)
    listing = list_files(inner)
    files = listing.images
    if not files:
        raise no_images(inner, listing)
    prefix = "" if root == folder else f"{root.name}/"
    way = "" if inner == place.given else f"{inner.relative_to(place.given).as_posix()}/"
    source = Source(
        count=len(files),
        items=lambda rows: (Item(printable(prefix + files[row]), inner / files[row]) for row in rows.tolist()),
        names=lambda: files,
        files=lambda rows: (file_line(inner / files[row], files[row]) for row in rows.tolist()),
        origin=f"the files in {printable(way) or 'it'} and below",
    )
    return _with_labels(source, listing, place, inner)


def _with_labels(source: Source, listing: Listing, place: _Place, inner: Path) -> Source:
    """Take the labels from the folders or else from a table; say what is not used."""
    left_out = _beside(place)
    folders = [name.partition("/")[0] if "/" in name else None for name in listing.images]
    if place.label is None and None not in folders:
        source = _labelled_by_folder(source, [folder or "" for folder in folders], listing)
    elif (found := table_labels(_tables(place, inner), listing.images, place.label)) is not None:
        origin = f"{source.origin}, labels from {found.path.name}"
        source = replace(source, labels=found.labels, classes=found.classes, origin=origin)
        left_out += found.left_out
        listing.others[found.path.suffix.lower()] -= found.path.parent == inner
    elif any(folders):
        beside = folders.count(None)
        left_out.append(f"the folders' names, since {beside:,} images lie beside the folders")
    if place.label is not None and source.labels is None:
        raise UserError(
            f"{place.folder}: --data.label {place.label}: no table of labels beside the images: a .csv, .tsv or "
            ".jsonl file"
        )
    others = listing.others.total()
    if others:
        left_out.append(f"{others:,} file{'s' * (others > 1)} of other kinds ({counted(listing.others)})")
    if source.labels is not None and listing.without:
        left_out.append(f"folders without images ({column_names(listing.without)})")
    if listing.links:
        left_out.append(f"links to folders that are listed ({column_names(listing.links)})")
    if listing.own:
        left_out.append(f"what runs and decode wrote ({column_names(listing.own)})")
    return replace(source, left_out=tuple(left_out))


def _labelled_by_folder(source: Source, folders: list[str], listing: Listing) -> Source:
    """Take the top folders for classes, in alphabetical order."""
    of_folder = {folder: class_name(folder) for folder in set(folders)}
    names = sorted(set(of_folder.values()))
    number = {name: label for label, name in enumerate(names)}
    labels = np.array([number[of_folder[folder]] for folder in folders], np.int64)
    deep = any(name.count("/") > 1 for name in listing.images)
    origin = source.origin + (", classes by the top folders" if deep else "")
    return replace(source, labels=labels, classes=tuple(names), origin=origin)


def _beside(place: _Place) -> list[str]:
    """Say what lies beside the split folders and belongs to none."""
    if place.root == place.folder:
        return []
    folders = [name for name in folders_of_images(place.folder) if split_beginning(name) is None]
    found = entries(place.folder)
    images = sum(is_image(entry.name) for entry in found if not is_folder(entry))
    said = [f"{printable(name)}/ beside the splits" for name in folders[:MOST_NAMED]]
    return said + ([f"{images:,} images beside the splits"] if images else [])


def _tables(place: _Place, inner: Path) -> list[Path]:
    """Return the files that may hold labels: beside the images, and the split's or the set's own above them."""
    tables = list[Path]()
    above = (path for path in inner.parents if path.is_relative_to(place.root))
    for folder in dict.fromkeys((inner, *above, place.folder)):
        for entry in entries(folder):
            stem, suffix = os.path.splitext(entry.name)
            of_another = split_beginning(stem) not in (None, place.split)
            table = suffix.lower() in (".csv", ".tsv", ".jsonl") or (
                suffix.lower() == ".txt" and stem.lower().endswith("annotations")
            )
            if table and not is_folder(entry) and not of_another and "submission" not in stem.lower():
                tables.append(Path(entry.path))
    return tables
