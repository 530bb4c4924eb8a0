"""Write codes of any other program as a store."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqvae.errors import UserError
from vqvae.tensors import checked_codes
from vqvae.tokens.store import Shard, Store, StoreHeader

_SHARD_ROWS = 8192


def write_codes(
    path: str | Path,
    codes: Tensor,
    *,
    num_codes: int,
    image_shape: tuple[int, int, int],
    tokenizer: str,
    labels: Tensor | None = None,
    classes: Sequence[str] = (),
) -> Store:
    """Write codes that another program made as a store, on which ``vqvae prior --codes-only`` trains.

    Args:
        path: the store's directory; it must not exist, or be empty.
        codes: integers in 0..K-1, [N, h, w, n], or [N, h, w] for one code per position.
        num_codes: number of codes K.
        image_shape: (C, H, W) of the images.
        tokenizer: a name for what made the codes. Priors and stores with different names are never mixed.
        labels: integers [N], indices into ``classes``, or None.
        classes: the names of the classes; required with labels.

    Raises:
        ValueError: for codes or labels of another shape, type or range, and an empty name.
        UserError: when the directory holds something else, or cannot be written.
    """
    n = codes.shape[3] if codes.ndim == 4 else 1
    codes = checked_codes(codes, codes_per_position=n, num_codes=num_codes)
    if not tokenizer:
        raise ValueError("tokenizer: expected a name for what made the codes")
    if labels is not None and (labels.shape != codes.shape[:1] or not classes):
        raise ValueError(f"labels {list(labels.shape)}: expected [{len(codes)}], with the names of the classes")
    if labels is not None and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise ValueError(f"labels {int(labels.min())}..{int(labels.max())}: expected 0..{len(classes) - 1}")
    height, width = codes.shape[1:3]
    header = StoreHeader(
        tokenizer=tokenizer,
        shape=(height, width, n),
        num_codes=num_codes,
        image_shape=image_shape,
        rows=len(codes),
        rows_per_shard=_SHARD_ROWS,
        classes=tuple(classes) if labels is not None else (),
        labelled=labels is not None,
        origin={"codes": "another program"},
    )
    store = Store.create(Path(path), header)
    try:
        for shard in range(header.num_shards):
            rows = torch.tensor(header.rows_of(shard))
            store.write(shard, Shard(rows, codes[rows], None if labels is None else labels[rows].long()))
    except OSError as error:
        raise UserError(f"{path}: cannot write the store: {error.strerror}") from None
    return store
