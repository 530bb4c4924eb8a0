"""The distribution function of a categorical distribution, with whole numbers."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from vqvae.coding.integer.likelihood import LIKELIHOODS, IntegerLikelihood
from vqvae.coding.integer.tables import MASS, exp_of_difference
from vqvae.likelihoods import CategoricalLikelihood
from vqvae.likelihoods.categorical import LEVELS


@LIKELIHOODS.of(CategoricalLikelihood)
class IntegerCategorical(IntegerLikelihood):
    """A probability for each of the 256 levels, with whole numbers.

    Args:
        likelihood: the likelihood in floating point.
    """

    def __init__(self, likelihood: CategoricalLikelihood) -> None:
        self.channels = likelihood.channels

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p(value < v), as ``IntegerLikelihood.cumulative``."""
        logits = parameters.unflatten(1, (self.channels, LEVELS))[:, earlier.shape[1]]
        masses = F.pad(exp_of_difference(logits, 1).cumsum(1), (0, 0, 0, 0, 1, 0))
        below = masses * MASS // masses[:, -1:]  # at most 2^32 * 2^24
        return lambda values: below.gather(1, values[:, None])[:, 0].double() / MASS
