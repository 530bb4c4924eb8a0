"""The gradient of a whole batch from the shards of all ranks."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from vqvae.distributed import sum_over_ranks_, world_size


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter], scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum gradients over ranks in place, in one collective with the scalars, which are returned summed.

    What ``DistributedDataParallel`` does, but for the overlap with the backward pass; and it needs no single
    forward that wraps all networks (the quantizer runs between them), works with any number of micro-batches and
    with empty shards. A parameter without a gradient on some ranks counts as 0 there; without one on any, it
    keeps none, as in one process.
    """
    if world_size() == 1:
        return dict(scalars)
    owners = list(parameters)  # none where all are sharded
    device = next(iter(scalars.values())).device
    has = torch.tensor([p.grad is not None for p in owners], dtype=torch.float32, device=device)
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in owners]
    values = torch.stack([value.to(has) for value in scalars.values()])
    total = sum_over_ranks_(torch.cat([*parts, has, values]))  # in place: it is as large as the model
    *summed, has, values = total.split([*(p.numel() for p in owners), len(has), len(values)])
    for parameter, gradient, anywhere in zip(owners, summed, has.tolist(), strict=True):
        if anywhere:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad.copy_(gradient.view_as(parameter))
    return dict(zip(scalars, values.unbind(), strict=True))
