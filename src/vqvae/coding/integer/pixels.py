"""From codes to the parameters of the likelihood, with whole numbers."""

import torch
from torch import Tensor, nn

from vqvae.coding.integer.layers import integer_network, rounded
from vqvae.coding.integer.likelihood import LIKELIHOODS
from vqvae.errors import UserError
from vqvae.models import VQVAE
from vqvae.quantizers import FSQ, EMAQuantizer, Quantizer, ResidualQuantizer, VectorQuantizer


class IntegerPixels(nn.Module):
    """The decoder and the likelihood of a tokenizer, with whole numbers.

    Args:
        tokenizer: the tokenizer, on the CPU.

    Raises:
        UserError: for a quantizer, a network or a likelihood without an integer form, and for a decoder that does
            more than its layers say.
    """

    def __init__(self, tokenizer: VQVAE) -> None:
        super().__init__()
        if not _is_a_lookup(tokenizer.quantizer):
            raise UserError(f"the quantizer {type(tokenizer.quantizer).__name__} has no integer form")
        self.quantizer = tokenizer.quantizer
        self.decoder = integer_network(tokenizer.decoder)
        self.likelihood = LIKELIHOODS.make(tokenizer.likelihood)
        self.parameters_of(torch.zeros(1, 1, 1, tokenizer.codes_per_position, dtype=torch.int64))

    @torch.no_grad()
    def parameters_of(self, codes: Tensor) -> Tensor:
        """Return the parameters of the likelihood, float64 [B, out_channels, H, W], in units of 1 / ONE.

        Raises:
            UserError: when the decoder does not give whole numbers, so that it does more than its layers say.
        """
        found: Tensor = self.decoder(rounded(self.quantizer.embed(codes)).contiguous())
        if not torch.equal(found, found.round()):
            raise UserError("the decoder has no integer form")
        return found


def _is_a_lookup(quantizer: Quantizer) -> bool:
    """Say whether codes become vectors by look-ups and sums alone, which are exact on every machine."""
    if isinstance(quantizer, ResidualQuantizer):
        return all(_is_a_lookup(layer) for layer in quantizer.layers)
    return type(quantizer) in (VectorQuantizer, EMAQuantizer, FSQ)
