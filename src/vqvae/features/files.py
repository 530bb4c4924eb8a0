"""Files of weights of feature networks: safetensors with a card that says what the network is and how good."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqvae.tensorfile import load_tensors, save_tensors

KIND, VERSION = "vqvae-features", 1


def save_weights(path: Path, card: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write weights and their card, atomically, with a checksum.

    Args:
        path: the file.
        card: ``network`` (the kind), ``settings`` (what builds the network) and facts such as the accuracy.
        weights: by name.
    """
    save_tensors(path, KIND, VERSION, card, weights)


def load_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file that ``save_weights`` wrote: its card and its weights.

    Raises:
        UserError: when it is missing, damaged or of another kind.
    """
    card, weights = load_tensors(path, KIND, VERSION)
    card.pop("kind")
    card.pop("version")
    return card, weights


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return SHA-256 in hex over names, types, shapes and bytes of weights: the same weights, the same digest.

    Two files of the same weights have the same digest, whatever else is in them.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
