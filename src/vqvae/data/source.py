"""The one shape that every kind of data takes before decoding: items in order, with labels beside them."""

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
    """One image before decoding: the name the user knows it by, and its content."""

    name: str
    content: Content


@dataclass(frozen=True, eq=False)
class Source:
    """The encoded images of one split.

    Attributes:
        count: how many images.
        items: ``items(rows)`` yields the items of some rows, int64 [n] ascending, reading as it goes.
        names: yields one name for each row. A hash of the names decides which rows are held out for testing.
        files: ``files(rows)`` yields the names and sizes of the files that hold some rows. A change of these
            lines shows that the data have changed.
        origin: in words, which files or rows these are.
        labels: int64 [count], indices into ``classes``, or None.
        classes: the class names; empty without labels.
        fixed_classes: whether every split of the data set has the same classes, whatever images it holds: they
            are part of the format, or the files list them.
        ends: ascending, the rows at which pieces end that are cheapest to read whole; None where every row costs
            the same.
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
        """Return the source of some rows, int64 [n] ascending; ``origin`` says in words which rows they are."""

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
        The file's index, the row at which it begins, and the rows within it, ascending; only files that hold any.
    """
    first = 0
    for index, size in enumerate(sizes):
        start, stop = np.searchsorted(rows, (first, first + size))
        if stop > start:
            yield index, first, rows[start:stop] - first
        first += size


def lines_of_files(files: Sequence[tuple[Path, str, int]], rows: Rows) -> Iterator[str]:
    """Yield a line for each file that holds some of the rows: its name and size, and which rows where not all.

    Args:
        files: path, name and number of rows of each file.
        rows: int64 [n] ascending, over all files.
    """
    for index, _, within in by_file(rows, [size for _, _, size in files]):
        path, name, size = files[index]
        yield file_line(path, name) + rows_hash(within, size)


def rows_hash(rows: Rows, count: int) -> str:
    """Return nothing for all of ``count`` rows, and a hash of the row numbers for some of them."""
    return "" if len(rows) == count else f" rows {hashlib.sha256(rows.astype('<i8').tobytes()).hexdigest()}"


def _only(names: Iterable[str], rows: Rows) -> Iterator[str]:
    wanted = iter(rows.tolist())
    next_row = next(wanted, None)
    for row, name in enumerate(names):
        if row == next_row:
            yield name
            next_row = next(wanted, None)


def printable(name: str) -> str:
    """Return a name with escapes for what a line of text cannot show: control characters and broken UTF-8."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def file_line(path: Path, name: str) -> str:
    """Return a line that identifies a file: its name and size."""
    try:
        return f"{name} {path.stat().st_size}"
    except OSError:
        return f"{name} unreadable"
