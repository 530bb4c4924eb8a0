"""Every file of tensors that the project writes: safetensors, with one header that says what it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vqvae.errors import UserError
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
    """
    # one metadata key alone: safetensors writes several in an order that changes from run to run
    stamp = json.dumps({"kind": kind, "version": version, **header}, sort_keys=True)
    content = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    write_atomically(path, save(content, {"vqvae": stamp}))


def load_tensors(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file that ``save_tensors`` wrote: its header and its tensors.

    Raises:
        UserError: when it is missing, damaged, or of another kind or version.
    """
    try:
        with safe_open(path, framework="pt") as content:  # pyright: ignore[reportUnknownVariableType]
            header: dict[str, Any] = json.loads((content.metadata() or {}).get("vqvae", "{}"))
            if (header.get("kind"), header.get("version")) != (kind, version):
                raise UserError(f"{path}: not a file of kind {kind}, version {version}")
            return header, {name: content.get_tensor(name) for name in content.keys()}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: damaged or not a {kind} file: {error}") from None
