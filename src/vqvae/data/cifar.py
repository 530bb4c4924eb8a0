"""CIFAR's binary batches (https://www.cs.toronto.edu/~kriz/cifar.html): records of labels and raw planes."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vqvae.data.archives import Place, damaged
from vqvae.data.labels import BY_RULE, Columns
from vqvae.data.source import Item, Rows, Source, by_file, lines_of_files
from vqvae.data.splits import DataSet
from vqvae.errors import UserError

_PLANES = (3, 32, 32)
_PIXEL_BYTES = 3 * 32 * 32
_BINARY_FOLDERS = ("cifar-10-batches-bin", "cifar-100-binary")
_PICKLE_FOLDERS = ("cifar-10-batches-py", "cifar-100-python")


def find_cifar(place: Place, columns: Columns = BY_RULE) -> DataSet | None:
    """Return the splits of CIFAR's binary batches in a folder, or in a known folder within it; None without any.

    Raises:
        UserError: for CIFAR's Python batches, which are pickles.
    """
    folder = place.path
    candidates = [folder, *(folder / name for name in (*_BINARY_FOLDERS, *_PICKLE_FOLDERS))]
    for where in candidates:
        if _batch_files(where, "train") or _batch_files(where, "test"):
            return DataSet(str(where), {split: partial(_open, where, split) for split in ("train", "test")})
    for where in candidates:
        if (where / "data_batch_1").is_file() or ((where / "meta").is_file() and (where / "train").is_file()):
            raise UserError(
                f"{where} holds CIFAR's Python batches, which are pickles and never loaded (a pickle can run any "
                "code): get the binary version, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz"
            )
    return None


def _open(folder: Path, split: str) -> Source:
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
    parts = [(path, path.name, len(batch)) for path, batch in zip(files, records, strict=True)]
    names = [f"{name} record {row}" for _, name, count in parts for row in range(count)]
    return Source(
        count=len(labels),
        items=partial(_items, names, records, label_bytes),
        names=lambda: names,
        files=partial(lines_of_files, parts),
        origin=", ".join(path.name for path in files),
        labels=labels,
        classes=_class_names(folder / ("fine_label_names.txt" if hundred else "batches.meta.txt"), num_classes),
        fixed_classes=True,
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
        raise damaged(
            path, path.name, f"{size} bytes are not a multiple of {record}: it is cut short", "download it again"
        )
    return np.memmap(path, np.uint8, mode="r").reshape(-1, record)


def _items(names: list[str], records: list[NDArray[np.uint8]], label_bytes: int, rows: Rows) -> Iterator[Item]:
    for batch, first, some in by_file(rows, [len(batch) for batch in records]):
        for row in some.tolist():
            image = records[batch][row, label_bytes:].reshape(_PLANES).transpose(1, 2, 0)
            yield Item(names[first + row], np.ascontiguousarray(image))


def _class_names(path: Path, num_classes: int) -> tuple[str, ...]:
    names = tuple(path.read_text().split()) if path.is_file() else ()
    return names if len(names) == num_classes else tuple(str(label) for label in range(num_classes))
