"""Models measured over a whole split, by the table of metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqvae.data import ImageSet
from vqvae.metrics.accumulator import Accumulator
from vqvae.metrics.batch import Batch, Models
from vqvae.metrics.codes import CodeCounts
from vqvae.metrics.table import Metric, measured_in, without_level
from vqvae.tensors import images_from_pixels


class Measurement:
    """Some metrics of the table, accumulated together.

    Args:
        models: the models that are measured.
        metrics: rows of the table. Every accumulator that they name is made once.
    """

    def __init__(self, models: Models, metrics: Sequence[Metric]) -> None:
        self.metrics = metrics
        kinds = dict.fromkeys(metric.accumulator for metric in metrics if metric.accumulator is not None)
        self.accumulators: list[Accumulator] = [kind(models) for kind in kinds]

    def add(self, batch: Batch) -> None:
        """Take one batch."""
        for accumulator in self.accumulators:
            accumulator.add(batch)

    def values(self) -> dict[str, float | None]:
        """Return the values by name: the rows in the order of the table, then ``usage_1`` and other levels.

        Raises:
            ValueError: for a row whose accumulator does not return it.
        """
        names = [metric.name for metric in self.metrics]
        found = {name: value for a in self.accumulators for name, value in a.result().items()}
        if missing := [name for name in names if name not in found]:
            raise ValueError(f"metric '{missing[0]}': its accumulator does not return a value of that name")
        levels = [name for name in found if name not in names and without_level(name) in names]
        return {name: found[name] for name in [*names, *levels]}

    def protocol(self) -> dict[str, Any]:
        """Return the definitions that the accumulators want recorded, by metric."""
        return {name: value for a in self.accumulators for name, value in a.protocol().items()}


@dataclass(frozen=True, eq=False)
class Results:
    """What was measured on a split.

    Attributes:
        values: by the metrics' names; None where the models do not have the value, as without a prior.
        protocol: what was measured, and how.
        code_counts: how often each code was chosen, int64 [K]; [0] where K is above 2^20.
    """

    values: Mapping[str, float | None]
    protocol: Mapping[str, Any]
    code_counts: Tensor

    def __getitem__(self, name: str) -> float | None:
        """Return the value of a metric."""
        return self.values[name]

    def to_dict(self) -> dict[str, Any]:
        """Return values and protocol as JSON holds them."""
        return {**self.values, "protocol": dict(self.protocol)}


@torch.no_grad()
def measure(
    models: Models,
    images: ImageSet,
    *,
    use_labels: bool = True,
    batch_size: int = 256,
    fit: str = "strict",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Results:
    """Measure a tokenizer, and a prior over its codes, on all images of a split, in float32.

    Args:
        models: in eval mode. A prior that was trained with classes is given the images' labels.
        images: the split; for a prior with classes, its labels are the prior's numbers of these classes.
        use_labels: False measures a prior with classes without labels.
        batch_size: affects speed and memory only.
        fit: how the images were made to fit, for the protocol.
        progress: called with the number of images measured and of all images.
    """
    measurement, chosen = Measurement(models, measured_in("evaluation")), CodeCounts(models.tokenizer.num_codes)
    device = models.tokenizer.pixel_variance.device
    labelled = use_labels and models.prior is not None and models.prior.num_classes > 0
    all_labels = images.labels if labelled else None
    for rows in torch.arange(len(images)).split(batch_size):
        pixels = images.pixels[rows]
        codes = models.tokenizer.encode(images_from_pixels(pixels.to(device)), exact=True)
        labels = None if all_labels is None else all_labels[rows].to(device)
        measurement.add(Batch(models, pixels, codes, labels))
        chosen.add(codes)
        progress(int(rows[-1]) + 1, len(images))
    spec = models.tokenizer.code_spec(*images.shape[1:])
    how = {"crop": fit, "codes": list(spec.shape), "labels": all_labels is not None}
    return Results(measurement.values(), _protocol(images, how, measurement.protocol()), chosen.counts)


def _protocol(images: ImageSet, how: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "data": images.spec,
        "split": images.split,
        "count": len(images),
        "skipped": len(images.bad),
        "size": list(images.shape),
        **how,
        "fingerprint": images.fingerprint,
        "precision": "fp32",
        **definitions,
    }
