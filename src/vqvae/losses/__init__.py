"""Losses: terms that are added to equation 3, one file each.

A run's ``losses`` list them: ``losses: [{kind: l1, weight: 0.1}]``.

| class | term |
|---|---|
| ``Adversarial`` | how real a discriminator, trained beside the model, finds patches of the reconstruction |
| ``Charbonnier`` | the mean absolute error, smooth at zero |
| ``L1`` | the mean absolute error of the reconstruction |
| ``Perceptual`` | the distance of the reconstruction in the features of a trained network |
"""

from vqvae.losses.adversarial import Adversarial as Adversarial
from vqvae.losses.base import Loss as Loss
from vqvae.losses.base import LossConfig as LossConfig
from vqvae.losses.base import build_losses as build_losses
from vqvae.losses.base import mean as mean
from vqvae.losses.charbonnier import Charbonnier as Charbonnier
from vqvae.losses.l1 import L1 as L1
from vqvae.losses.perceptual import Perceptual as Perceptual
