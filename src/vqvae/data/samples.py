"""From the files in a tar file to samples: which files belong together, and which of them is the image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from vqvae.data.labels import column_names, no_column
from vqvae.data.listing import IMAGE_SUFFIXES
from vqvae.data.source import printable
from vqvae.errors import UserError

_FIELDS = ("", "image", "img", "input", "picture")  # KEY.jpg before KEY.image.jpg


class Piece(NamedTuple):
    """Where a file's content lies in its tar file, in bytes."""

    offset: int
    size: int

    def read(self, file: BinaryIO) -> bytes:
        """Return the content, shorter where the tar file is cut short."""
        file.seek(self.offset)
        return file.read(self.size)


@dataclass
class Sample:
    """The files of one key.

    Attributes:
        key: with its folder.
        files: by extension, in small letters: ``jpg``, ``image.jpg``, ``cls``.
        image: the extension of the image.
    """

    key: str
    files: dict[str, Piece]
    image: str = ""


def samples_of(
    files: Iterable[tuple[str, Piece]], asked: str | None, where: str
) -> tuple[list[Sample], tuple[str, ...]]:
    """Return the samples that have an image, in the order of the files, and in words what is left out.

    A key is a file's name up to its first point. Where the names of images then differ in what follows the point
    more than in their keys, as in ``img v1.001.jpg``, a key is the name up to its last point.

    Args:
        files: names and places.
        asked: which of a sample's images is the image: ``seg`` or ``seg.png`` for ``KEY.seg.png``.
        where: the tar file, for errors.

    Raises:
        UserError: where a sample has several images and none is asked for.
    """
    samples = _grouped([(name.removeprefix("./"), piece) for name, piece in files if _is_visible(name)])
    fields = list(dict.fromkeys(_field(extension) for sample in samples for extension in _images(sample)))
    if not fields:
        return [], ()
    chosen = _chosen(fields, samples, asked, where)
    kept = list[Sample]()
    for sample in samples:
        found = [extension for extension in _images(sample) if chosen in (extension, _field(extension))]
        if len(found) > 1:
            raise UserError(
                f"{where}: {printable(sample.key)} has several images ({', '.join(found)}): pass --data.image "
                f"{found[0]}, or keep one of them"
            )
        if found:
            sample.image = found[0]
            kept.append(sample)
    left_out = list[str]()
    others = [field for field in fields if field not in (chosen, _field(chosen))]
    if others:
        left_out.append(f"the images {column_names(f'KEY.{field}' for field in others)} (--data.image takes them)")
    if len(kept) < len(samples):
        left_out.append(f"{len(samples) - len(kept):,} samples without an image")
    return kept, tuple(left_out)


def image_of(sample: Sample) -> Piece:
    """Return where the image lies."""
    return sample.files[sample.image]


def _grouped(files: Sequence[tuple[str, Piece]]) -> list[Sample]:
    cut = [_at_first_point(name) for name, _ in files]
    images = [(key, extension) for key, extension in cut if _is_image(extension)]
    if len({extension for _, extension in images}) > len({key for key, _ in images}):
        cut = [_at_last_point(name) for name, _ in files]
    samples = dict[str, Sample]()
    for (key, extension), (_, piece) in zip(cut, files, strict=True):
        samples.setdefault(key, Sample(key, {})).files[extension] = piece
    return list(samples.values())


def _chosen(fields: list[str], samples: Sequence[Sample], asked: str | None, where: str) -> str:
    if asked is not None:
        extensions = {extension for sample in samples for extension in _images(sample)}
        if asked not in fields and asked not in extensions:
            raise no_column(where, asked, [*filter(None, fields), *sorted(extensions)])
        return asked
    if len(fields) == 1:
        return fields[0]
    chosen = next((field for field in _FIELDS if field in fields), None)
    if chosen is None:
        raise UserError(
            f"{where}: a sample has several images ({column_names(f'KEY.{field}' for field in fields)}): pass "
            f"--data.image NAME, such as {fields[0]}"
        )
    return chosen


def _images(sample: Sample) -> list[str]:
    return [extension for extension in sample.files if _is_image(extension)]


def _is_image(extension: str) -> bool:
    return f".{extension}".endswith(IMAGE_SUFFIXES)


def _field(extension: str) -> str:
    """Return what stands between the key and the suffix: nothing of ``jpg``, "image" of ``image.jpg``."""
    return extension.rpartition(".")[0]


def _is_visible(name: str) -> bool:
    parts = name.split("/")
    return not parts[-1].startswith(".") and "__MACOSX" not in parts


def _at_first_point(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    key, _, extension = file.partition(".")
    return folder + slash + key, extension.lower()


def _at_last_point(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    key, point, extension = file.rpartition(".")
    return (folder + slash + key, extension.lower()) if point else (name, "")
