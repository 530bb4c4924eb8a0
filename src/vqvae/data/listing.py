"""What lies in a folder: image files, other files, and what this program wrote there itself."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vqvae.data.source import printable
from vqvae.errors import UserError
from vqvae.run_directory import RunDirectory

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif"),
)
MOST_NAMED = 5  # names in a message
DECODED = ".decoded"  # in a folder of images that ``vqvae decode`` wrote
# What systems leave in folders of images: not worth a word.
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}
_PACKED = {".zip", ".gz", ".tgz", ".7z", ".rar", ".xz", ".zst", ".bz2"}


@dataclass(frozen=True)
class Listing:
    """What lies in a folder and below.

    Attributes:
        images: the paths of images relative to the folder, with forward slashes, sorted.
        others: the number of other files by suffix.
        own: the folders of training runs and of decoded images, which are not listed further.
        links: links to folders that were listed already.
        without: the top folders that hold other files, but no image.
    """

    images: list[str]
    others: Counter[str]
    own: list[str]
    links: list[str]
    without: list[str]


def list_files(folder: Path) -> Listing:
    """List a folder and everything below it, except hidden files and what this program wrote.

    Raises:
        UserError: for a folder that cannot be listed.
    """
    listing = Listing([], Counter(), [], [], [])
    holds = dict[str, bool]()
    for way, names, kind in walk(folder):
        if kind is not None:
            (listing.own if kind == "own" else listing.links).append(printable(way))
            continue
        top = way.partition("/")[0]
        for name in names:
            if is_image(name):
                listing.images.append(way + name)
                holds[top] = True
            elif _is_visible(name):
                listing.others[os.path.splitext(name)[1].lower()] += 1
                holds.setdefault(top, False)
    listing.images.sort()
    listing.without.extend(f"{printable(top)}/" for top in sorted(holds) if top and not holds[top])
    return listing


def holds_images(folder: Path) -> bool:
    """Tell whether an image lies in a folder or below, except what this program wrote."""
    if _is_run(folder) or (folder / DECODED).is_dir():
        return False
    return any(is_image(name) for _, names, _ in walk(folder) for name in names)


def folders_of_images(folder: Path) -> Iterator[str]:
    """Yield the names of the folders in this one that hold images, in alphabetical order."""
    return (name for name in folders_in(folder) if holds_images(folder / name))


def walk(folder: Path) -> Iterator[tuple[str, list[str], Literal["own", "link"] | None]]:
    """Yield the way to each folder, "" or such as "a/b/", its files, and why it is not listed."""
    seen = set[str]()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        relative = os.path.relpath(parent, folder)
        way = "" if relative == "." else f"{relative.replace(os.sep, '/')}/"
        own = bool(way) and (
            DECODED in folders or (RunDirectory(Path(parent)).config.name in names and _is_run(Path(parent)))
        )
        real = os.path.realpath(parent)
        if own or real in seen:  # a link back up would never end
            folders.clear()
            yield way, [], "own" if own else "link"
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if _is_visible(name))
        yield way, names, None


def _is_run(folder: Path) -> bool:
    run = RunDirectory(folder)
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
