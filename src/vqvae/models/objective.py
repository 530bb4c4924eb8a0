"""The training objective (arXiv 1711.00937, equation 3), and the constant KL that it omits."""

from collections.abc import Sequence
from math import log2, prod
from typing import NamedTuple

from torch import Tensor

from vqvae.likelihoods import GaussianLikelihood, Likelihood
from vqvae.tensors import CodeSpec, Quantized


class Objective(NamedTuple):
    """The objective and its three terms, scalars; ``commitment`` is not multiplied by beta."""

    total: Tensor
    reconstruction: Tensor
    codebook: Tensor
    commitment: Tensor


def objective(
    images: Tensor,
    parameters: Tensor,
    quantized: Quantized,
    *,
    likelihood: Likelihood | None = None,
    pixel_variance: Tensor | float,
    beta: float,
) -> Objective:
    """Return equation 3 for a batch.

    The paper writes sums of squares: ``-log p(x | z_q) + |sg[z_e] - e|^2 + beta |z_e - sg[e]|^2``. Here each term
    is a mean over its elements. The default likelihood, a Gaussian, divides the squared error by the variance of
    the training images, so that beta and the learning rate have the same effect at any image size and contrast.
    For images of C*H*W elements, ``mean / variance`` is, up to a constant, the Gaussian's ``|x - x'|^2 / (2
    sigma^2)`` with ``sigma^2 = variance * C*H*W / 2``.

    Args:
        images: float [B, C, H, W] in [-1, 1].
        parameters: the decoder's output; for the default likelihood the reconstruction, float [B, C, H, W].
        quantized: the quantizer's result.
        likelihood: p(x | z_q), whose ``loss`` is the reconstruction term; by default, a Gaussian.
        pixel_variance: the variance of the training images.
        beta: the weight of the commitment term, 0.25 in the paper.
    """
    likelihood = likelihood or GaussianLikelihood(images.shape[1])
    reconstruction = likelihood.loss(parameters, images, pixel_variance=pixel_variance)
    total = reconstruction + quantized.codebook_loss + beta * quantized.commitment_loss
    return Objective(total, reconstruction, quantized.codebook_loss, quantized.commitment_loss)


def uniform_prior_bits(
    spec: CodeSpec, image_shape: tuple[int, ...], code_sizes: Sequence[int] | None = None
) -> float:
    """Return the KL to the uniform prior in bits per dimension: n*h*w*log2 K / (C*H*W).

    The posterior is one-hot, so its KL to a uniform prior over K codes is log K for each of the n*h*w codes
    (arXiv 1711.00937, section 3.1). This constant does not depend on the parameters, and the objective omits it.

    Args:
        spec: the spec of the codes.
        image_shape: (C, H, W) of the images.
        code_sizes: how many codes each of the n codes of a position chooses from; by default, K each.
    """
    sizes = code_sizes or (spec.num_codes,) * spec.codes_per_position
    return prod(spec.grid) * sum(map(log2, sizes)) / prod(image_shape)
