"""What quantizers made of quantizers share."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from vqvae.quantizers.base import Quantizer


def check_alike(quantizers: Sequence[Quantizer], *names: str) -> None:
    """Check that there are quantizers, and that they have the same value of each attribute named.

    Raises:
        ValueError: where there are none, or they differ.
    """
    if not quantizers:
        raise ValueError("no quantizers: expected one or more")
    for name in names:
        values = [getattr(quantizer, name) for quantizer in quantizers]
        if len(set(values)) > 1:
            raise ValueError(f"quantizers of different {name}, {values}: expected equal values")


def within(codes: Tensor, quantizer: Quantizer, num_codes: int) -> Tensor:
    """Return codes as a quantizer of fewer codes takes them: beyond its K, its last code stands in.

    A quantizer never returns such codes; a prior over the largest K may draw one.

    Args:
        codes: int64 [N, n].
        quantizer: the quantizer that embeds the codes.
        num_codes: the largest K, of the codes.
    """
    return codes if quantizer.num_codes == num_codes else codes.clamp(max=quantizer.num_codes - 1)


def merged(metrics: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the metrics of several quantizers, summed by name."""
    total: dict[str, Tensor] = {}
    for found in metrics:
        for name, value in found.items():
            total[name] = total[name] + value if name in total else value
    return total
