"""Quantizers: one file a paper, one small protocol."""

from vqvae.quantizers.ema import EMAQuantizer as EMAQuantizer
from vqvae.quantizers.nearest import nearest_code as nearest_code
from vqvae.quantizers.protocol import Quantizer as Quantizer
from vqvae.quantizers.vector import VectorQuantizer as VectorQuantizer
