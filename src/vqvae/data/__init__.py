"""Images from any source, in memory or in pieces, and the order and the views in which training sees them."""

from vqvae.data.decoding import quiet_pil
from vqvae.data.imageset import BadFile, ImageSet
from vqvae.data.load import load, open_stream
from vqvae.data.order import flips, rows_at_step
from vqvae.data.stream import ImageStream
from vqvae.data.views import Views

Images = ImageSet | ImageStream

__all__ = [
    "BadFile",
    "ImageSet",
    "ImageStream",
    "Images",
    "Views",
    "flips",
    "load",
    "open_stream",
    "quiet_pil",
    "rows_at_step",
]
