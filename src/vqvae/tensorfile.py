"""The project's files of tensors: safetensors with a header that says the kind and the version of the file."""

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from vqvae.errors import FormatError, UserError
from vqvae.files import write_atomically


def save_tensors(
    path: Path, kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write tensors and a JSON header atomically, with a checksum; the same content gives the same bytes.

    Args:
        path: the file.
        kind: the kind of file, such as ``vqvae-model``.
        version: the version of the kind's layout.
        header: further header fields, of types that JSON has.
        tensors: the tensors by name.

    Raises:
        UserError: when a tensor holds a NaN or an infinity; nothing is written.
    """
    content = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    for name, tensor in content.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(
                f"{path}: not written, as '{name}' is no longer finite; everything saved before is whole"
            )
    said = {"kind": kind, "version": version, **header}
    # a single metadata key, as safetensors writes several keys in an order that changes from run to run
    stamp = json.dumps({**said, "crc32": checksum(said, content)}, sort_keys=True)
    write_atomically(path, save(content, {"vqvae": stamp}))


def load_tensors(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the header and the tensors of a file that ``save_tensors`` wrote.

    Raises:
        FormatError: when the file is damaged.
        UserError: when the file is missing, cannot be read, or is of another kind or version.
    """
    with _one_line_of_error(path, kind), safe_open(path, framework="pt") as content:  # pyright: ignore[reportUnknownVariableType]
        header = _header(content.metadata(), path, kind, version)
        tensors: dict[str, Tensor] = {name: content.get_tensor(name) for name in content.keys()}
    _check(header, tensors, path)
    return header, tensors


def parse_tensors(content: bytes, path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file as ``load_tensors`` does, given its bytes; ``path`` is for error messages."""
    with _one_line_of_error(path, kind):
        tensors = load(content)  # this checks the length that the next line relies on
        described: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        header = _header(described.get("__metadata__"), path, kind, version)
    _check(header, tensors, path)
    return header, tensors


@contextmanager
def _one_line_of_error(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (SafetensorError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise FormatError(f"{path}: damaged or not a {kind} file: {reason}") from None


def _header(metadata: Mapping[str, str] | None, path: Path, kind: str, version: int) -> dict[str, Any]:
    header: Any = json.loads((metadata or {}).get("vqvae", "{}"))
    if not isinstance(header, dict) or header.get("kind") != kind:
        raise UserError(f"{path}: not a {kind} file")
    if header.get("version") != version:
        raise UserError(f"{path}: {kind} of version {header.get('version')!r:.20}, not {version}: make it again")
    return header  # pyright: ignore[reportUnknownVariableType]


def _check(header: dict[str, Any], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Remove the checksum from the header and compare it with the checksum of the content."""
    if header.pop("crc32", None) != checksum(header, tensors):
        raise FormatError(f"{path}: damaged: its checksum does not match; restore the file or make it again")


def checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """Return the CRC-32 of the header, and of every tensor's name, type, shape and bytes, in order of names."""
    crc = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode(), crc)
        whole = tensor.contiguous().as_strided((tensor.numel(),), (1,))  # of one element, any stride is contiguous
        crc = zlib.crc32(whole.view(torch.uint8).numpy().data, crc)
    return crc
