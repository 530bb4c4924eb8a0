"""Metrics of reconstructions as a set: their features against those of the originals."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqvae.features import FeatureNetwork
from vqvae.metrics.accumulator import Accumulator
from vqvae.metrics.batch import Batch, Models
from vqvae.metrics.comparison import DEFINITIONS, FEATURE_METRICS, feature_figures
from vqvae.metrics.precision_recall import NEIGHBOURS
from vqvae.tensors import pixels_from_images


class FeatureDistances(Accumulator):
    """Frechet distance, KID, precision and recall of the reconstructions, rounded to uint8, against the originals.

    None without a feature network, and of fewer images than the neighbours that precision needs.
    """

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        self.originals: list[Tensor] = []
        self.reconstructions: list[Tensor] = []

    def add(self, batch: Batch) -> None:
        """Keep the features of a batch."""
        if (network := self.models.features) is not None:
            self.originals.append(network.features_of_pixels(batch.pixels))
            self.reconstructions.append(network.features_of_pixels(pixels_from_images(batch.reconstruction)))

    def result(self) -> Mapping[str, float | None]:
        """Return ``frechet``, ``kid``, ``precision`` and ``recall``."""
        if sum(map(len, self.originals)) <= NEIGHBOURS:
            return dict.fromkeys(FEATURE_METRICS)
        originals, reconstructions = torch.cat(self.originals), torch.cat(self.reconstructions)
        return dict(feature_figures(originals, reconstructions, paired=True, count=0).values)

    def protocol(self) -> Mapping[str, Any]:
        """Return what defines the numbers."""
        network = self.models.features
        return {} if network is None else {"features": described_network(network), **DEFINITIONS}


def described_network(network: FeatureNetwork) -> dict[str, Any]:
    """Return what a figure in a network's features must be stamped with."""
    facts = {name: network.facts[name] for name in ("data", "test_accuracy") if name in network.facts}
    if network.called:
        facts["called"] = dict(network.called)
    return {"network": network.kind, "weights": network.digest, "resize": network.resize, **facts}
