"""Files that hold many images each: which files of a folder make up a data set, and what lies beside them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vqvae.data.decoding import kind_of
from vqvae.data.listing import IMAGE_SUFFIXES, counted, entries, holds_images, is_folder, is_image, walk
from vqvae.data.splits import split_named
from vqvae.errors import UserError, did_you_mean

_ENOUGH = 32  # image files, after which a folder without files of other kinds is taken for a folder of images
_PREFERRED = ("default", "data", "")  # the configuration that the Hub takes where none is named
_PARTIAL = "partial-"  # how the Hub begins the folder of a split that it converted in part
_DOCUMENTS = {".md", ".txt", ".json", ".yaml", ".yml", ".csv", ".py", ".pdf", ".html"}


class OneSet(NamedTuple):
    """The files of one data set, and in words the files that were left out."""

    names: list[str]
    left_out: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Place:
    """A folder or a file that the user named, listed once for all layouts.

    Attributes:
        path: the folder or the file.
    """

    path: Path

    @property
    def is_folder(self) -> bool:
        """Whether the place is a folder."""
        return self.path.is_dir()

    @property
    def folder(self) -> Path:
        """The folder, or the folder of the file."""
        return self.path if self.is_folder else self.path.parent

    @cached_property
    def holds_images(self) -> bool:
        """Whether image files lie in the folder or below."""
        return self.is_folder and holds_images(self.path)

    def files(self, is_wanted: Callable[[str], bool]) -> list[str]:
        """Return the names, relative to the folder, of the wanted files in the folder and below, or of the file.

        Args:
            is_wanted: tells by a file's name, without folders.
        """
        return [name for name in self._others if is_wanted(PurePosixPath(name).name)]

    @cached_property
    def _others(self) -> list[str]:
        """The files that are not images, sorted; none of a folder of many images and no files of other kinds."""
        if not self.is_folder:
            return [self.path.name]
        found, images, others = list[str](), 0, False
        for way, names, _ in walk(self.path):
            for name in names:
                if is_image(name):
                    images += 1
                elif not name.startswith("."):
                    found.append(way + name)
                    others = others or PurePosixPath(name).suffix.lower() not in _DOCUMENTS
            if images >= _ENOUGH and not others:
                return []
        return sorted(found)


def sets_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Sort files by data set: a folder each, in which folders such as ``train/`` are splits."""
    sets = dict[str, list[str]]()
    for name in names:
        folders = PurePosixPath(name).parts[:-1]
        kept = [folder for folder in folders if split_named(folder.removeprefix(_PARTIAL)) is None]
        sets.setdefault("/".join(kept), []).append(name)
    return sets


def one_set(names: Iterable[str], where: str, advice: Callable[[str], str], *, asked: str | None = None) -> OneSet:
    """Return the files of one data set: the one that is asked for, the default one, or the only one.

    Args:
        names: of files, with their folders.
        where: what holds the files, for errors.
        advice: says how to choose a set, by the set's name or by the folder of one of its files.
        asked: the set's name.

    Raises:
        UserError: where there are several sets and none is the default, or where the set asked for is not there.
    """
    sets = sets_of(names)
    if asked is not None and asked not in sets:
        raise UserError(f"{where} has no configuration '{asked}'{did_you_mean(asked, sets)}")
    chosen = next((name for name in (asked, *_PREFERRED) if name is not None and name in sets), None)
    if chosen is None and len(sets) > 1:
        raise UserError(f"{where} holds several data sets ({', '.join(sorted(sets))}): {advice(min(sets))}")
    if chosen is None:
        [chosen] = sets
    left_out = list[str]()
    others = sorted(name or "the files at the top" for name in sets if name != chosen)
    if others and asked is None:
        named = min((name for name in sets if name and name != chosen), default="")
        left_out.append(f"other data sets ({', '.join(others)}): {advice(named)}")
    if any(f"/{_PARTIAL}" in f"/{name}" for name in sets[chosen]):
        left_out.append("what the Hub did not convert of a large set")
    return OneSet(sets[chosen], tuple(left_out))


def pass_folder(folder: Path, names: Iterable[str], which: str) -> str:
    """Say how to choose one of several data sets, each in a folder of its own.

    Args:
        folder: what holds the sets.
        names: of all files.
        which: the set to name.
    """
    way = PurePosixPath(next((name for name in names if which in sets_of([name])), "")).parent
    while split_named(way.name.removeprefix(_PARTIAL)) is not None:
        way = way.parent
    return f"pass the folder of one of them, as in {folder / way}"


def left_beside(place: Place, names: Iterable[str], *, images: bool = True) -> tuple[str, ...]:
    """Say which files lie beside those of a data set and are not read; documents are not worth a word.

    Args:
        place: the folder, or the one file that was asked for, beside which nothing is left out.
        names: the files that are read, relative to the folder.
        images: whether image files beside them are left out too.
    """
    if not place.is_folder:
        return ()
    said = list[str]()
    if images and place.holds_images:
        said.append("the image files beside them")
    taken = set(names)
    found = (entry for entry in entries(place.path) if entry.name not in taken and not is_folder(entry))
    suffixes = Counter(PurePosixPath(entry.name).suffix.lower() for entry in found)
    known = {*_DOCUMENTS, *IMAGE_SUFFIXES, ""}
    others = Counter({suffix: n for suffix, n in suffixes.items() if suffix not in known})
    if others:
        files = f"{others.total():,} file{'s' * (others.total() > 1)}"
        said.append(f"{files} of other kinds beside them ({counted(others)})")
    return tuple(said)


def damaged(path: Path, name: str, reason: object, advice: str = "download or write it again") -> UserError:
    """Return the error of a file that cannot be read; a Git LFS pointer is called one."""
    kind = kind_of(path)
    if kind is not None:
        return UserError(f"cannot read {name} at {path}: {kind}")
    return UserError(f"cannot read {name} at {path}: {' '.join(str(reason).split())[:120]}; {advice}")
