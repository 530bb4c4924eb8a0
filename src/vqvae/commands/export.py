"""Write a model as files of another runtime, with a certificate."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqvae.commands.resolve import PriorRun, TokenizerRun, check_at_least_1, load_for
from vqvae.data import OBJECT
from vqvae.errors import ArgumentError, UserError
from vqvae.export import (
    FORMATS,
    Format,
    Graph,
    RunGraph,
    certify_prior,
    certify_tokenizer,
    prior_graphs,
    tokenizer_graphs,
)
from vqvae.files import write_atomically, write_json
from vqvae.progress import Progress, silent

CERTIFICATE = "certificate.json"


def export_run(
    run: TokenizerRun,
    out: str | Path,
    *,
    format: str = "onnx",
    data: str | None = None,
    split: str = "validation",
    num: int = 1000,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a run's models as files of another runtime, and the certificate of their agreement.

    Nothing is written if a code of the exported encoder differs at a position that is no near-tie.

    Args:
        run: the tokenizer, or the prior and its tokenizer, on the CPU.
        out: the folder to make.
        format: ``onnx`` or ``torch``.
        data: the data set whose images are encoded for the certificate; by default the run's own.
        split: the split of the data set.
        num: the number of images, at most.
        progress: called with the number of images done and of all images.

    Returns:
        The certificate.

    Raises:
        UserError: for a folder that is not empty, an unknown format, a missing package, data that cannot be read,
            or a model that cannot be exported.
    """
    if format not in FORMATS:
        raise ArgumentError("format", f"{format}: must be one of {', '.join(FORMATS)}")
    check_at_least_1(num=num)
    writer, folder = FORMATS[format], Path(out)
    writer.check()
    check_new_folder(folder)
    spec, pixels = certificate_images(run, data, split, num)
    graphs = tokenizer_graphs(run.tokenizer.model, (pixels.shape[2], pixels.shape[3]))
    if isinstance(run, PriorRun):
        graphs += prior_graphs(run.prior.model)
    files, opened = _written(graphs, writer)
    certificate = {
        "format": format,
        "versions": writer.versions(),
        "models": hashes_of(run),
        "data": {"spec": spec, "split": split},
        "files": {name: facts for name, (_, facts) in files.items()},
        **_certified(run, opened, pixels, progress),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (content, _) in files.items():
        write_atomically(folder / name, content)
    write_json(folder / CERTIFICATE, certificate)
    return certificate


def check_new_folder(folder: Path) -> None:
    """Raise UserError for a folder that is not empty, and for a file."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not overwritten: choose another --out")


def certificate_images(run: TokenizerRun, data: str | None, split: str, num: int) -> tuple[str, Tensor]:
    """Return a data set's spec and its first images, uint8 [N, C, H, W]; by default those of the run's own data.

    Raises:
        UserError: for data that cannot be read, and a run that does not say which data it had.
    """
    spec = data or (run.data.spec if run.data is not None else "")
    if not spec or spec.startswith(OBJECT):
        raise UserError(f"{run.path}: it does not say where images are: pass --data SPEC")
    images, _ = load_for(run, spec, split)
    return spec, images.pixels[:num]


def _written(
    graphs: list[Graph], writer: Format
) -> tuple[dict[str, tuple[bytes, dict[str, Any]]], dict[str, RunGraph]]:
    """Return each file's bytes and facts by its name, and the opened files by the names of the graphs."""
    files: dict[str, tuple[bytes, dict[str, Any]]] = {}
    opened: dict[str, RunGraph] = {}
    for graph in graphs:
        content, kept = writer.write(graph)
        facts = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "inputs": {name: _described(tensor, kept.sizes.get(name, {})) for name, tensor in kept.inputs.items()},
            "outputs": list(kept.outputs),
        }
        files[f"{graph.name}.{writer.ending}"] = content, facts
        opened[graph.name] = writer.open(content, kept)
    return files, opened


def _described(tensor: Tensor, sizes: dict[int, str]) -> dict[str, Any]:
    shape = [sizes.get(dim, size) for dim, size in enumerate(tensor.shape)]
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": shape}


def hashes_of(run: TokenizerRun) -> dict[str, Any]:
    """Return the SHA-256 of the model files, and the identity of the tokenizer, for a certificate."""
    own: dict[str, Any] = {"tokenizer": {"sha256": run.tokenizer.hash, "identity": run.tokenizer.card.identity}}
    if isinstance(run, PriorRun):
        own["prior"] = {"sha256": run.prior.hash, "classes": list(run.prior.card.classes)}
    return own


@torch.no_grad()
def _certified(
    run: TokenizerRun, opened: dict[str, RunGraph], pixels: Tensor, progress: Progress
) -> dict[str, Any]:
    facts, codes = certify_tokenizer(opened, run.tokenizer.model, pixels, progress)
    found: dict[str, Any] = {"tokenizer": facts}
    if isinstance(run, PriorRun):
        found["prior"] = certify_prior(opened, run.prior.model, codes[:64])
    return found
