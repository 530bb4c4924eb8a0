"""Which files are for training and which for testing, by their names, or by a hash where names do not tell."""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vqvae.errors import UserError

_MOST_HELD_OUT = 5_000
# In order of preference where a data set has several that could serve as the test split.
TEST_NAMES = ("test", "validation", "valid", "val")
_NAME = re.compile(r"(?:^|[/._-])(train|test|validation|valid|val)(?:ing)?(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class FileSplits:
    """File names by split, sorted; ``test`` is empty where the data set has only training files."""

    train: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def by_name(cls, names: Iterable[str]) -> "FileSplits":
        """Sort names such as ``data/validation-00000-of-00002.parquet``; no split in any name means training."""
        found: dict[str, list[str]] = {}
        for name in sorted(names):
            words = _NAME.findall(name)
            found.setdefault(words[-1].lower() if words else "", []).append(name)
        no_files: list[str] = []
        test = next((found[word] for word in TEST_NAMES if word in found), no_files)
        train = found.get("train") or found.get("", no_files)
        return cls(tuple(train), tuple(test))


def rows_of_split(names: Sequence[str], split: str, *, where: str) -> list[int]:
    """Hold out about 5 % of the images for testing: at least 1, at most 5,000, those whose names hash lowest.

    The hash makes the choice the same on every machine, and nearly the same after images were added.

    Args:
        names: one name an image.
        split: "train" or "test".
        where: the data set, for the error.

    Returns:
        The rows of the split, ascending.

    Raises:
        UserError: for the test split of a single image.
    """
    if split == "test" and len(names) == 1:
        raise UserError(
            f"{where} holds a single image, which is for training: add images, or put some into train/ and test/"
        )
    num_test = min(max(round(0.05 * len(names)), 1), _MOST_HELD_OUT) if len(names) > 1 else 0
    by_hash = sorted(range(len(names)), key=lambda row: hashlib.sha256(os.fsencode(names[row])).digest())
    return sorted(by_hash[:num_test] if split == "test" else by_hash[num_test:])
