"""Bring all images to one size: check that they have it, or scale and crop them."""

from collections import Counter
from dataclasses import dataclass

from PIL import Image

from vqvae.errors import UserError

Size = tuple[int, int]


@dataclass(frozen=True)
class Strict:
    """Every image must have this size already.

    Attributes:
        size: (height, width).
        origin: the name of the image that set the size; None if the user asked for the size.
    """

    size: Size
    origin: str | None

    def apply(self, image: Image.Image, name: str) -> Image.Image:
        """Return the image; raise UserError if it has another size."""
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
    """Every image is scaled and cropped to this size around its centre.

    Attributes:
        size: (height, width).
        slack: an image that exceeds the size by less than this number of pixels in height and width is cropped
            without resampling.
    """

    size: Size
    slack: int

    def apply(self, image: Image.Image, name: str) -> Image.Image:
        """Return the image, scaled with Lanczos until it covers the size, and cropped to its centre."""
        height, width = self.size
        if 0 <= image.height - height < self.slack and 0 <= image.width - width < self.slack:
            left, top = (image.width - width) // 2, (image.height - height) // 2
            return image.crop((left, top, left + width, top + height))
        # crop and scale in one step: there is no intermediate image, and pixels are rounded once
        scale = max(height / image.height, width / image.width)
        left, top = (image.width - width / scale) / 2, (image.height - height / scale) / 2
        box = (max(left, 0.0), max(top, 0.0), image.width - max(left, 0.0), image.height - max(top, 0.0))
        return image.resize((width, height), Image.Resampling.LANCZOS, box=box)


def spell(size: Size) -> str:
    """Write a size as HEIGHTxWIDTH."""
    return f"{size[0]}x{size[1]}"


def round_down(size: Size, multiple_of: int) -> Size:
    """Return the largest size, no larger than this one, whose sides are multiples of ``multiple_of``."""
    return size[0] - size[0] % multiple_of, size[1] - size[1] % multiple_of


def most_common(sizes: Counter[Size]) -> Size:
    """Return the most common size; of equally common sizes, the one with the smallest area."""
    return min(sizes, key=lambda size: (-sizes[size], size[0] * size[1], size))
