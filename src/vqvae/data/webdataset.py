"""Tar files in WebDataset's layout: ``key.jpg`` and perhaps ``key.cls`` side by side, a sample for each key.

Uncompressed tar files can be read anywhere, so a sample is read by its place, which one pass over the headers
finds (https://github.com/webdataset/webdataset, "The WebDataset Format"). Classes are the values of the ``.cls``
files, else of a key of the ``.json`` files by the rule of ``vqvae.data.labels``, else the folders in the tar file.
"""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vqvae.data.archives import Place, damaged, left_beside, one_set, pass_folder
from vqvae.data.labels import BY_RULE, Columns
from vqvae.data.samples import Piece, Sample, image_of, samples_of
from vqvae.data.source import Item, Rows, Source, by_file, lines_of_files, printable
from vqvae.data.splits import DataSet, beside_train, files_by_split
from vqvae.data.tar_labels import Labels, labels_of
from vqvae.errors import UserError

_UNPACK = {".gz": "gunzip", ".tgz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd"}
_MAGIC = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


@dataclass(frozen=True)
class Shard:
    """One tar file.

    Attributes:
        name: relative to the folder.
        path: the file.
        samples: those with an image, in order.
        images: where the image of each sample lies.
        left_out: in words, the images of each sample that are not read.
    """

    name: str
    path: Path
    samples: list[Sample]
    images: list[Piece]
    left_out: tuple[str, ...]


def find_tars(place: Place, columns: Columns = BY_RULE) -> DataSet | None:
    """Return the splits of the tar files in a folder and below, or of one tar file; None without any.

    Raises:
        UserError: for compressed tar files where there is nothing else, and for several data sets in one folder.
    """
    path, folder, names = place.path, place.folder, place.files(lambda name: name.lower().endswith(".tar"))
    if not names:
        _refuse_compressed(place)
        return None
    found = one_set(names, str(path), partial(pass_folder, folder, names))
    left_out = found.left_out + left_beside(place, names) + beside_train(found.names)
    splits = files_by_split(found.names)
    opened = {
        split: partial(_open, files, folder, columns, where=str(path), left_out=left_out)
        for split, files in splits.items()
    }
    return DataSet(str(path), opened, "tar files", "name one train.tar", takes_label=True, takes_image=True)


def _refuse_compressed(place: Place) -> None:
    names = place.files(_is_compressed)
    if not names or place.holds_images or place.files(lambda name: name.endswith((".parquet", ".npz", ".npy"))):
        return
    tool = _UNPACK[Path(names[0]).suffix.lower()]
    raise UserError(
        f"{place.folder / names[0]} is compressed: unpack it and pass the folder that comes out. WebDataset "
        f"samples are read from uncompressed tar files: for them, run {tool} on it and pass the same folder"
    )


def _is_compressed(name: str) -> bool:
    lower = name.lower()
    return lower.endswith(".tgz") or lower.endswith(tuple(f".tar{suffix}" for suffix in _UNPACK))


def _open(
    names: Sequence[str], folder: Path, columns: Columns, *, where: str, left_out: tuple[str, ...]
) -> Source:
    """Return the samples of some tar files.

    Raises:
        UserError: when a file cannot be read, holds no image, or has labels for some samples only.
    """
    shards = [_open_shard(name, folder / name, columns.image) for name in names]
    found: Labels = labels_of([(shard.name, shard.path, shard.samples) for shard in shards], columns.label, where)
    return Source(
        count=sum(len(shard.samples) for shard in shards),
        items=partial(_items, shards),
        names=lambda: (_name(shard, row) for shard in shards for row in range(len(shard.samples))),
        files=partial(lines_of_files, [(shard.path, shard.name, len(shard.samples)) for shard in shards]),
        origin=f"the samples of {names[0]}"
        + (f" and {len(names) - 1} more files" if names[1:] else "")
        + found.origin,
        labels=found.labels,
        classes=found.classes,
        left_out=(
            *dict.fromkeys(words for shard in shards for words in shard.left_out),
            *found.left_out,
            *left_out,
        ),
    )


def _items(shards: Sequence[Shard], rows: Rows) -> Iterator[Item]:
    for index, _, within in by_file(rows, [len(shard.samples) for shard in shards]):
        shard = shards[index]
        with shard.path.open("rb") as file:
            for row in within.tolist():
                yield Item(_name(shard, row), shard.images[row].read(file))


def _name(shard: Shard, row: int) -> str:
    return printable(f"{shard.name} {shard.samples[row].key}")


def _open_shard(name: str, path: Path, asked: str | None) -> Shard:
    try:
        with tarfile.open(path, "r:") as tar:
            files = [
                (member.name, Piece(member.offset_data, member.size))
                for member in tar
                if member.isreg() and not member.issparse()
            ]
    except (tarfile.TarError, OSError) as error:
        raise damaged(path, name, error, _advice(path)) from error
    samples, left_out = samples_of(files, asked, f"{name} at {path}")
    if not samples:
        inner = next((inner for inner, _ in files if inner.lower().endswith((".tar", ".tgz", ".tar.gz"))), None)
        if inner is not None:
            raise UserError(f"{name} at {path} holds other tar files, such as {printable(inner)}: unpack it first")
        raise UserError(f"{name} at {path} has no image: a sample is KEY.jpg, and KEY.cls for its class")
    return Shard(name, path, samples, [image_of(sample) for sample in samples], left_out)


def _advice(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(6)
    except OSError:
        head = b""
    tool = next((tool for magic, tool in _MAGIC.items() if head.startswith(magic)), None)
    if tool is not None:
        return (
            f"it is compressed, and images are read by their place: run {tool} on it, so that it is uncompressed"
        )
    return "write it again, and uncompressed"
