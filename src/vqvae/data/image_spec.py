"""What the images of a data set should become: their size, channels and range of values."""

from dataclasses import dataclass
from typing import Literal

from vqvae.data.decoding import PixelRange
from vqvae.data.resize import Size

Fit = Literal["strict", "crop"]


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What the images should become; the fields are ``load``'s options of the same names.

    Attributes:
        all_grey: whether ``channels`` is 1 because every image looked at is grey, so that a colour image is
            refused.
        column: the column of images that was chosen by name, or None.
        exact: whether an image is refused whose pixels would not be exactly those that its file stores.
    """

    size: Size | None
    fit: Fit
    channels: int | None
    multiple_of: int
    strict: bool
    pixel_range: PixelRange | Literal["auto", "full"] = "full"
    all_grey: bool = False
    column: str | None = None
    exact: bool = False

    @property
    def levels(self) -> PixelRange | None:
        """The values that become 0 and 255 for pixels of more than 8 bits; None for all that 16 bits hold."""
        return None if isinstance(self.pixel_range, str) else self.pixel_range
