"""The gradient of the global batch: the sum of the gradients of all ranks."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from vqvae.distributed import sum_over_ranks_, world_size


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter], scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum gradients over ranks in place, and scalars in the same collective; return the sums of the scalars.

    ``DistributedDataParallel`` is not used, because it needs one forward around all networks, and here the
    quantizer runs between them. It would overlap the sum with the backward pass. Any number of micro-batches is
    allowed, and so are ranks without rows. A gradient that is missing on some ranks counts as 0 there. A gradient
    that is missing on all ranks stays missing, as in one process.
    """
    if world_size() == 1:
        return dict(scalars)
    owners = list(parameters)  # empty if all parameters are sharded
    device = next(iter(scalars.values())).device
    has = torch.tensor([p.grad is not None for p in owners], dtype=torch.float32, device=device)
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in owners]
    values = torch.stack([value.to(has) for value in scalars.values()])
    total = sum_over_ranks_(torch.cat([*parts, has, values]))  # in place, as it is as large as the model
    *summed, has, values = total.split([*(p.numel() for p in owners), len(has), len(values)])
    for parameter, gradient, anywhere in zip(owners, summed, has.tolist(), strict=True):
        if anywhere:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad.copy_(gradient.view_as(parameter))
    return dict(zip(scalars, values.unbind(), strict=True))
