"""The cache of codes: the codes of a data set are computed once and stored under the tokenizer's identity."""

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vqvae.data import Augmentation, Images
from vqvae.errors import UserError, what_failed
from vqvae.files import remove_leftovers
from vqvae.models import VQVAE
from vqvae.progress import make_bar
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.tensors import images_from_pixels

KIND, VERSION = "vqvae-codes", 4
_LOG = logging.getLogger(__name__)


class CodeOrigin(NamedTuple):
    """What made the codes that a prior learns.

    Attributes:
        identity: the identity of the tokenizer.
        num_codes: number of codes K.
        tokenizer: the tokenizer; None where a prior is trained on codes alone.
    """

    identity: str
    num_codes: int
    tokenizer: VQVAE | None


@dataclass(frozen=True)
class CodeSet:
    """The codes of a data set.

    Attributes:
        codes: int16 or int32 [V, N, h, w, n]: the V views of N images.
        labels: int64 [N], indices into ``classes``, or None.
        classes: the names of the images' classes; empty without labels.
        image_shape: (C, H, W) of the images.
    """

    codes: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]

    def __len__(self) -> int:
        """Return N."""
        return self.codes.shape[1]


def cache_folder() -> Path | None:
    """Return where codes are kept: $VQVAE_CACHE, else ~/.cache/vqvae; None where no home folder is known."""
    folder = os.path.expanduser(os.environ.get("VQVAE_CACHE") or "~/.cache/vqvae")
    return None if folder.startswith("~") else Path(folder)


def code_set(
    tokenizer: VQVAE, identity: str, images: Images, *, views: Augmentation, device: torch.device | str
) -> CodeSet:
    """Return the codes of a data set. Codes that are not in the cache are computed and stored there.

    Without a cache that can be written, the codes are made again by each training; one line says so.

    Args:
        tokenizer: the tokenizer, in eval mode, on the device.
        identity: the identity of the tokenizer, from its card.
        images: the images to encode.
        views: the views of each image; all views are encoded.
        device: the device of the tokenizer.
    """
    key: dict[str, object] = {"tokenizer": identity, "images": images.fingerprint, "views": len(views)}
    if views.crops:
        key |= {"crops": views.crops, "seed": views.seed}
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    folder = cache_folder()
    path = folder and folder / "codes" / identity[:16] / f"{images.split}-{name}.safetensors"
    tensors = path and _cached(path, key)
    if tensors is None:
        tensors = _encoded(tokenizer, images, views, device)
        _keep(path, key, tensors)
    labels = None if images.labels is None else images.labels[tensors["rows"]]
    return CodeSet(tensors["codes"], labels, images.classes, images.shape)


def _keep(path: Path | None, key: dict[str, object], tensors: dict[str, Tensor]) -> None:
    """Write codes to the cache, or say in one line why they are not kept."""
    try:
        if path is None:
            raise OSError("no home folder is known")
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        save_tensors(path, KIND, VERSION, {"key": key}, tensors)
    except OSError as error:
        _LOG.warning(
            "codes are not kept for the next training: %s; VQVAE_CACHE may name another folder", what_failed(error)
        )


def _cached(path: Path, key: dict[str, object]) -> dict[str, Tensor] | None:
    try:
        header, tensors = load_tensors(path, KIND, VERSION)
    except UserError:
        return None  # absent, damaged or of another version: the codes are computed again
    return tensors if header.get("key") == key else None


@torch.no_grad()
def _encoded(
    tokenizer: VQVAE, images: Images, views: Augmentation, device: torch.device | str
) -> dict[str, Tensor]:
    """Return the codes [V, N, h, w, n] of all images that decode, and their rows [N]."""
    spec = tokenizer.code_spec(*images.shape[1:])
    small = torch.int16 if spec.num_codes <= 2**15 else torch.int32
    codes = torch.empty(len(views), len(images), *spec.shape, dtype=small)
    kept: list[Tensor] = []
    count = 0
    with make_bar(total=len(images), desc="encode", unit="image", leave=False) as bar:
        for rows, pixels in images.iter_batches():
            for view in range(len(views)):
                seen = images_from_pixels(views.of(pixels, rows, torch.full_like(rows, view)).to(device))
                codes[view, count : count + len(rows)] = tokenizer.encode(seen, exact=True).to("cpu", small)
            kept.append(rows)
            count += len(rows)
            bar.update(len(rows))
    return {"codes": codes[:, :count].contiguous(), "rows": torch.cat(kept)}
