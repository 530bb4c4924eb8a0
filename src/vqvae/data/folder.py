"""A folder of image files; sub-folders are classes."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from vqvae.data.source import Item, Source, file_line, printable
from vqvae.data.splits import DataSet, open_split, split_named
from vqvae.data.table import table_labels
from vqvae.errors import UserError
from vqvae.run_directory import RunDirectory

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
# Folders that hold images and are no class, where they are the only folder.
_CONTAINERS = {"images", "image", "imgs", "img", "pictures", "photos", "data", "jpegimages"}
# What systems leave in folders of images: not worth a word.
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}
_SPLIT_FOLDER = re.compile(r"(train|training|validation|valid|val|test|testing)(?=[A-Z0-9_-]|$)", re.IGNORECASE)
_MOST_NAMED = 5


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


@dataclass(frozen=True)
class _Listing:
    """What lies in a folder and below: images by relative path, sorted; other files by suffix; training runs."""

    images: list[str]
    others: Counter[str]
    runs: list[str]


def folder_source(folder: Path, split: str) -> Source:
    """Return one split of an image folder; without split folders, some images are held out for testing."""
    return open_split(find_folder(folder), split)


def find_folder(folder: Path, label: str | None = None) -> DataSet:
    """Return the splits of an image folder.

    The folders ``train``, ``validation`` and ``test`` (or ``training``, ``val``, ``Test``, ``train2017``, ...) are
    the splits. Without them, all images are for training. Sub-folders are classes. Where some images lie beside
    the sub-folders, there are no classes, unless a table beside the images holds labels. A folder that is the only
    one and holds further folders, or is called ``images``, is passed through. Hidden files and folders are left
    out, and so are the folders of training runs.

    Args:
        folder: where to look.
        label: the column of labels in a table beside the images.

    Raises:
        UserError: when it is not clear which folder is which split.
    """
    given, folder = folder, _innermost(folder, splits=True)
    roots = _split_folders(folder)
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
    inner = _innermost(root)
    listing = _list(inner)
    files = listing.images
    if not files:
        suffixes = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise UserError(f"no images in {inner}: {_found_instead(listing)}looked for {suffixes} in it and below")
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


def _with_labels(source: Source, listing: _Listing, place: _Place, inner: Path) -> Source:
    """Take the labels from the folders or else from a table; say what is not used."""
    left_out = _beside(place)
    classes = [_class_name(name.partition("/")[0]) if "/" in name else None for name in listing.images]
    if place.label is None and None not in classes:
        names, labels = np.unique(np.array(classes, str), return_inverse=True)
        source = replace(source, labels=labels.astype(np.int64), classes=tuple(str(name) for name in names))
    elif (found := table_labels(_tables(place, inner), listing.images, place.label)) is not None:
        origin = f"{source.origin}, labels from {found.path.name}"
        source = replace(source, labels=found.labels, classes=found.classes, origin=origin)
        left_out += found.left_out
        listing.others[found.path.suffix.lower()] -= found.path.parent == inner
    elif any(classes):
        beside = classes.count(None)
        left_out.append(f"the folders' names, since {beside:,} images lie beside the folders")
    if place.label is not None and source.labels is None:
        raise UserError(
            f"{place.folder}: --data.label {place.label}: no table of labels beside the images: a .csv, .tsv or "
            ".jsonl file"
        )
    others = listing.others.total()
    if others:
        left_out.append(f"{others:,} file{'s' * (others > 1)} of other kinds ({_counted(listing.others)})")
    if listing.runs:
        left_out.append(f"the training runs in {', '.join(listing.runs[:_MOST_NAMED])}")
    return replace(source, left_out=tuple(left_out))


def _class_name(folder: str) -> str:
    """Return a folder's name in one form: NFC, and bytes that are not UTF-8 as escapes."""
    return unicodedata.normalize("NFC", os.fsencode(folder).decode("utf-8", "backslashreplace"))


def _innermost(folder: Path, *, splits: bool = False) -> Path:
    """Pass through folders that only wrap the images.

    Args:
        folder: where to begin.
        splits: whether a folder that is named as a split ends the way.
    """
    seen = set[str]()
    while os.path.realpath(folder) not in seen:
        seen.add(os.path.realpath(folder))
        entries = _entries(folder)
        folders = [entry for entry in entries if _is_folder(entry)]
        if len(folders) != 1 or any(_is_image(entry.name) for entry in entries):
            break
        only = Path(folders[0].path)
        wraps = only.name.lower() in _CONTAINERS or any(_is_folder(entry) for entry in _entries(only))
        if not wraps or (splits and split_named(only.name) is not None):
            break
        folder = only
    return folder


def _split_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of the splits, or nothing where no folder is named as one.

    Raises:
        UserError: when two folders claim one split, or a folder may be a split or a class.
    """
    folders = [entry.name for entry in _entries(folder) if _is_folder(entry)]
    exact = {name: split for name in folders if (split := split_named(name)) is not None}
    named = exact or _all_by_beginning(folders)
    roots = dict[str, Path]()
    for name, split in named.items():
        if split in roots:
            raise UserError(f"{folder}: {roots[split].name}/ and {name}/ are both for {split}: rename one")
        roots[split] = folder / name
    others = [name for name in folders if name not in named and _holds_images(folder / name)]
    if len(roots) == 1 and others:
        [name] = named
        raise UserError(
            f"{folder}: is {name}/ a split or a class, beside {', '.join(others[:_MOST_NAMED])}? rename it, or "
            "put the images of the splits into train/ and test/"
        )
    return roots


def _all_by_beginning(folders: list[str]) -> dict[str, str]:
    """Return splits for names such as ``train2017`` and ``val_images``, where every folder has such a name."""
    found = {name: match[1] for name in folders if (match := _SPLIT_FOLDER.match(name)) is not None}
    if not found or len(found) < len(folders):
        return {}
    return {name: split for name, word in found.items() if (split := split_named(word)) is not None}


def _beside(place: _Place) -> list[str]:
    """Say what lies beside the split folders and belongs to none."""
    if place.root == place.folder:
        return []
    entries = [entry for entry in _entries(place.folder) if not _SPLIT_FOLDER.match(entry.name)]
    folders = [entry.name for entry in entries if _is_folder(entry) and _holds_images(Path(entry.path))]
    images = sum(_is_image(entry.name) for entry in entries if not _is_folder(entry))
    said = [f"{printable(name)}/ beside the splits" for name in folders[:_MOST_NAMED]]
    return said + ([f"{images:,} images beside the splits"] if images else [])


def _tables(place: _Place, inner: Path) -> list[Path]:
    """Return the files that may hold labels: beside the images, and the split's or the set's own above them."""
    tables = list[Path]()
    above = (path for path in inner.parents if path.is_relative_to(place.root))
    for folder in dict.fromkeys((inner, *above, place.folder)):
        for entry in _entries(folder):
            stem, suffix = os.path.splitext(entry.name.lower())
            word = _SPLIT_FOLDER.match(stem)
            of_another = word is not None and split_named(word[1]) != place.split
            table = suffix in (".csv", ".tsv", ".jsonl") or (suffix == ".txt" and stem.endswith("annotations"))
            if table and not _is_folder(entry) and not of_another and "submission" not in stem:
                tables.append(Path(entry.path))
    return tables


def _list(folder: Path) -> _Listing:
    """List a folder and everything below it, except hidden folders and runs; names have forward slashes."""
    listing, seen = _Listing([], Counter(), []), set[str]()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        relative = os.path.relpath(parent, folder)
        way = "" if relative == "." else f"{relative.replace(os.sep, '/')}/"
        folders[:] = [name for name in folders if _is_visible(name)]
        real = os.path.realpath(parent)
        if real in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add(real)
        if "config.yaml" in names and _is_run(parent) and way:
            listing.runs.append(printable(way))
            folders.clear()
            continue
        for name in names:
            if _is_image(name):
                listing.images.append(way + name)
            elif _is_visible(name):
                listing.others[os.path.splitext(name)[1].lower()] += 1
    listing.images.sort()
    return listing


def _is_run(folder: str) -> bool:
    run = RunDirectory(Path(folder))
    return run.config.is_file() and (run.metrics.is_file() or run.environment.is_file())


def _refuse(error: OSError) -> None:
    raise _unlisted(error)


def _unlisted(error: OSError) -> UserError:
    where = printable(str(error.filename))
    return UserError(f"cannot list {where}: {error.strerror}; its images would be missing")


def _holds_images(folder: Path) -> bool:
    return any(_is_image(name) for _, _, names in os.walk(folder) for name in names)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what lies in a folder and is worth a look, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if _is_visible(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise _unlisted(error) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _CLUTTER


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def _counted(others: Counter[str]) -> str:
    found = +others
    some = ", ".join(f"{suffix or 'no suffix'} {count:,}" for suffix, count in found.most_common(_MOST_NAMED))
    return some + (", ..." if len(found) > _MOST_NAMED else "")


def _found_instead(listing: _Listing) -> str:
    if not listing.others:
        return ""
    packed = {".zip", ".gz", ".tgz", ".7z", ".rar", ".xz", ".zst", ".bz2"} & listing.others.keys()
    advice = " (unpack them first)" if packed else ""
    return f"it holds {_counted(listing.others)}{advice}; "
