"""Files of weights of feature networks: files of this package, with a card, and files of other programs."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

from vqvae.errors import UserError
from vqvae.features.base import FeatureNetwork
from vqvae.tensorfile import load_tensors, save_tensors

Network = TypeVar("Network", bound=FeatureNetwork)
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


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """Read tensors by name from a file of another program: safetensors, or what ``torch.save`` wrote.

    No code in the file is run: torch's restricted unpickler makes tensors alone.

    Args:
        path: the file.
        what: what the file should hold, for messages: "the weights of VGG16".

    Raises:
        UserError: for a file that is missing or damaged, and one that holds anything but tensors by name.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; it should hold {what}")
    try:
        if _is_safetensors(path):
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes torch and safetensors raise
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not {what}, in safetensors or by torch.save: {reason}") from None
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path}: not {what}: it holds other things than tensors by name")
    return dict(cast("Mapping[str, Tensor]", found))


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"  # after 8 bytes, the length of its header in JSON


def with_weights(network: Network, path: Path, title: str, *, prefix: str = "") -> Network:
    """Return the network with the weights of a file, in eval mode and float32, without gradients to the weights.

    Args:
        network: the network.
        path: a file that ``read_tensors`` reads.
        title: what people call the network.
        prefix: only tensors whose names begin so are read; the rest of the name is the network's own.

    Raises:
        UserError: for a file that is missing, damaged or of another network.
    """
    tensors = read_tensors(path, f"the weights of {title}")
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not the weights of {title}: {reason}") from None
    network.digest = weights_digest(weights)
    network = network.eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
