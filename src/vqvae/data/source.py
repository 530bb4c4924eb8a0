"""Sources: encoded images in order, with labels. Every data format is read as a source."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# A file, the bytes of an encoded image, pixels [H, W], [H, W, 3] or [H, W, 4] of any type, or a PIL image.
Content = Path | bytes | NDArray[Any] | Image.Image
Rows = NDArray[np.int64]


class Item(NamedTuple):
    """An encoded image: the name that messages use, and the content."""

    name: str
    content: Content


@dataclass(frozen=True, eq=False)
class Source:
    """The encoded images of one split.

    Attributes:
        count: number of images.
        items: ``items(rows)`` yields the items of some rows, int64 [n] ascending; it reads them one by one.
        names: yields one name for each row. A hash of the names decides which rows are held out for testing.
        files: ``files(rows)`` yields lines with the names and sizes of the files that hold some rows. If the lines
            differ, the data have changed.
        origin: in words, the files or rows that the images come from.
        labels: int64 [count], indices into ``classes``, or None.
        classes: the class names; empty without labels.
        fixed_classes: whether all splits of the data set have the same classes, because the format or the files
            list them.
        ends: ascending, the rows at which pieces end that should be read whole; None if rows can be read singly.
        left_out: in words, what was found beside the images and not read, and why.
    """

    count: int
    items: Callable[[Rows], Iterator[Item]]
    names: Callable[[], Iterable[str]]
    files: Callable[[Rows], Iterator[str]]
    origin: str
    labels: Rows | None = None
    classes: tuple[str, ...] = ()
    fixed_classes: bool = False
    ends: Rows | None = None
    left_out: tuple[str, ...] = ()

    def subset(self, rows: Rows, origin: str | None = None) -> "Source":
        """Return a source of some rows, int64 [n] ascending; ``origin`` describes the rows in words."""

        def items(some: Rows) -> Iterator[Item]:
            return self.items(rows[some])

        def files(some: Rows) -> Iterator[str]:
            return self.files(rows[some])

        ends = self.ends
        if ends is not None:
            ends = np.unique(np.searchsorted(rows, ends))
            ends = ends[ends > 0]
        return replace(
            self,
            count=len(rows),
            items=items,
            names=lambda: _only(self.names(), rows),
            files=files,
            origin=self.origin if origin is None else origin,
            labels=None if self.labels is None else self.labels[rows],
            ends=ends,
        )


def all_rows(source: Source) -> Rows:
    """Return 0 .. count - 1."""
    return np.arange(source.count)


def by_file(rows: Rows, sizes: Sequence[int]) -> Iterator[tuple[int, int, Rows]]:
    """Divide rows, ascending, among files that hold ``sizes`` rows each.

    Yields:
        The index of a file, the row at which it begins, and the rows within it, ascending; for files with such
        rows.
    """
    first = 0
    for index, size in enumerate(sizes):
        start, stop = np.searchsorted(rows, (first, first + size))
        if stop > start:
            yield index, first, rows[start:stop] - first
        first += size


def lines_of_files(files: Sequence[tuple[Path, str, int]], rows: Rows) -> Iterator[str]:
    """Yield a line for each file with some of the rows: its name and size and, if not all rows, a hash of them.

    Args:
        files: path, name and number of rows of each file.
        rows: int64 [n] ascending, over all files.
    """
    for index, _, within in by_file(rows, [size for _, _, size in files]):
        path, name, size = files[index]
        yield file_line(path, name) + rows_hash(within, size)


def rows_hash(rows: Rows, count: int) -> str:
    """Return a hash of the rows; the empty text for all of ``count`` rows."""
    return "" if len(rows) == count else f" rows {hashlib.sha256(rows.astype('<i8').tobytes()).hexdigest()}"


def _only(names: Iterable[str], rows: Rows) -> Iterator[str]:
    wanted = iter(rows.tolist())
    next_row = next(wanted, None)
    for row, name in enumerate(names):
        if row == next_row:
            yield name
            next_row = next(wanted, None)


def printable(name: str) -> str:
    """Return a name with escapes for control characters and broken UTF-8, which a line of text cannot show."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def file_line(path: Path, name: str) -> str:
    """Return a line that identifies a file: its name and size."""
    try:
        return f"{name} {path.stat().st_size}"
    except OSError:
        return f"{name} unreadable"
