"""The one shape that every kind of data takes before decoding: items in order, with labels beside them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A file, the bytes of an encoded image, or raw pixels, uint8 [H, W, 3].
Content = Path | bytes | NDArray[np.uint8]


class Item(NamedTuple):
    """One image before decoding: the name the user knows it by, and its content."""

    name: str
    content: Content


@dataclass(frozen=True, eq=False)
class Source:
    """The encoded images of one split.

    Attributes:
        count: how many images.
        items: ``items(start, stop)`` starts a pass over rows start to stop - 1, always in the same order, reading
            as it goes.
        labels: int64 [count], or None.
        classes: the class names; empty without labels.
        files: the names and sizes of what is read, by which to notice that it is no longer the same.
        ends: ascending, the rows at which pieces end that are cheapest read whole; None where any are as cheap.
    """

    count: int
    items: Callable[[int, int], Iterator[Item]]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    files: Callable[[], Iterator[str]]
    ends: NDArray[np.int64] | None = None


def printable(name: str) -> str:
    """Return a name with what a line of text cannot show as escapes: control characters and broken UTF-8."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def file_line(path: Path, name: str) -> str:
    """Return a line that says which file this is: its name and size."""
    try:
        return f"{name} {path.stat().st_size}"
    except OSError:
        return f"{name} unreadable"
