"""Another number of codes for a trained quantizer: codes are copied, or the least used are left out.

A larger codebook keeps its codes and their numbers. The new codes are copies of the most used ones. Of equal codes
the search takes the lowest number, so at the start every vector keeps its code. The first update moves a code and
leaves its copy behind; from then on the two share the vectors. A smaller codebook keeps its most used codes.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from vqvae.quantizers.base import Quantizer
from vqvae.quantizers.codebook import CodebookQuantizer
from vqvae.tensors import Quantized


def codebooks(quantizer: Quantizer) -> dict[str, Quantizer]:
    """Return the quantizers that hold no other quantizer, by name: the quantizer itself, or a stack's parts."""
    parts = {name: part for name, part in quantizer.named_modules() if isinstance(part, Quantizer)}
    return {name: part for name, part in parts.items() if not any(map(_is_quantizer, list(part.modules())[1:]))}


def _is_quantizer(module: nn.Module) -> bool:
    return isinstance(module, Quantizer)


@contextmanager
def counting(quantizer: Quantizer) -> Iterator[dict[str, Tensor]]:
    """Count the codes that forwards in the block choose: int64 [K] of each of the ``codebooks``, by name."""
    counts: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, part in codebooks(quantizer).items():
            counts[name] = total = torch.zeros(part.num_codes, dtype=torch.int64)

            def note(_: nn.Module, __: object, found: Quantized, total: Tensor = total) -> None:
                total += torch.bincount(found.codes.flatten().cpu(), minlength=len(total))

            stack.callback(part.register_forward_hook(note).remove)
        yield counts


def origins(usage: Tensor, num_codes: int) -> Tensor:
    """Return which old code each of ``num_codes`` new codes is, int64 [num_codes].

    Args:
        usage: how often each old code is chosen, int64 [K]; of equally used codes, the lower number comes first.
        num_codes: the new K.
    """
    by_use = usage.argsort(descending=True, stable=True)
    if num_codes <= len(usage):
        return by_use[:num_codes].sort().values
    used = by_use[: max(1, int(usage.count_nonzero()))]
    more = num_codes - len(usage)
    return torch.cat([torch.arange(len(usage)), used.repeat(-(-more // len(used)))[:more]])


@torch.no_grad()
def resize(quantizer: Quantizer, old: Quantizer, usage: Mapping[str, Tensor]) -> None:
    """Give a quantizer the state of an old one whose codebooks have other numbers of codes.

    Args:
        quantizer: changed in place.
        old: differs in the numbers of codes alone.
        usage: how often each old code is chosen, as ``counting`` gives it.

    Raises:
        ValueError: when the kind's codes cannot be copied, or the two differ in more than the numbers of codes.
    """
    state = dict(old.state_dict())
    before, after = codebooks(old), codebooks(quantizer)
    resized = [name for name in after if name in before and after[name].num_codes != before[name].num_codes]
    rows = {name: origins(usage[name], after[name].num_codes) for name in resized}
    for name in resized:
        part = after[name]
        if part.num_codes > before[name].num_codes and part.no_copies_because:
            raise ValueError(f"the codes of {type(part).__name__} cannot be copied: {part.no_copies_because}")
        prefix = f"{name}." if name else ""
        for key, tensor in part.state_dict().items():
            if tensor.shape != state[prefix + key].shape:
                state[prefix + key] = state[prefix + key][rows[name].to(tensor.device)]
    try:
        quantizer.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    for name in resized:
        part = after[name]
        if isinstance(part, CodebookQuantizer):
            part.begin_again(torch.arange(part.num_codes)[before[name].num_codes :])
