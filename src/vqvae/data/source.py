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
        count: how many ``items()`` yields.
        items: starts a fresh pass over the images, always in the same order, reading as it goes.
        labels: int64 [count], or None.
        classes: the class names; empty without labels.
    """

    count: int
    items: Callable[[], Iterator[Item]]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
