"""Augmentation: the views of an image, shifted and mirrored, and the view that a step sees."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vqvae import noise
from vqvae.data.order import flips

# keys of their own for shifts and for the choice of a view, since other numbers hash the same (seed, epoch, row)
_SHIFT, _CHOICE = 0x73686966, 0x63726F70


@dataclass(frozen=True)
class Augmentation:
    """The views of every image of a data set; a view is a function of (seed, view, row).

    View 0 is the image itself. If images are mirrored, every odd view is the mirror image of the view before it.

    Attributes:
        mirrored: whether half of the views are mirrored left to right.
        crops: number of shifted views beside the image itself. A view is shifted by at most an eighth of the
            height and width; the border is filled by reflection (pad and crop, arXiv 1512.03385, section 4.2).
        seed: seed of shifts and choices.
    """

    mirrored: bool = False
    crops: int = 0
    seed: int = 0

    def __len__(self) -> int:
        return (1 + self.crops) * self._sides

    @property
    def _sides(self) -> int:
        return 2 if self.mirrored else 1

    def choose(self, rows: Tensor, epochs: Tensor) -> Tensor:
        """Return the view of each row, int64 [B]: equally likely views, a function of (seed, epoch, row) alone.

        Args:
            rows: int64 [B], from ``rows_at_step``.
            epochs: int64 [B], from ``rows_at_step``.
        """
        crop = noise.random_bits(self.seed, _CHOICE, epochs, rows) % (1 + self.crops)
        return crop * self._sides + (flips(rows, epochs, seed=self.seed) if self.mirrored else 0)

    def of(self, pixels: Tensor, rows: Tensor, views: Tensor) -> Tensor:
        """Return views of images, of the shape and type of the pixels.

        Args:
            pixels: [B, C, H, W], of any type.
            rows: int64 [B], the rows of the images in the data set.
            views: int64 [B], the views, in 0 .. len - 1.
        """
        if self.crops:
            down, right = (self._shifts(rows, views, axis, pixels.shape[axis]) for axis in (2, 3))
            images = torch.arange(len(pixels))[:, None, None]
            pixels = pixels[images, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)
        if self.mirrored:
            pixels = torch.where((views % 2 == 1)[:, None, None, None], pixels.flip(-1), pixels)
        return pixels

    def _shifts(self, rows: Tensor, views: Tensor, axis: int, side: int) -> Tensor:
        """Return the source line of each line of a shifted image, int64 [B, side]."""
        most = side // 8
        shift = noise.random_bits(self.seed, _SHIFT, views, rows, axis) % (2 * most + 1) - most
        at = torch.arange(side) + torch.where(views < self._sides, 0, shift)[:, None]
        return (side - 1) - ((side - 1) - at.abs()).abs()  # reflected at both edges
