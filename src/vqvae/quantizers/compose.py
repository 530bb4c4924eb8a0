"""What quantizers made of quantizers share."""

from collections.abc import Iterable, Sequence
from typing import cast

from torch import Tensor, nn

from vqvae.quantizers.base import Quantizer


def layers_of(quantizers: Sequence[Quantizer], *alike: str) -> Sequence[Quantizer]:
    """Return quantizers as an ``nn.ModuleList``, checked to be alike in the attributes named.

    Raises:
        ValueError: when there are none or they differ in one of the attributes.
    """
    if not quantizers:
        raise ValueError("no quantizers: expected one or more")
    for name in alike:
        values = [getattr(quantizer, name) for quantizer in quantizers]
        if len(set(values)) > 1:
            raise ValueError(f"quantizers of different {name}, {values}: expected the same of all")
    modules = nn.ModuleList(cast(Iterable[nn.Module], quantizers))
    return cast(Sequence[Quantizer], modules)


def merged(metrics: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return metrics of several quantizers, summed by name."""
    total: dict[str, Tensor] = {}
    for found in metrics:
        for name, value in found.items():
            total[name] = total[name] + value if name in total else value
    return total
