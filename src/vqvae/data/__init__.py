"""Images in memory, from any source, and the order and the views in which training sees them."""

from vqvae.data.imageset import BadFile, ImageSet
from vqvae.data.load import load
from vqvae.data.order import flips, rows_at_step
from vqvae.data.views import Views

__all__ = ["BadFile", "ImageSet", "Views", "flips", "load", "rows_at_step"]
