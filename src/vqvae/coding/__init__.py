"""Compressed files: codes and pixels to bytes by a range coder, and the file that holds them."""

from vqvae.coding.blocks import BlockCoder as BlockCoder
from vqvae.coding.codes import code_bits as code_bits
from vqvae.coding.codes import code_codes as code_codes
from vqvae.coding.container import Block as Block
from vqvae.coding.container import ContainerReader as ContainerReader
from vqvae.coding.container import Header as Header
from vqvae.coding.container import is_name as is_name
from vqvae.coding.container import pack as pack
from vqvae.coding.pixels import code_pixels as code_pixels
from vqvae.coding.pixels import pixel_bits as pixel_bits
from vqvae.coding.range_coder import RangeReader as RangeReader
from vqvae.coding.range_coder import RangeWriter as RangeWriter
from vqvae.coding.search import search_codes as search_codes
