"""Write the page on which a run's models run in the browser."""

from pathlib import Path

import torch
from torch import Tensor

from vqvae.commands.export import certificate_images
from vqvae.commands.resolve import PriorRun, TokenizerRun
from vqvae.commands.sample import sample_pixels
from vqvae.config import TokenizerConfig, config_from, read_yaml
from vqvae.errors import UserError
from vqvae.export import FORMATS
from vqvae.files import write_atomically
from vqvae.page import Page, PageFacts, build_page
from vqvae.run_directory import RunDirectory
from vqvae.sampling import PLAIN
from vqvae.version import VERSION

_COUNTED = 512  # images whose codes are counted
_SAMPLES = 32  # the number of samples that the page shows if it has no images


def page_of_run(
    run: TokenizerRun, out: str | Path, *, data: str | None = None, split: str = "validation"
) -> list[str]:
    """Write the page of a run; the arguments and errors are those of ``build_page_of_run``.

    Returns:
        What the page lacks, a sentence each.
    """
    page = build_page_of_run(run, data=data, split=split)
    write_atomically(Path(out), page.html.encode(errors="backslashreplace"))
    return page.left_out


def build_page_of_run(run: TokenizerRun, *, data: str | None = None, split: str = "validation") -> Page:
    """Build the page of a run.

    Args:
        run: the tokenizer, or the prior and its tokenizer, on the CPU.
        data: the data set of the page's images; by default the run's own. The page shows samples of the prior if
            the run's own data cannot be read, or if they are not a run's and would have to be downloaded.
        split: the split of the data set.

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
    if pixels is not None and (pixels.shape[2], pixels.shape[3]) != size:
        left_out.append("the data have another size than the prior's images")
        words, pixels = "", None
    if pixels is None and isinstance(run, PriorRun):
        words, pixels = "samples of the prior", sample_pixels(run, num=_SAMPLES)
    shown = "no images" if pixels is None else "samples of the prior for images"
    with torch.no_grad():
        page = build_page(run.tokenizer.model, prior, _facts(run, words), size=size, pixels=pixels)
    return Page(page.html, [f"the page shows {shown}: {why}" for why in left_out] + page.left_out)


def _facts(run: TokenizerRun, counted: str) -> PageFacts:
    title = _title(run.path)
    hashes = f"Tokenizer {run.tokenizer.hash[:12]}"
    if isinstance(run, PriorRun):
        hashes += f", prior {run.prior.hash[:12]}"
    return PageFacts(
        title=title,
        kicker="Tokenizer and prior" if isinstance(run, PriorRun) else "Tokenizer",
        quantizer=run.tokenizer.card.build["model"]["quantizer"]["kind"],
        beta=_beta(run.path),
        classes=tuple(run.prior.card.classes) if isinstance(run, PriorRun) else (),
        sampling=run.controls if isinstance(run, PriorRun) else PLAIN,
        counted=counted,
        footer=f"Written by vqvae page {title}, vqvae {VERSION}. {hashes}.",
    )


def _images(run: TokenizerRun, data: str | None, split: str) -> tuple[str, Tensor | None, list[str]]:
    """Return where the images come from, the images, and why there are none."""
    own = run.data.spec if run.data is not None else ""
    if data is None and not RunDirectory(run.path).exists and (own == "cifar10" or own.startswith("hf:")):
        return "", None, [f"--data {own} would download the images that the model was trained on"]
    try:
        spec, pixels = certificate_images(run, data, split, _COUNTED)
    except UserError as error:
        if data is not None:
            raise
        return "", None, [str(error)]
    return f"{split} images of {Path(spec).name}", pixels, []


def _beta(path: Path) -> float | None:
    """Return the weight of the commitment term, which only a tokenizer's own run says."""
    own = RunDirectory(path)
    config = config_from(read_yaml(own.config), str(own.config)) if own.exists else None
    return config.beta if isinstance(config, TokenizerConfig) else None


def _title(path: Path) -> str:
    whole = path.resolve()
    return f"{whole.parent.name} {whole.name}" if whole.name in ("prior", "tokenizer") else whole.name
