"""The norms of the gradients of the objective's terms."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vqvae.models import VQVAE, objective


def gradient_norms(tokenizer: VQVAE, images: Tensor, *, beta: float) -> dict[str, float]:
    """Return the norms of the gradients of equation 3's terms on a batch; the model does not change.

    ``gradient_reconstruction`` and ``gradient_commitment`` (multiplied by beta) are taken at the encoder's output.
    ``gradient_codebook`` is taken at the quantizer's parameters and, if the term reaches it (an entropy, a KL), at
    the encoder's output. It is 0 if the quantizer learns nothing by gradient.

    Args:
        tokenizer: the tokenizer, in eval mode.
        images: float [B, C, H, W] in [-1, 1], on the tokenizer's device.
        beta: the weight of the commitment term.
    """
    with torch.enable_grad():
        z_e = tokenizer.encoder(images).detach().requires_grad_()
        quantized = tokenizer.quantizer(z_e)
        loss = objective(
            images,
            tokenizer.decoder(quantized.z_q),
            quantized,
            likelihood=tokenizer.likelihood,
            pixel_variance=tokenizer.pixel_variance,
            beta=beta,
        )
        quantizer = cast(nn.Module, tokenizer.quantizer)
        parameters = [p for p in quantizer.parameters() if p.requires_grad]
        return {
            "gradient_reconstruction": _norm(loss.reconstruction, [z_e]),
            "gradient_commitment": _norm(beta * loss.commitment, [z_e]),
            "gradient_codebook": _norm(loss.codebook, [z_e, *parameters]),
        }


def _norm(term: Tensor, of: Sequence[Tensor]) -> float:
    if not term.requires_grad:
        return 0.0
    found = torch.autograd.grad(term, of, retain_graph=True, materialize_grads=True)
    return sum(float(g.double().square().sum()) for g in found) ** 0.5
