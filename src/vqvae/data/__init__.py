"""Images in memory, from any source, and the order in which training sees them."""

from vqvae.data.imageset import BadFile, ImageSet
from vqvae.data.load import load
from vqvae.data.order import flips, rows_at_step

__all__ = ["BadFile", "ImageSet", "flips", "load", "rows_at_step"]
