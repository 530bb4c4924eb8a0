"""One size for all images: either they share it already, or each is scaled and cropped to it."""

from collections import Counter
from dataclasses import dataclass

from PIL import Image

from vqvae.errors import UserError

Size = tuple[int, int]


@dataclass(frozen=True)
class Strict:
    """Every image must have this size as it is.

    Attributes:
        size: (height, width).
        origin: who set the size: an image's name, or None where the user asked for it.
    """

    size: Size
    origin: str | None

    def apply(self, image: Image.Image, name: str) -> Image.Image:
        """Return the image; raise UserError where its size is another."""
        size = (image.height, image.width)
        if size != self.size:
            wanted = spell(self.size)
            rule = f"{wanted} of {self.origin}" if self.origin else f"the {wanted} that was asked for"
            raise UserError(
                f"image {spell(size)} in {name} differs from {rule}: pass --data.size {wanted} --data.fit crop"
            )
        return image


@dataclass(frozen=True)
class Crop:
    """Every image is brought to this size, its centre kept.

    Attributes:
        size: (height, width).
        slack: an image at least as large as the target, and larger by less than this on either side, loses a few
            border pixels and is not resampled.
    """

    size: Size
    slack: int

    def apply(self, image: Image.Image, name: str) -> Image.Image:
        """Return the centre of the image at the target size, scaled with Lanczos so that it covers the target."""
        height, width = self.size
        if 0 <= image.height - height < self.slack and 0 <= image.width - width < self.slack:
            left, top = (image.width - width) // 2, (image.height - height) // 2
            return image.crop((left, top, left + width, top + height))
        # The centre with the target's aspect, resampled in one step: no intermediate image, no second rounding.
        scale = max(height / image.height, width / image.width)
        left, top = (image.width - width / scale) / 2, (image.height - height / scale) / 2
        box = (max(left, 0.0), max(top, 0.0), image.width - max(left, 0.0), image.height - max(top, 0.0))
        return image.resize((width, height), Image.Resampling.LANCZOS, box=box)


def spell(size: Size) -> str:
    """Write a size as HEIGHTxWIDTH."""
    return f"{size[0]}x{size[1]}"


def round_down(size: Size, multiple_of: int) -> Size:
    """Return the largest size within this one whose sides are multiples."""
    return size[0] - size[0] % multiple_of, size[1] - size[1] % multiple_of


def most_common(sizes: Counter[Size]) -> Size:
    """Return the size that most images have; among equals the one with the smallest area."""
    return min(sizes, key=lambda size: (-sizes[size], size[0] * size[1], size))
