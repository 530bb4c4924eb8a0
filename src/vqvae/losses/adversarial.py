"""The adversarial term of VQGAN: a patch discriminator with the hinge loss (arXiv 2012.09841, section 3.1)."""

from dataclasses import dataclass
from math import gcd
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Count, NotNegative, Positive
from vqvae.distributed import sum_over_ranks
from vqvae.errors import UserError
from vqvae.losses.base import Loss, LossConfig, mean

_SMALLEST_NORM = 1e-6  # delta of arXiv 2012.09841, equation 7
_GROUPS = 8
_WIDEST = 8  # times the width of the first layer, as in arXiv 1611.07004
_DECAY = 0.99  # of the averages of LeCam, per optimizer step


class Adversarial(Loss):
    """A discriminator D tells patches of images from patches of reconstructions; the term is ``-mean D(x')``.

    D is trained with the hinge loss, ``mean max(0, 1 - D(x)) + mean max(0, 1 + D(x'))`` (arXiv 1705.02894). The
    squared error blurs details that the codes do not determine. This term makes such details sharp; PSNR falls.

    Training logs ``adversarial_accuracy``, the fraction of patches that D classifies correctly: 0.5 is guessing, 1
    is a discriminator that has won. With an adaptive weight, training also logs the factor,
    ``adversarial_factor``.

    Args:
        channels: number of channels C of the images.
        width: number of channels of the discriminator's first layer.
        layers: number of strided convolutions. With 1, 2 or 3, D judges patches of 16, 34 or 70 pixels on a side.
        learning_rate: learning rate of the discriminator, as a multiple of ``training.learning_rate``.
        adaptive: whether the term's weight is multiplied by a factor that makes its gradient at the decoder's last
            layer as large as the gradient of all other terms together (arXiv 2012.09841, equation 7).
        adaptive_limit: largest factor of an adaptive weight.
        lecam: weight of the LeCam regularisation of the discriminator (arXiv 2104.03310, equation 3). It pulls D's
            answers for images towards its average answer for reconstructions and vice versa, so that D does not
            win easily. 0 means none; 0.001 to 0.1 are usual.
    """

    betas = (0.5, 0.9)

    @dataclass(frozen=True, kw_only=True)
    class Config(LossConfig):
        """Settings of the class."""

        kind: Literal["adversarial"] = "adversarial"
        width: Count = 32
        layers: Count = 2
        learning_rate: Positive = 0.1
        adaptive: bool = True
        adaptive_limit: Positive = 100.0
        lecam: NotNegative = 0.0

        def build(self, *, image_shape: tuple[int, int, int], seed: int = 0) -> "Adversarial":
            """Make the loss.

            Raises:
                UserError: for images that are too small for the number of layers.
            """
            _, height, width = image_shape
            if min(height, width) < smallest_side(self.layers):
                raise UserError(
                    f"losses.adversarial: images of {height}x{width} are too small for layers {self.layers}: use "
                    "fewer --losses.adversarial.layers or a larger --data.size"
                )
            return Adversarial(
                image_shape[0],
                width=self.width,
                layers=self.layers,
                learning_rate=self.learning_rate,
                adaptive=self.adaptive,
                adaptive_limit=self.adaptive_limit,
                lecam=self.lecam,
            )

    real_average: Tensor
    fake_average: Tensor

    def __init__(
        self,
        channels: int,
        *,
        width: int = Config.width,
        layers: int = Config.layers,
        learning_rate: float = Config.learning_rate,
        adaptive: bool = Config.adaptive,
        adaptive_limit: float = Config.adaptive_limit,
        lecam: float = Config.lecam,
    ) -> None:
        self.Config.check(
            width=width, layers=layers, learning_rate=learning_rate, adaptive_limit=adaptive_limit, lecam=lecam
        )
        super().__init__()
        self.learning_rate, self.lecam = learning_rate, lecam
        self.adaptive_limit = adaptive_limit if adaptive else None
        self.network = patch_discriminator(channels, width=width, layers=layers)
        self.register_buffer("real_average", torch.zeros(()))
        self.register_buffer("fake_average", torch.zeros(()))
        self.answers = torch.zeros(3)  # of this step so far: the sums for images and reconstructions, the number

    def forward(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return ``-mean D(x')``."""
        return -mean(self.network(reconstruction))

    def own_loss(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the hinge loss of the discriminator, plus the LeCam regularisation."""
        real, fake = self.network(torch.cat([images, reconstruction])).float().chunk(2)
        with torch.no_grad():
            self.note(accuracy=mean(torch.cat([real > 0, fake < 0])))
            sums = torch.stack([real.sum(), fake.sum(), real.new_tensor(real.numel())])
            self.answers = self.answers.to(sums) + sums
        hinge = mean(F.relu(1 - real)) + mean(F.relu(1 + fake))
        if not self.lecam:
            return hinge
        return hinge + self.lecam * lecam(real, fake, self.real_average, self.fake_average)

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the averages of D's answers towards the answers of this step, over all ranks."""
        real, fake, number = sum_over_ranks(self.answers).to(self.real_average.dtype).unbind()
        self.real_average.lerp_(real / number, 1 - _DECAY)
        self.fake_average.lerp_(fake / number, 1 - _DECAY)
        self.drop_step()

    def drop_step(self) -> None:
        """Forget the answers of this step."""
        self.answers = torch.zeros(3)


def patch_discriminator(channels: int, *, width: int, layers: int) -> nn.Sequential:
    """Return PatchGAN's discriminator (arXiv 1611.07004, appendix 6.1.2): [B, C, H, W] to one answer a patch.

    Group normalisation replaces batch normalisation: an answer depends on one image alone, so any split of a batch
    over ranks and micro-batches gives the same answers.

    Args:
        channels: C.
        width: number of channels after the first convolution; each further one doubles it, up to 8 times.
        layers: number of convolutions with stride 2; one with stride 1 and the convolution to the answer follow.
    """
    found: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    before = width
    for index in range(1, layers + 1):
        after = width * min(2**index, _WIDEST)
        found += [
            nn.Conv2d(before, after, 4, stride=2 if index < layers else 1, padding=1, bias=False),
            nn.GroupNorm(gcd(_GROUPS, after), after),
            nn.LeakyReLU(0.2),
        ]
        before = after
    return nn.Sequential(*found, nn.Conv2d(before, 1, 4, padding=1))


def smallest_side(layers: int) -> int:
    """Return the least height and width, in pixels, of images that ``patch_discriminator`` takes."""
    return 3 * 2**layers  # each stride 2 halves the side; the last two convolutions take 1 off each and leave 1


def adaptive_factor(wanted: Tensor, own: Tensor, *, limit: float) -> Tensor:
    """Return the factor of an adaptive weight, ``min(|wanted| / (|own| + 1e-6), limit)``.

    It is arXiv 2012.09841, equation 7.

    Args:
        wanted: gradient of all other terms, with their weights, at the weights of the decoder's last layer.
        own: gradient of the adversarial term there, without its weight.
        limit: largest factor.
    """
    return (wanted.norm() / (own.norm() + _SMALLEST_NORM)).clamp(max=limit)


def lecam(real: Tensor, fake: Tensor, real_average: Tensor, fake_average: Tensor) -> Tensor:
    """Return the LeCam regularisation (arXiv 2104.03310, equation 3), a scalar.

    Args:
        real: D's answers for images, of any shape.
        fake: D's answers for reconstructions.
        real_average: scalar, the moving average of D's answers for images.
        fake_average: scalar, the moving average of D's answers for reconstructions.
    """
    return mean((real - fake_average).square()) + mean((fake - real_average).square())
