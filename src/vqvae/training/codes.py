"""The code store: a tokenizer's codes of a data set, made once and kept under the tokenizer's hash."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from vqvae.data import ImageSet, Views
from vqvae.errors import UserError
from vqvae.files import remove_leftovers
from vqvae.models import VQVAE
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.tensors import images_from_pixels

KIND, VERSION = "vqvae-codes", 2


@dataclass(frozen=True)
class CodeSet:
    """The codes of a data set.

    Attributes:
        codes: int16 or int32 [V, N, h, w, n]: the V views of N images.
        labels: int64 [N], or None.
    """

    codes: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        """Return N."""
        return self.codes.shape[1]


def cache_folder() -> Path:
    """Return where stored codes live: $VQVAE_CACHE, or ~/.cache/vqvae."""
    return Path(os.environ.get("VQVAE_CACHE", Path.home() / ".cache" / "vqvae"))


def code_set(
    tokenizer: VQVAE, tokenizer_hash: str, images: ImageSet, *, views: Views, device: torch.device | str
) -> CodeSet:
    """Return the codes of a data set, from the store where they are in it, else made and stored.

    Args:
        tokenizer: in eval mode, on the device.
        tokenizer_hash: SHA-256 of its file.
        images: what to encode.
        views: of each image, all of which are encoded.
        device: the tokenizer's.
    """
    identity: dict[str, object] = {"tokenizer": tokenizer_hash, "images": images.fingerprint, "views": len(views)}
    if views.crops:
        identity |= {"crops": views.crops, "seed": views.seed}
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    path = cache_folder() / "codes" / tokenizer_hash[:16] / f"{images.split}-{name}.safetensors"
    codes = _stored(path, identity)
    if codes is None:
        codes = _encoded(tokenizer, images, views, device)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        save_tensors(path, KIND, VERSION, {"identity": identity}, {"codes": codes})
    return CodeSet(codes, images.labels)


def _stored(path: Path, identity: dict[str, object]) -> Tensor | None:
    try:
        header, tensors = load_tensors(path, KIND, VERSION)
    except UserError:
        return None  # absent, or damaged: it is only a store, and is made again
    return tensors["codes"] if header["identity"] == identity else None


@torch.no_grad()
def _encoded(tokenizer: VQVAE, images: ImageSet, views: Views, device: torch.device | str) -> Tensor:
    small = torch.int16 if tokenizer.num_codes <= 2**15 else torch.int32
    made = torch.empty(0, dtype=small)
    rows = torch.arange(len(images)).split(256)
    with tqdm(total=len(views) * len(rows), desc="encode", unit="batch", leave=False, disable=None) as bar:
        for view in range(len(views)):
            for batch in rows:
                pixels = views.of(images.pixels[batch], batch, torch.full_like(batch, view))
                codes = tokenizer.encode(images_from_pixels(pixels.to(device))).to("cpu", small)
                if not len(made):
                    made = codes.new_empty(len(views), len(images), *codes.shape[1:])
                made[view, batch] = codes
                bar.update()
    return made
