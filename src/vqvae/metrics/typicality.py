"""How usual an image is to a prior: where its nats lie among those of held-out images, on both sides.

A likelihood alone finds no anomalies. What is simple is likely whether or not it resembles the training set: a
constant image costs fewer nats than a photograph, and a model of CIFAR-10 gives SVHN the higher likelihood
(arXiv 1810.09136). Nearly all of a distribution's mass lies where -log p(x) is close to its entropy, so an image
is unusual when it costs much more than that, or much less.
"""

import torch
from torch import Tensor


def typicality(nats: Tensor, validation: Tensor) -> Tensor:
    """Return the share of held-out images at least as far from the entropy as each image, in (0, 1].

    The test of arXiv 1906.02994 for one image: its statistic is ``|-log p(x) - H|``, with the entropy H estimated
    by the mean of held-out nats. Its rank among the held-out images' own statistics is a p-value: of images drawn
    as the held-out ones are, a share a gets a value of a or less (up to 1 / (M + 1)), so below 0.05 is one of the
    5 % most unusual, whether too costly or too cheap.

    Args:
        nats: float [B], -log p of the images' codes.
        validation: float [M], -log p of the codes of images that the prior was not trained on.

    Returns:
        float64 [B], ``(1 + #{m: |validation_m - H| >= |nats - H|}) / (1 + M)``.
    """
    entropy = validation.double().mean()
    usual = (validation.double() - entropy).abs().sort().values
    distance = (nats.double() - entropy).abs()
    nearer = torch.searchsorted(usual, distance)  # held-out images strictly nearer to the entropy
    return (1 + len(usual) - nearer) / (1.0 + len(usual))


def code_bits(code_nats: Tensor) -> Tensor:
    """Return the bits of each position, float [B, h, w], of nats of each code, [B, h, w, n].

    The heat map of arXiv 2012.06765: what the prior did not expect stands out where it is.
    """
    return code_nats.sum(3) / torch.log(torch.tensor(2.0, dtype=code_nats.dtype, device=code_nats.device))
