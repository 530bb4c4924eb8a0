"""The health of a tokenizer's codes: are they used, do they stand for the latents, does each loss term pull."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqvae.metrics.images import CodeCounts
from vqvae.models import VQVAE, objective
from vqvae.quantizers import ProjectedQuantizer


class Health:
    """Sums over held-out batches, so that no figure depends on their size.

    Args:
        tokenizer: whose codes are measured, in eval mode.
    """

    def __init__(self, tokenizer: VQVAE) -> None:
        self.quantizer = tokenizer.quantizer
        self.counts = CodeCounts(tokenizer.num_codes)
        self.levels = [CodeCounts(tokenizer.num_codes) for _ in range(tokenizer.codes_per_position)]
        self.error = 0.0
        self.vectors = 0
        self.sum = self.squares = torch.zeros(())

    def add(self, z_e: Tensor, codes: Tensor) -> None:
        """Take a batch: z_e, float [B, D, h, w], and its codes, int64 [B, h, w, n]."""
        self.counts.add(codes)
        for level, chosen in zip(self.levels, codes.unbind(3), strict=True):
            level.add(chosen)
        quantizer = self.quantizer
        while isinstance(quantizer, ProjectedQuantizer):  # its z_q need not resemble z_e, what is inside must
            z_e, quantizer = quantizer.low(z_e), quantizer.inner
        latents, z_q = (z.permute(0, 2, 3, 1).flatten(0, 2).cpu().double() for z in (z_e, quantizer.embed(codes)))
        self.error += float((latents - z_q).square().sum())
        self.vectors += len(latents)
        self.sum = self.sum + latents.sum(0)
        self.squares = self.squares + latents.square().sum(0)

    def metrics(self) -> dict[str, float]:
        """Return perplexity, usage, dead_codes, counted (codes in all) and quantization_error.

        quantization_error is the sum of |z_e - z_q|^2 over that of |z_e - mean z_e|^2: 0 is exact, 1 no better
        than one code. It judges codes that stand for z_e (``vq``, ``ema``, ``simvq``, and stacks of them);
        where z_e is bounded or normalised first, or codes are drawn, it holds that map too. With several codes
        a position, ``usage_1`` .. ``usage_n`` and ``perplexity_1`` .. ``perplexity_n`` are of each level.
        """
        spread = float((self.squares - self.sum.square() / self.vectors).sum())
        found = {
            "perplexity": self.counts.perplexity,
            "usage": self.counts.usage,
            "dead_codes": float(self.counts.dead),
            "counted": float(self.counts.counted),
            "quantization_error": self.error / max(spread, 1e-12),
        }
        for number, level in enumerate(self.levels if len(self.levels) > 1 else [], start=1):
            found |= {f"usage_{number}": level.usage, f"perplexity_{number}": level.perplexity}
        return found


def gradient_norms(tokenizer: VQVAE, images: Tensor, *, beta: float) -> dict[str, float]:
    """Return the norms of the gradients of equation 3's terms on a batch; nothing is learned from it.

    ``gradient_reconstruction`` and ``gradient_commitment``, the latter times beta, are at the encoder's output:
    what each asks of the encoder. ``gradient_codebook`` is at the quantizer's parameters, and at the encoder's
    output too where the term (an entropy, a KL) reaches it; 0 where nothing is learned by gradient.

    Args:
        tokenizer: in eval mode.
        images: float [B, C, H, W] in [-1, 1], on its device.
        beta: the weight of the commitment term.
    """
    with torch.enable_grad():
        z_e = tokenizer.encoder(images).detach().requires_grad_()
        quantized = tokenizer.quantizer(z_e)
        loss = objective(
            images,
            tokenizer.decoder(quantized.z_q),
            quantized,
            pixel_variance=tokenizer.pixel_variance,
            beta=beta,
        )
        parameters = [p for p in _module(tokenizer).parameters() if p.requires_grad]
        return {
            "gradient_reconstruction": _norm(loss.reconstruction, [z_e]),
            "gradient_commitment": _norm(beta * loss.commitment, [z_e]),
            "gradient_codebook": _norm(loss.codebook, [z_e, *parameters]),
        }


def _module(tokenizer: VQVAE) -> nn.Module:
    assert isinstance(tokenizer.quantizer, nn.Module)
    return tokenizer.quantizer


def _norm(term: Tensor, of: Sequence[Tensor]) -> float:
    if not term.requires_grad:
        return 0.0
    found = torch.autograd.grad(term, of, retain_graph=True, materialize_grads=True)
    return sum(float(g.double().square().sum()) for g in found) ** 0.5
