"""What the headers of encoded images tell of a whole source."""

import numpy as np

from vqvae.data.decoding import brightest, is_grey
from vqvae.data.source import Source

_MOST_ASKED = 1000  # images of a source whose headers are read


def is_wide(source: Source) -> bool:
    """Tell whether the first image has pixels of more than 8 bits."""
    return any(brightest(item.content) is not None for item in source.items(np.arange(1)))


def count_in_colour(source: Source) -> int:
    """Return how many of a thousand images are in colour by their headers."""
    rows = np.unique(np.linspace(0, source.count - 1, _MOST_ASKED).astype(np.int64))
    return sum(is_grey(item.content) is False for item in source.items(rows))
