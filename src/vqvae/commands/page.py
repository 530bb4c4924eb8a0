"""Write the page on which a run's models run in the browser."""

from pathlib import Path

import torch
from torch import Tensor

from vqvae.commands.export import certificate_images
from vqvae.commands.resolve import PriorRun, TokenizerRun
from vqvae.config import TokenizerConfig, config_from, read_yaml
from vqvae.errors import UserError
from vqvae.export import FORMATS
from vqvae.files import write_atomically
from vqvae.page import PageFacts, build_page
from vqvae.run_directory import RunDirectory
from vqvae.version import VERSION

_COUNTED = 512  # images whose codes are counted


def page_of_run(
    run: TokenizerRun, out: str | Path, *, data: str | None = None, split: str = "validation"
) -> list[str]:
    """Write the page of a run.

    Args:
        run: the tokenizer, or the prior and its tokenizer, on the CPU.
        out: the HTML file.
        data: the data set of the page's images; by default the run's own. If the run's own data cannot be read,
            the page has no images.
        split: the split of the data set.

    Returns:
        What the page lacks, a sentence each.

    Raises:
        UserError: for a missing package, a model that the page cannot run, or data that are named and cannot be
            read.
    """
    FORMATS["onnx"].check()
    words, pixels, left_out = _images(run, data, split)
    prior = run.prior.model if isinstance(run, PriorRun) else None
    card = run.tokenizer.card
    size = (card.image_shape[1], card.image_shape[2]) if pixels is None else (pixels.shape[2], pixels.shape[3])
    if prior is not None:  # the page draws grids of the prior's size
        size = prior.spec.grid[0] * run.tokenizer.model.factor, prior.spec.grid[1] * run.tokenizer.model.factor
    facts = PageFacts(
        title=_title(run.path),
        kicker="Tokenizer and prior" if prior is not None else "Tokenizer",
        quantizer=card.build["model"]["quantizer"]["kind"],
        beta=_beta(run.path),
        classes=tuple(run.prior.card.classes) if isinstance(run, PriorRun) else (),
        counted=words,
        footer=f"Written by vqvae page {run.path}, vqvae {VERSION}. Tokenizer {run.tokenizer.hash[:12]}"
        + (f", prior {run.prior.hash[:12]}." if isinstance(run, PriorRun) else "."),
    )
    if pixels is not None and (pixels.shape[2], pixels.shape[3]) != size:
        left_out.append("the page has no images: the data have another size than the prior's images")
        pixels = None
    with torch.no_grad():
        page = build_page(run.tokenizer.model, prior, facts, size=size, pixels=pixels)
    write_atomically(Path(out), page.html.encode(errors="backslashreplace"))
    return left_out + page.left_out


def _images(run: TokenizerRun, data: str | None, split: str) -> tuple[str, Tensor | None, list[str]]:
    try:
        spec, pixels = certificate_images(run, data, split, _COUNTED)
    except UserError as error:
        if data is not None:
            raise
        return "", None, [f"the page has no images: {error}"]
    return f"{split} images of {Path(spec).name}", pixels, []


def _beta(path: Path) -> float | None:
    """Return the weight of the commitment term, which only a tokenizer's own run says."""
    own = RunDirectory(path)
    config = config_from(read_yaml(own.config), str(own.config)) if own.exists else None
    return config.beta if isinstance(config, TokenizerConfig) else None


def _title(path: Path) -> str:
    whole = path.resolve()
    return f"{whole.parent.name} {whole.name}" if whole.name in ("prior", "tokenizer") else whole.name
