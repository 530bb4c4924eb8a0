"""What lies in a folder: image files, other files, and the folders of training runs."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vqvae.data.source import printable
from vqvae.errors import UserError
from vqvae.run_directory import RunDirectory

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
MOST_NAMED = 5  # names in a message
# What systems leave in folders of images: not worth a word.
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}
_PACKED = {".zip", ".gz", ".tgz", ".7z", ".rar", ".xz", ".zst", ".bz2"}


@dataclass(frozen=True)
class Listing:
    """What lies in a folder and below.

    Attributes:
        images: the paths of images relative to the folder, with forward slashes, sorted.
        others: the number of other files by suffix.
        runs: the folders of training runs, which are not listed further.
    """

    images: list[str]
    others: Counter[str]
    runs: list[str]


def list_files(folder: Path) -> Listing:
    """List a folder and everything below it, except hidden files and what lies in runs.

    Raises:
        UserError: for a folder that cannot be listed.
    """
    listing = Listing([], Counter(), [])
    for way, names in _walk(folder):
        if names is None:
            listing.runs.append(printable(way))
            continue
        for name in names:
            if is_image(name):
                listing.images.append(way + name)
            elif _is_visible(name):
                listing.others[os.path.splitext(name)[1].lower()] += 1
    listing.images.sort()
    return listing


def holds_images(folder: Path) -> bool:
    """Tell whether an image lies in a folder or below, outside training runs."""
    if _is_run(str(folder)):
        return False
    return any(is_image(name) for _, names in _walk(folder) for name in names or ())


def folders_of_images(folder: Path) -> Iterator[str]:
    """Yield the names of the folders in this one that hold images, in alphabetical order."""
    return (name for name in folders_in(folder) if holds_images(folder / name))


def _walk(folder: Path) -> Iterator[tuple[str, list[str] | None]]:
    """Yield the way to each folder below, "" or such as "a/b/", and its files; None for a training run."""
    seen = set[str]()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        relative = os.path.relpath(parent, folder)
        way = "" if relative == "." else f"{relative.replace(os.sep, '/')}/"
        folders[:] = [name for name in folders if _is_visible(name)]
        real = os.path.realpath(parent)
        if real in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add(real)
        if way and RunDirectory(Path(parent)).config.name in names and _is_run(parent):
            folders.clear()
            yield way, None
        else:
            yield way, names


def _is_run(folder: str) -> bool:
    run = RunDirectory(Path(folder))
    return run.config.is_file() and (run.metrics.is_file() or run.environment.is_file())


def _refuse(error: OSError) -> None:
    raise _unlisted(error)


def _unlisted(error: OSError) -> UserError:
    where = printable(str(error.filename))
    return UserError(f"cannot list {where}: {error.strerror}; its images would be missing")


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what lies in a folder and is worth a look, sorted by name.

    Raises:
        UserError: for a folder that cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if _is_visible(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise _unlisted(error) from error


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, in alphabetical order."""
    return [entry.name for entry in entries(folder) if is_folder(entry)]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _CLUTTER


def is_image(name: str) -> bool:
    """Tell whether a file is an image by its name."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def class_name(folder: str) -> str:
    """Return a folder's name in one form: NFC, and bytes that are not UTF-8 as escapes."""
    return unicodedata.normalize("NFC", os.fsencode(folder).decode("utf-8", "backslashreplace"))


def counted(others: Counter[str]) -> str:
    """Return how many files have which suffix, in words."""
    found = +others
    some = ", ".join(
        f"{printable(suffix) or 'no suffix'} {count:,}" for suffix, count in found.most_common(MOST_NAMED)
    )
    return some + (", ..." if len(found) > MOST_NAMED else "")


def no_images(folder: Path, listing: Listing) -> UserError:
    """Return the error of a folder without images, which says what the folder holds."""
    instead = ""
    if listing.others:
        advice = " (unpack them first)" if _PACKED & listing.others.keys() else ""
        instead = f"it holds {counted(listing.others)}{advice}; "
    suffixes = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
    return UserError(f"no images in {folder}: {instead}looked for {suffixes} in it and below")
