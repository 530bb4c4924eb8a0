"""Every file of tensors that the project writes: safetensors, with one header that says what it is."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vqvae.errors import FormatError, UserError
from vqvae.files import write_atomically


def save_tensors(
    path: Path, kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write tensors and a JSON header atomically; the same content gives the same bytes.

    Args:
        path: the file.
        kind: of file, such as ``vqvae-model``.
        version: of the kind's layout.
        header: what JSON can hold.
        tensors: by name.

    Raises:
        UserError: when one of them is not finite; nothing is written.
    """
    content = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    for name, tensor in content.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(
                f"{path}: not written, as '{name}' is no longer finite; what was saved before is whole"
            )
    said = {"kind": kind, "version": version, **header}
    # one metadata key alone: safetensors writes several in an order that changes from run to run
    stamp = json.dumps({**said, "crc32": _checksum(said, content)}, sort_keys=True)
    write_atomically(path, save(content, {"vqvae": stamp}))


def load_tensors(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file that ``save_tensors`` wrote: its header and its tensors.

    Raises:
        FormatError: when it is damaged.
        UserError: when it is missing, cannot be read, or is of another kind or version.
    """
    try:
        with safe_open(path, framework="pt") as content:  # pyright: ignore[reportUnknownVariableType]
            header: dict[str, Any] = json.loads((content.metadata() or {}).get("vqvae", "{}"))
            tensors: dict[str, Tensor] = {name: content.get_tensor(name) for name in content.keys()}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except (SafetensorError, ValueError) as error:
        raise FormatError(f"{path}: damaged or not a {kind} file: {error}") from None
    if (header.get("kind"), header.get("version")) != (kind, version):
        raise UserError(f"{path}: not a file of kind {kind}, version {version}")
    checksum = header.pop("crc32", None)  # None: from before files had one
    if checksum is not None and checksum != _checksum(header, tensors):
        raise FormatError(f"{path}: damaged: its content is not what its checksum says")
    return header, tensors


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """Return the CRC-32 of a header and of the name, type, shape and bytes of each tensor."""
    crc = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode(), crc)
        crc = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, crc)
    return crc
