"""Typicality: how usual the likelihood of an image is among the likelihoods of held-out images.

The likelihood alone does not find anomalies. A simple image has a high likelihood even if it does not resemble the
training images: a constant image costs fewer nats than a photograph, and a model of CIFAR-10 gives SVHN a higher
likelihood than CIFAR-10 (arXiv 1810.09136). Nearly all the mass of a distribution lies where -log p(x) is close to
its entropy. So an image is unusual if its -log p(x) is much higher or much lower than the entropy.
"""

import torch
from torch import Tensor


def typicality(nats: Tensor, validation: Tensor) -> Tensor:
    """Return the fraction of held-out images that are at least as far from the entropy as each image, in (0, 1].

    This is the test of arXiv 1906.02994 for a single image. The statistic is ``|-log p(x) - H|``. The entropy H is
    estimated by the mean nats of M held-out images. The result is a p-value: for images from the distribution of
    the held-out images, it is at most a with probability a, up to 1 / (M + 1). So a value below 0.05 marks the 5 %
    most unusual images, with too high or too low a likelihood.

    Args:
        nats: float [B], -log p of the codes of each image.
        validation: float [M], -log p of the codes of held-out images, on which the prior was not trained.

    Returns:
        float64 [B], ``(1 + #{m: |validation_m - H| >= |nats - H|}) / (1 + M)``.
    """
    entropy = validation.double().mean()
    usual = (validation.double() - entropy).abs().sort().values
    distance = (nats.double() - entropy).abs()
    nearer = torch.searchsorted(usual, distance)  # number of held-out images that are nearer to the entropy
    return (1 + len(usual) - nearer) / (1.0 + len(usual))


def code_bits(code_nats: Tensor) -> Tensor:
    """Return the bits of each position, float [B, h, w], given the nats of each code, [B, h, w, n].

    This is the heat map of arXiv 2012.06765: the parts of an image that the prior did not expect have many bits.
    """
    return code_nats.sum(3) / torch.log(torch.tensor(2.0, dtype=code_nats.dtype, device=code_nats.device))
