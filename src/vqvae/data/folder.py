"""A folder of image files; sub-folders are classes."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vqvae.data.source import Item, Source, file_line, printable
from vqvae.data.splits import DataSet, open_split, split_named
from vqvae.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def folder_source(folder: Path, split: str) -> Source:
    """Return one split of an image folder; without split folders, some images are held out for testing."""
    return open_split(find_folder(folder), split)


def find_folder(folder: Path, label: str | None = None) -> DataSet:
    """Return the splits of an image folder.

    The folders ``train``, ``validation`` and ``test`` (under any name that ``split_named`` knows) are the splits.
    Without them, all images are for training. Sub-folders are classes; where some images lie beside the
    sub-folders, there are no classes. Hidden files and folders are left out.

    Raises:
        UserError: when two folders claim the same split.
    """
    roots = dict[str, Path]()
    for entry in sorted(path for path in folder.iterdir() if path.is_dir()):
        split = split_named(entry.name)
        if split is not None and roots.setdefault(split, entry) != entry:
            raise UserError(
                f"{folder} has both {roots[split].name}/ and {entry.name}/ for {split}: remove or rename one"
            )
    opened = {split: partial(_open, root, f"{root.name}/") for split, root in roots.items()}
    return DataSet(str(folder), opened or {"train": partial(_open, folder, "")}, "images", "put them into train/")


def _open(root: Path, prefix: str) -> Source:
    """Return all images below a folder; ``prefix`` stands before their names.

    Raises:
        UserError: when there is no image.
    """
    files = list(_image_files(root))
    if not files:
        raise UserError(
            f"no images in {root}: looked for {', '.join(s[1:] for s in IMAGE_SUFFIXES)} in it and below"
        )
    classes = _classes(files)
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[name.partition("/")[0]] for name in files], np.int64) if classes else None
    return Source(
        count=len(files),
        items=lambda rows: (Item(printable(prefix + files[row]), root / files[row]) for row in rows.tolist()),
        names=lambda: files,
        files=lambda rows: (file_line(root / files[row], files[row]) for row in rows.tolist()),
        origin=f"the files in {prefix}" if prefix else "the files in it and below",
        labels=labels,
        classes=classes,
    )


def file_source(paths: Sequence[Path]) -> Source:
    """Return some image files, in this order, without labels."""
    return Source(
        count=len(paths),
        items=lambda rows: (Item(printable(str(paths[row])), paths[row]) for row in rows.tolist()),
        names=lambda: map(str, paths),
        files=lambda rows: (file_line(paths[row], str(paths[row])) for row in rows.tolist()),
        origin="the files named",
    )


def _classes(files: list[str]) -> tuple[str, ...]:
    if not all("/" in name for name in files):
        return ()
    return tuple(sorted({name.partition("/")[0] for name in files}))


def _refuse(error: OSError) -> None:
    raise UserError(f"cannot list {printable(str(error.filename))}: {error.strerror}; its images would be missing")


def _image_files(folder: Path) -> list[str]:
    """Return the paths of all image files below a folder, relative to it, with forward slashes, sorted."""
    found: list[str] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        real = os.path.realpath(parent)
        if real in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add(real)
        relative = Path(parent).relative_to(folder)
        found += [
            (relative / name).as_posix()
            for name in names
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)
