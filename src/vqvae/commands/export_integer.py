"""Write the integer form of a run's models, and a certificate of what it costs in bits."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqvae.coding.integer import PRIORS, IntegerPixels
from vqvae.commands.export import CERTIFICATE, certificate_images, check_new_folder, hashes_of
from vqvae.commands.resolve import PriorRun, TokenizerRun, check_at_least_1
from vqvae.errors import UserError
from vqvae.export.integer import certify_codes, certify_pixels, whole_numbers
from vqvae.files import write_json
from vqvae.models import VQVAE
from vqvae.progress import Progress, silent
from vqvae.screen import say
from vqvae.tensorfile import save_tensors
from vqvae.tensors import images_from_pixels

NAME, KIND, VERSION = "integer.safetensors", "vqvae-integer", 1
_BATCH = 64


def export_integer(
    run: TokenizerRun,
    out: str | Path,
    *,
    data: str | None = None,
    split: str = "validation",
    num: int = 1000,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write the whole numbers of a run's integer form, and the certificate of what the integer form costs.

    The arguments are those of ``export_run``. If the decoder or the likelihood has no integer form, the
    certificate is about codes alone.

    Returns:
        The certificate.

    Raises:
        UserError: for a folder that is not empty, data that cannot be read, and a prior without an integer form.
    """
    check_at_least_1(num=num)
    folder = Path(out)
    check_new_folder(folder)
    tokenizer = run.tokenizer.model
    prior = PRIORS.make(run.prior.model) if isinstance(run, PriorRun) else None
    pixels = _pixels_of(tokenizer, needed=prior is None)
    spec, images = certificate_images(run, data, split, num)
    codes = _codes(tokenizer, images)
    certificate: dict[str, Any] = {
        "format": "integer",
        "versions": {"torch": version("torch")},
        "models": hashes_of(run),
        "data": {"spec": spec, "split": split},
    }
    if isinstance(run, PriorRun) and prior is not None:
        certificate["codes"] = certify_codes(run.prior.model, prior, codes, progress)
    if pixels is not None:
        certificate["pixels"] = certify_pixels(tokenizer, pixels, codes, images, progress)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / NAME, KIND, VERSION, {"models": hashes_of(run)}, whole_numbers(pixels, prior))
    certificate["files"] = {NAME: {"sha256": hashlib.sha256((folder / NAME).read_bytes()).hexdigest()}}
    write_json(folder / CERTIFICATE, certificate)
    return certificate


def _pixels_of(tokenizer: VQVAE, *, needed: bool) -> IntegerPixels | None:
    try:
        return IntegerPixels(tokenizer)
    except UserError as error:
        if needed:
            raise
        say(f"{error}: the certificate is about codes alone")
        return None


@torch.no_grad()
def _codes(tokenizer: VQVAE, pixels: Tensor) -> Tensor:
    return torch.cat([tokenizer.encode(images_from_pixels(part), exact=True) for part in pixels.split(_BATCH)])


def in_words(certificate: dict[str, Any]) -> str:
    """Return what the integer form costs, in one line."""
    found = list[str]()
    for what in ("codes", "pixels"):
        if what in certificate:
            facts = certificate[what]
            costs = f"{facts['cost_percent']:+.4f} % bits for the {what} of {facts['images']:,} images"
            found.append(costs + (" (more than the aim of 0.5 %)" if facts["cost_percent"] > 0.5 else ""))
    return f"the integer form costs {' and '.join(found)}"
