"""One array in an ``.npz`` or ``.npy`` file: its shape, and what its words say it is. Pickles are never read."""

import math
import re
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vqvae.data.archives import damaged
from vqvae.data.splits import split_named

LABEL_WORDS = {"y", "label", "labels", "target", "targets", "class", "classes", "cls"}
_PIXELS = "biuf"  # the kinds of types that pixels may have


@dataclass(frozen=True)
class Array:
    """One array, not read yet.

    Attributes:
        path: the file.
        file: its name, relative to the folder.
        key: the array's name in an .npz file, else "".
        shape: of the array.
        dtype: of the array.
    """

    path: Path
    file: str
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.file} {self.key}".rstrip()

    @property
    def split(self) -> str | None:
        """The split that the words name, the key's before the file's."""
        return _first_split(words_of(self.key)) or split_of_file(self.file)

    @property
    def role(self) -> str:
        """What the array is called without its split: ``x``, ``labels``, ``fine_label``."""
        words = [word for word in self._words if split_named(word) is None]
        return "_".join(words) or self.key or self.file

    @property
    def part(self) -> tuple[str, ...]:
        """What the parts of one array have in common: the key, and the file without its numbers."""
        return self.key, re.sub(r"\d+", "#", self.file)

    @property
    def is_label(self) -> bool:
        """Whether the words say that these are labels or names of classes."""
        return bool(LABEL_WORDS & {*self._words}) or (
            self.key.startswith("arr_") and bool(LABEL_WORDS & {*words_of(self.file)})
        )

    @property
    def is_image(self) -> bool:
        """Whether the shape is one of images, and the words do not say otherwise."""
        return len(self.shape) in (3, 4) and self.dtype.kind in _PIXELS and not self.is_label

    @property
    def _words(self) -> list[str]:
        return words_of(self.key) if self.key else words_of(self.file)

    @property
    def numbers(self) -> list[int]:
        """The numbers in the file's name, by which parts are in order."""
        return [int(digits) for digits in re.findall(r"\d+", self.file)]

    def is_called(self, name: str) -> bool:
        """Tell whether the user means this array by a name."""
        return name in (self.key, self.role, self.file, PurePosixPath(self.file).stem)

    def read(self) -> NDArray[Any]:
        """Return the values; those of an .npy file are mapped and not read yet."""
        try:
            if not self.key:
                return np.load(self.path, mmap_mode="r", allow_pickle=False)
            with np.load(self.path, allow_pickle=False) as arrays:
                return arrays[self.key]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise damaged(self.path, self.file, error) from error


def arrays_of(path: Path, name: str) -> list[Array]:
    """Read the headers of a file's arrays.

    Raises:
        UserError: for a file that cannot be read.
    """
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return [Array(path, name, "", *_header(file))]
        with zipfile.ZipFile(path) as archive:
            found = list[Array]()
            for member in archive.infolist():
                if member.filename.endswith(".npy"):
                    with closing(archive.open(member)) as file:
                        shape, dtype = _header(file)
                    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > member.file_size:
                        raise ValueError(
                            f"{member.filename} is cut short: {list(shape)} in {member.file_size} bytes"
                        )
                    found.append(Array(path, name, member.filename.removesuffix(".npy"), shape, dtype))
            return found
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(path, name, error) from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def split_of_file(name: str) -> str | None:
    """Return the split that a file's name and its folders' names say, the innermost first."""
    return _first_split(reversed(words_of(name)))


def _first_split(words: Iterable[str]) -> str | None:
    return next((split for word in words if (split := split_named(word)) is not None), None)


def words_of(name: str) -> list[str]:
    """Return the words of a name in small letters, without its suffix."""
    return re.findall(r"[a-z]+|\d+", re.sub(r"\.np[yz]$", "", name.lower()))
