"""A tokenizer, and a prior over its codes, measured over a whole split."""

import platform
from dataclasses import asdict, dataclass
from math import log, prod
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vqvae.data import ImageSet
from vqvae.evaluation.floors import pooled, unigram_nats
from vqvae.evaluation.metrics import CodeCounts, bits, psnr, ssim
from vqvae.models import VQVAE, CodePrior, pixel_nats, uniform_prior_bits
from vqvae.tensors import images_from_pixels


@dataclass(frozen=True)
class Results:
    """What a split measures; the JSON of ``vqvae evaluate --json``.

    Attributes:
        images: how many.
        nmse: mean squared error over the variance of the training pixels; lower is better, 0 is exact.
        psnr: dB, peak 255, after rounding to uint8, mean over images; higher is better.
        ssim: structural similarity, at most 1, mean over images; higher is better.
        perplexity: of the codes over the whole split, in 1..K.
        usage: the share of the codebook chosen at least once over the whole split.
        bits_per_code: cost of a code under the best prior there is: the learned one, else the uniform one.
        bits_per_code_uniform: log2 K.
        bits_per_code_unigram: cost of a code by how often each was counted in training; None without counts.
        bits_per_code_position_unigram: the same, counted at each position by itself.
        bits_per_code_prior: cost of a code under the learned prior; None without one.
        kl_bits_per_dim_uniform: the KL term under the uniform prior, n*h*w*log2 K / (C*H*W).
        bits_per_dim_uniform: the bound -log2 p(x) <= -log2 p(x | z) - log2 p(z) over C*H*W, p(z) uniform.
        bits_per_dim_prior: the same bound with the learned prior; None without one.
        protocol: what was measured, and with what.
    """

    images: int
    nmse: float
    psnr: float
    ssim: float
    perplexity: float
    usage: float
    bits_per_code: float
    bits_per_code_uniform: float
    bits_per_code_unigram: float | None
    bits_per_code_position_unigram: float | None
    bits_per_code_prior: float | None
    kl_bits_per_dim_uniform: float
    bits_per_dim_uniform: float
    bits_per_dim_prior: float | None
    protocol: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON holds them."""
        return asdict(self)


@dataclass
class _Sums:
    """Sums over images, in the order of the split."""

    images: int = 0
    squared_error: float = 0.0
    psnr: float = 0.0
    ssim: float = 0.0
    decoder_nats: float = 0.0
    prior_nats: float = 0.0
    unigram_nats: float = 0.0
    position_nats: float = 0.0

    def add(self, tokenizer: VQVAE, pixels: Tensor, reconstruction: Tensor) -> None:
        images = images_from_pixels(pixels)
        self.images += len(pixels)
        self.squared_error += float((reconstruction - images).double().square().sum())
        self.psnr += float(psnr(pixels, reconstruction).sum())
        self.ssim += float(ssim(pixels, reconstruction).sum())
        self.decoder_nats += float(pixel_nats(pixels, reconstruction, tokenizer.noise_variance.cpu()).sum())

    def add_floors(self, codes: Tensor, counts: Tensor) -> None:
        self.unigram_nats += float(unigram_nats(codes, pooled(counts)).sum())
        self.position_nats += float(unigram_nats(codes, counts).sum())


@torch.no_grad()
def evaluate(
    tokenizer: VQVAE,
    images: ImageSet,
    *,
    prior: CodePrior | None = None,
    counts: Tensor | None = None,
    use_labels: bool = True,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: bool = False,
    fit: str = "strict",
) -> tuple[Results, Tensor]:
    """Measure a tokenizer, and its prior where there is one, over a split, in float32.

    Args:
        tokenizer: in eval mode, on the device.
        images: the split.
        prior: of this tokenizer's codes, in eval mode, on the device; one trained with classes is told the
            images' labels.
        counts: of the training codes at each position, [h, w, n, K], for the floors; those of another grid say
            nothing here and are left out.
        use_labels: False measures a prior with classes without them.
        batch_size: only of speed and memory; no figure depends on it.
        device: of the models.
        progress: whether to show a bar on a terminal.
        fit: how images were made to fit, for the protocol.

    Returns:
        The results, and how often each code was chosen, int64 [K]; [0] where K is above 2^20.
    """
    sums, chosen = _Sums(), CodeCounts(tokenizer.num_codes)
    labelled = prior is not None and prior.num_classes > 0 and use_labels and images.labels is not None
    rows = torch.arange(len(images)).split(batch_size)
    code_shape: tuple[int, ...] = ()
    for batch in tqdm(rows, desc="evaluate", unit="batch", leave=False, disable=None if progress else True):
        pixels = images.pixels[batch]
        codes = tokenizer.encode(images_from_pixels(pixels.to(device)))
        code_shape = tuple(codes.shape[1:])
        chosen.add(codes)
        counts = counts if counts is not None and counts.shape[:3] == code_shape else None
        if counts is not None:
            sums.add_floors(codes.cpu(), counts)
        sums.add(tokenizer, pixels, tokenizer.decode(codes).cpu())  # the measures are float64
        if prior is not None:
            labels = images.labels[batch].to(device) if labelled and images.labels is not None else None
            sums.prior_nats -= float(prior.log_prob(codes, labels).cpu().double().sum())
    floors = counts is not None
    return _results(tokenizer, images, sums, chosen, code_shape, prior, floors, labelled, fit), chosen.counts


def _results(
    tokenizer: VQVAE,
    images: ImageSet,
    sums: _Sums,
    counts: CodeCounts,
    code_shape: tuple[int, ...],
    prior: CodePrior | None,
    floors: bool,
    labelled: bool,
    fit: str,
) -> Results:
    n, image_shape = sums.images, tuple(images.pixels.shape[1:])
    dims, codes_an_image = prod(image_shape), prod(code_shape)
    uniform = bits(log(tokenizer.num_codes))
    learned, unigram, by_position = (
        bits(nats) / (n * codes_an_image) if known else None
        for nats, known in (
            (sums.prior_nats, prior is not None),
            (sums.unigram_nats, floors),
            (sums.position_nats, floors),
        )
    )
    decoder = bits(sums.decoder_nats) / (n * dims)
    return Results(
        images=n,
        nmse=sums.squared_error / (n * dims) / float(tokenizer.pixel_variance),
        psnr=sums.psnr / n,
        ssim=sums.ssim / n,
        perplexity=counts.perplexity,
        usage=counts.usage,
        bits_per_code=uniform if learned is None else learned,
        bits_per_code_uniform=uniform,
        bits_per_code_unigram=unigram,
        bits_per_code_position_unigram=by_position,
        bits_per_code_prior=learned,
        kl_bits_per_dim_uniform=uniform_prior_bits(code_shape, tokenizer.num_codes, image_shape),
        bits_per_dim_uniform=decoder + uniform * codes_an_image / dims,
        bits_per_dim_prior=None if learned is None else decoder + learned * codes_an_image / dims,
        protocol={
            "data": images.spec,
            "split": images.split,
            "count": n,
            "skipped": len(images.bad),
            "size": list(image_shape),
            "crop": fit,
            "codes": list(code_shape),
            "labels": labelled,
            "fingerprint": images.fingerprint,
            "precision": "fp32",
            "versions": _versions(),
        },
    )


def _versions() -> dict[str, str]:
    from vqvae import __version__

    return {"vqvae": __version__, "torch": torch.__version__, "python": platform.python_version()}
