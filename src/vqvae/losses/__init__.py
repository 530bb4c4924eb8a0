"""Losses: terms that are added to equation 3, one file each.

A run's ``losses`` list them: ``losses: [{kind: l1, weight: 0.1}]``.

| class | term |
|---|---|
| ``L1`` | the mean absolute error of the reconstruction |
"""

from vqvae.losses.base import Loss as Loss
from vqvae.losses.base import LossConfig as LossConfig
from vqvae.losses.base import build_losses as build_losses
from vqvae.losses.base import mean as mean
from vqvae.losses.l1 import L1 as L1
