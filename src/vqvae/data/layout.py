"""The rule of folders: which folder is a split, which one wraps the others, and what is refused as unclear."""

import re
from itertools import islice
from pathlib import Path

from vqvae.data.listing import MOST_NAMED, entries, folders_in, folders_of_images, is_image
from vqvae.data.source import printable
from vqvae.data.splits import split_named
from vqvae.errors import UserError

# Folders that hold images and are no class, where they are the only folder.
_CONTAINERS = {"images", "image", "imgs", "img", "pictures", "photos", "data", "jpegimages"}
_BEGINNING = re.compile(r"(?i:(training|train|validation|valid|val|testing|test))(?=[A-Z0-9_-]|$)")


def innermost(folder: Path, *, splits: bool = False) -> Path:
    """Pass through folders that only wrap the images.

    Args:
        folder: where to begin.
        splits: whether a folder that is named as a split ends the way.
    """
    seen = set[Path]()
    while folder.resolve() not in seen:
        seen.add(folder.resolve())
        if any(is_image(entry.name) for entry in entries(folder)):
            break
        found = list(islice(folders_of_images(folder), 2))
        if len(found) != 1:
            break
        [name] = found
        wraps = name.lower() in _CONTAINERS or any(folders_of_images(folder / name))
        if not wraps or (splits and split_beginning(name) is not None):
            break
        folder = folder / name
    return folder


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of the splits by split; nothing where no folder is named as one.

    Raises:
        UserError: when two folders claim one split, a folder may be a split or a class, or every class has splits
            of its own.
    """
    folders = folders_in(folder)
    exact = {name: split for name in folders if (split := split_named(name)) is not None}
    named = exact or _all_by_beginning(folder, folders)
    roots = dict[str, Path]()
    for name, split in named.items():
        if split in roots:
            raise UserError(f"{folder}: {roots[split].name}/ and {name}/ are both for {split}: rename one")
        roots[split] = folder / name
    if len(roots) == 1:
        [name] = named
        others = list(islice((other for other in folders_of_images(folder) if other != name), MOST_NAMED))
        if others:
            raise UserError(
                f"{folder}: is {name}/ a split or a class, beside {printable(', '.join(others))}? rename it, or "
                "put the images of the splits into train/ and test/"
            )
    if not roots:
        _refuse_splits_in_classes(folder, folders)
    return roots


def split_beginning(name: str) -> str | None:
    """Return the split that a folder's or file's name begins with, as in ``train2017`` and ``val_images``."""
    match = _BEGINNING.match(name)
    return split_named(match[1]) if match else None


def _all_by_beginning(folder: Path, folders: list[str]) -> dict[str, str]:
    """Return the splits of folders where every folder of images has a name such as ``train2017``."""
    found = {name: split for name in folders if (split := split_beginning(name)) is not None}
    if not found or any(name not in found for name in folders_of_images(folder)):
        return {}
    return found


def _refuse_splits_in_classes(folder: Path, folders: list[str]) -> None:
    """Refuse ``bottle/train/`` and ``bottle/test/``, whose test images would be trained on."""
    for name in folders:
        inner = {split: below for below in folders_in(folder / name) if (split := split_named(below)) is not None}
        if len(inner) > 1:
            ways = " and ".join(f"{name}/{below}/" for below in sorted(inner.values()))
            raise UserError(
                f"{folder}: {printable(ways)} are splits inside a folder: pass that folder, or put train/ and "
                "test/ at the top and the classes into them"
            )
