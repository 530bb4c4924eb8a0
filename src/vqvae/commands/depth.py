"""The depth at which codes are decoded: the first codes of each position alone."""

from vqvae.errors import ArgumentError
from vqvae.models import VQVAE


def check_depth(tokenizer: VQVAE, depth: int | None) -> None:
    """Check a number of codes of each position that are decoded; None means all.

    Raises:
        UserError: for a number that the tokenizer does not decode.
    """
    depths = tokenizer.depths
    if depth is None or depth in depths:
        return
    kind = type(tokenizer.quantizer).__name__
    if len(depths) == 1:
        raise ArgumentError("depth", f"{depth}: the codes of a {kind} have no depth; those of a residual one have")
    raise ArgumentError("depth", f"{depth}: must be one of {', '.join(map(str, depths))}")
