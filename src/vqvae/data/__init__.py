"""Images from any source, in memory or in pieces, and the order and the views in which training sees them."""

from vqvae.data.archives import Place
from vqvae.data.augment import Augmentation
from vqvae.data.decoding import quiet_pil
from vqvae.data.describe import are_identical, describe, named_classes
from vqvae.data.find import add_layout, is_data_file
from vqvae.data.imageset import BadFile, ImageSet
from vqvae.data.labels import Columns
from vqvae.data.load import LoadOptions, load, load_all, load_files, open_stream
from vqvae.data.objects import OBJECT, Objects
from vqvae.data.order import flips, rows_at_step
from vqvae.data.source import Item, Rows, Source
from vqvae.data.splits import DataSet
from vqvae.data.stream import ImageStream

Images = ImageSet | ImageStream

__all__ = [
    "OBJECT",
    "Augmentation",
    "BadFile",
    "Columns",
    "DataSet",
    "ImageSet",
    "ImageStream",
    "Images",
    "Item",
    "LoadOptions",
    "Objects",
    "Place",
    "Rows",
    "Source",
    "add_layout",
    "are_identical",
    "describe",
    "flips",
    "is_data_file",
    "load",
    "load_all",
    "load_files",
    "named_classes",
    "open_stream",
    "quiet_pil",
    "rows_at_step",
]
