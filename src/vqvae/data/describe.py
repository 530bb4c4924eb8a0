"""A split in one line of words."""

from vqvae.data.imageset import ImageSet
from vqvae.data.stream import ImageStream

_MOST_CLASSES = 8


def describe(images: ImageSet | ImageStream) -> str:
    """Return one line: how many images of which size, their classes, where they come from, what is left out."""
    channels, height, width = images.shape
    kind = "grey" if channels == 1 else "colour"
    line = (
        f"{images.split}: {len(images):,} {kind} images of {height}x{width}, {_classes(images)}; {images.origin}"
    )
    left_out = list(images.left_out)
    if images.bad:
        left_out.append(f"{len(images.bad):,} that cannot be decoded")
    return f"{line}; left out: {', '.join(left_out)}" if left_out else line


def _classes(images: ImageSet | ImageStream) -> str:
    if images.labels is None:
        return "no classes"
    names = images.classes
    some = ", ".join(names[:_MOST_CLASSES]) + (", ..." if len(names) > _MOST_CLASSES else "")
    return f"{len(names)} class{'es' if len(names) != 1 else ''} ({some})"
