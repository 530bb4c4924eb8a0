"""A split in one line of words."""

from collections.abc import Sequence

from vqvae.data.imageset import ImageSet
from vqvae.data.stream import ImageStream

_MOST_CLASSES = 8
_ASKED = 2048  # images whose pixels are looked at
_DARK = 256 // 8


def describe(images: ImageSet | ImageStream, *, look: bool = True) -> str:
    """Return one line: how many images of which size, their classes, where they come from, what is left out.

    Args:
        images: the split.
        look: whether to look at pixels, some of which a stream decodes for it, and to say what makes them hard to
            learn from.
    """
    channels, height, width = images.shape
    kind = "grey" if channels == 1 else "colour"
    line = (
        f"{images.split}: {len(images):,} {kind} images of {height}x{width}, {_classes(images)}; {images.origin}"
    )
    left_out = list(images.left_out)
    if images.bad:
        left_out.append(f"{len(images.bad):,} that cannot be decoded")
    if left_out:
        line += f"; left out: {', '.join(left_out)}"
    if images.made_grey:
        least = "at least " if isinstance(images, ImageStream) else ""
        line += f"; made grey: {least}{images.made_grey:,} in colour"
    note = _note(images) if look else None
    return f"{line}; {note}" if note else line


def are_identical(images: ImageSet | ImageStream) -> bool:
    """Return whether all images are the same image; a stream is judged by some of its images."""
    pixels = images.pixels if isinstance(images, ImageSet) else images.some(_ASKED)
    return len(pixels) > 1 and bool((pixels == pixels[:1]).all())


def _note(images: ImageSet | ImageStream) -> str | None:
    """Say what makes the images hard to learn from: they are all the same, or hardly lit."""
    some = images.some(_ASKED)
    low, high = int(some.min()), int(some.max())
    if are_identical(images):
        return "all images are the same" + (f": every pixel is {low} of 255" if low == high else "")
    if high < _DARK:
        advice = ": pass --data.range auto" if images.wide and images.pixel_range is None else ""
        return f"dark: the brightest pixel is {high} of 255{advice}"
    return None


def _classes(images: ImageSet | ImageStream) -> str:
    if images.labels is None:
        return "no classes"
    count = len(images.classes)
    return f"{count:,} class{'es' if count != 1 else ''} ({named_classes(images.classes)})"


def named_classes(classes: Sequence[object]) -> str:
    """Return the names of the first classes; "none" without any."""
    some = ", ".join(str(name) for name in classes[:_MOST_CLASSES])
    return some + (", ..." if len(classes) > _MOST_CLASSES else "") or "none"
