"""Encoding on many machines with Ray Data: a callable for ``map_batches``."""

# pyarrow ships no types, so everything that comes from it is unknown to the checker.
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from vqvae.errors import UserError
from vqvae.model_io import choose_device, load_tokenizer
from vqvae.tensors import images_from_pixels, smallest_dtype
from vqvae.tokens.parquet_shards import nested_lists


class Encoder:
    """Encodes batches of images to exact codes, the codes of ``vqvae encode``.

    Ray makes one in each worker:

    >>> import ray
    >>> from vqvae.ray import Encoder
    >>> images = ray.data.read_images("photos", size=(32, 32), mode="RGB", include_paths=True)
    >>> workers = ray.data.ActorPoolStrategy(size=4)
    >>> codes = images.map_batches(Encoder, fn_constructor_args=("shapes",), compute=workers, batch_size=256)
    >>> codes.write_parquet("codes")  # doctest: +SKIP

    Args:
        model: the tokenizer, as ``vqvae.load_tokenizer`` takes it. A path must lead to it on every machine.
        column: the column of the images.
        device: the device of the tokenizer: ``auto``, ``cpu``, ``cuda``, ...
    """

    def __init__(self, model: str, *, column: str = "image", device: str = "auto") -> None:
        self.device = choose_device(device)
        self.tokenizer = load_tokenizer(model, device=self.device)
        self.column = column

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> Any:
        """Encode a batch.

        Args:
            batch: the columns. Images are uint8 [B, H, W, C], or [B, H, W] if they are grey, of one size.

        Returns:
            A table of pyarrow with the other columns as they are, and the column ``codes``: nested lists
            [h][w][n], as ``vqvae decode`` and ``datasets`` read them.

        Raises:
            UserError: when there is no such column, or its images are of several sizes or another type.
            ValueError: when the tokenizer does not fit the images.
        """
        others = dict(batch)
        pixels = others.pop(self.column, None)
        if pixels is None:
            raise UserError(f"no column '{self.column}'; the batch has {', '.join(batch)}")
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
            raise UserError(
                f"column '{self.column}': {pixels.dtype} {list(pixels.shape)}: expected images of one size, uint8 "
                "[B, H, W, C] or [B, H, W]; ray.data.read_images takes size= and mode="
            )
        images = torch.tensor(pixels if pixels.ndim == 4 else pixels[..., None]).permute(0, 3, 1, 2)
        codes = self.tokenizer.encode(images_from_pixels(images.to(self.device)), exact=True).cpu()
        columns = {
            name: pa.array(values.tolist() if values.ndim > 1 else values) for name, values in others.items()
        }
        return pa.table({**columns, "codes": nested_lists(codes.to(smallest_dtype(self.tokenizer.num_codes)))})
