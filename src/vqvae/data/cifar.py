"""CIFAR's binary batches (https://www.cs.toronto.edu/~kriz/cifar.html): records of labels and raw planes."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vqvae.data.source import Item, Source, file_line
from vqvae.errors import UserError

_PLANES = (3, 32, 32)
_PIXEL_BYTES = 3 * 32 * 32
_BINARY_FOLDERS = ("cifar-10-batches-bin", "cifar-100-binary")
_PICKLE_FOLDERS = ("cifar-10-batches-py", "cifar-100-python")


def find_cifar(folder: Path) -> Path | None:
    """Return the folder that holds CIFAR's binary batches, this one or a known one in it, or None.

    Raises:
        UserError: for CIFAR's Python batches, which are pickles.
    """
    candidates = [folder, *(folder / name for name in (*_BINARY_FOLDERS, *_PICKLE_FOLDERS))]
    for place in candidates:
        if _batch_files(place, "train") or _batch_files(place, "test"):
            return place
    for place in candidates:
        if (place / "data_batch_1").is_file() or ((place / "meta").is_file() and (place / "train").is_file()):
            raise UserError(
                f"{place} holds CIFAR's Python batches, which are pickles and never loaded (a pickle can run any "
                "code): get the binary version, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz"
            )
    return None


def cifar_source(folder: Path, split: str) -> Source:
    """Return one split of CIFAR-10 or, with its fine labels, CIFAR-100.

    Raises:
        UserError: when the split's files are missing, cut short, or hold labels that CIFAR does not have.
    """
    files = _batch_files(folder, split)
    if not files:
        wanted = "test_batch.bin or test.bin" if split == "test" else "data_batch_*.bin or train.bin"
        raise UserError(f"{folder} lacks {wanted}")
    hundred = files[0].name in ("train.bin", "test.bin")
    label_bytes, num_classes = (2, 100) if hundred else (1, 10)
    records = [_records(path, label_bytes) for path in files]
    labels = np.concatenate([batch[:, label_bytes - 1].astype(np.int64) for batch in records])
    if labels.max() >= num_classes:
        raise UserError(f"label {labels.max()} in {folder}: CIFAR-{num_classes} has 0 to {num_classes - 1}")
    classes = _class_names(folder / ("fine_label_names.txt" if hundred else "batches.meta.txt"), num_classes)
    names = [path.name for path in files]
    return Source(
        count=len(labels),
        items=partial(_items, names, records, label_bytes),
        labels=labels,
        classes=classes,
        files=lambda: (file_line(path, path.name) for path in files),
    )


def _batch_files(folder: Path, split: str) -> list[Path]:
    ten, hundred = ("test_batch.bin", "test.bin") if split == "test" else ("data_batch_*.bin", "train.bin")
    return sorted(folder.glob(ten), key=_batch_number) or sorted(folder.glob(hundred))


def _batch_number(path: Path) -> tuple[int, str]:
    digits = re.search(r"\d+", path.name)
    return (int(digits.group()) if digits else 0, path.name)


def _records(path: Path, label_bytes: int) -> NDArray[np.uint8]:
    record = label_bytes + _PIXEL_BYTES
    size = path.stat().st_size
    if size == 0 or size % record:
        raise UserError(
            f"{path} has {size} bytes, which is not a multiple of {record}: it is cut short; download it again"
        )
    return np.memmap(path, np.uint8, mode="r").reshape(-1, record)


def _items(
    names: list[str], records: list[NDArray[np.uint8]], label_bytes: int, start: int, stop: int
) -> Iterator[Item]:
    first = 0
    for name, batch in zip(names, records, strict=True):
        for row in range(max(start - first, 0), min(stop - first, len(batch))):
            image = batch[row, label_bytes:].reshape(_PLANES).transpose(1, 2, 0)
            yield Item(f"{name} record {row}", np.ascontiguousarray(image))
        first += len(batch)


def _class_names(path: Path, num_classes: int) -> tuple[str, ...]:
    names = tuple(path.read_text().split()) if path.is_file() else ()
    return names if len(names) == num_classes else tuple(str(label) for label in range(num_classes))
