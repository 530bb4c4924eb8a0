"""A folder of image files; sub-folders are classes."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from vqvae.data.source import Item, Source, file_line, printable
from vqvae.data.splits import TEST_NAMES, rows_of_split
from vqvae.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def folder_source(folder: Path, split: str) -> Source:
    """Return one split of an image folder.

    The splits are the sub-folders ``train`` and ``test`` (or ``val``, ``valid``, ``validation``) where both are
    there; otherwise about 5 % of the files are held out. Sub-folders are classes; where some images lie beside
    the sub-folders, there are no classes. Hidden files and folders are left out.

    Raises:
        UserError: when there is no image, or none for the split.
    """
    roots = _split_folders(folder)
    if roots:
        listed = {name: list(_image_files(root)) for name, root in roots.items()}
        files, root = listed[split], roots[split]
        everything = [name for names in listed.values() for name in names]
    else:
        everything = list(_image_files(folder))
        files, root = everything, folder
    if not files:
        raise UserError(
            f"no images in {root}: looked for {', '.join(s[1:] for s in IMAGE_SUFFIXES)} in it and below"
        )
    if not roots:
        files = [files[row] for row in rows_of_split(files, split, where=str(folder))]
    prefix = f"{root.name}/" if roots else ""
    classes = _classes(everything)
    labels = np.array([classes.index(name.partition("/")[0]) for name in files]) if classes else None
    return Source(
        count=len(files),
        items=partial(_items, root, prefix, files),
        labels=labels,
        classes=classes,
        files=lambda: (file_line(root / name, name) for name in files),
    )


def _items(root: Path, prefix: str, files: list[str], start: int, stop: int) -> Iterator[Item]:
    return (Item(printable(prefix + name), root / name) for name in files[start:stop])


def _split_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of both splits, or nothing where either is missing."""
    test = next((folder / name for name in TEST_NAMES if (folder / name).is_dir()), None)
    train = folder / "train"
    return {"train": train, "test": test} if test is not None and train.is_dir() else {}


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
