"""The Charbonnier loss: an absolute error that is smooth at zero."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vqvae.component import Positive
from vqvae.losses.base import Loss, LossConfig, mean


class Charbonnier(Loss):
    """The Charbonnier loss, ``mean sqrt((x - x')^2 + epsilon^2) - epsilon``, of images in [-1, 1].

    Errors far above epsilon count as in ``L1``. Errors far below epsilon count as their square, so the gradient
    has no jump at zero. Charbonnier et al., ICIP 1994; used for images in arXiv 1710.01992.

    Args:
        epsilon: size of the error below which the loss is quadratic and above which it is linear; one of 256 grey
            levels is 0.0078.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LossConfig):
        """Settings of the class."""

        kind: Literal["charbonnier"] = "charbonnier"
        epsilon: Positive = 1e-2

        def build(self, *, image_shape: tuple[int, int, int], seed: int = 0) -> "Charbonnier":
            """Make the loss."""
            return Charbonnier(self.epsilon)

    def __init__(self, epsilon: float = Config.epsilon) -> None:
        self.Config.check(epsilon=epsilon)
        super().__init__()
        self.epsilon = epsilon

    def forward(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the mean over all elements."""
        return mean(((images - reconstruction).square() + self.epsilon**2).sqrt() - self.epsilon)
