"""Which view of an image a step sees: itself or shifted, as it is or mirrored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vqvae import noise
from vqvae.data.order import flips

# Keep shifts, and the choice of a view, apart from what else hashes (seed, row) and (seed, epoch, row).
_SHIFT, _CHOICE = 0x73686966, 0x63726F70


@dataclass(frozen=True)
class Augmentation:
    """The views of every image of a set, all of them functions of (seed, view, row).

    View 0 is the image itself. Where images are mirrored, every odd view is the mirror of a view before it.

    Attributes:
        mirrored: whether half of the views are flipped left to right.
        crops: shifted views beside the image itself: each moved by up to an eighth of its height and width, what
            it leaves bare filled by reflection (pad and crop, arXiv 1512.03385, section 4.2, with reflection).
        seed: of shifts and choices.
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
        """Return the view that each row is seen in, int64 [B], each as likely: of (seed, epoch, row) alone.

        Args:
            rows: int64 [B], from ``rows_at_step``.
            epochs: int64 [B], from ``rows_at_step``.
        """
        crop = noise.random_bits(self.seed, _CHOICE, epochs, rows) % (1 + self.crops)
        return crop * self._sides + (flips(rows, epochs, seed=self.seed) if self.mirrored else 0)

    def of(self, pixels: Tensor, rows: Tensor, views: Tensor) -> Tensor:
        """Return the views of images, of the shape and type of their pixels.

        Args:
            pixels: [B, C, H, W], any type.
            rows: int64 [B], which images of the set these are.
            views: int64 [B], each in 0 .. len - 1.
        """
        if self.crops:
            down, right = (self._shifts(rows, views, axis, pixels.shape[axis]) for axis in (2, 3))
            images = torch.arange(len(pixels))[:, None, None]
            pixels = pixels[images, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)
        if self.mirrored:
            pixels = torch.where((views % 2 == 1)[:, None, None, None], pixels.flip(-1), pixels)
        return pixels

    def _shifts(self, rows: Tensor, views: Tensor, axis: int, side: int) -> Tensor:
        """Return where each line of a shifted image comes from, int64 [B, side]."""
        most = side // 8
        shift = noise.random_bits(self.seed, _SHIFT, views, rows, axis) % (2 * most + 1) - most
        at = torch.arange(side) + torch.where(views < self._sides, 0, shift)[:, None]
        return (side - 1) - ((side - 1) - at.abs()).abs()  # reflected at both edges
