"""A tokenizer, and a prior over its codes, measured over a whole split."""

import platform
from dataclasses import asdict, dataclass
from math import log, prod
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vqvae.data import ImageSet
from vqvae.likelihoods import pixel_nats
from vqvae.metrics.baselines import pooled, unigram_nats
from vqvae.metrics.images import CodeCounts, bits, psnr, ssim
from vqvae.models import VQVAE, uniform_prior_bits
from vqvae.priors import CodePrior
from vqvae.tensors import CodeSpec, images_from_pixels


@dataclass(frozen=True)
class Results:
    """What a split measures; the JSON of ``vqvae evaluate --json``.

    What each figure is, ``measures.MEASURES`` says; ``protocol`` says what was measured, and with what. The bound
    is -log2 p(x) <= -log2 p(x | z) - log2 p(z). What takes a learned prior, or its counts, is None without.
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
    """Sums over images, in the order of the split.

    Attributes:
        tokenizer: what is measured.
        counts: of the training codes at each position, [h, w, n, K], for the floors.
        chosen: how often each code was.
        spec: of the codes of an image.
        image_shape: [C, H, W].
    """

    tokenizer: VQVAE
    counts: Tensor | None
    chosen: CodeCounts
    spec: CodeSpec
    image_shape: tuple[int, ...] = ()
    images: int = 0
    squared_error: float = 0.0
    psnr: float = 0.0
    ssim: float = 0.0
    decoder_nats: float = 0.0
    prior_nats: float | None = None  # None: not measured
    unigram_nats: float | None = None
    position_nats: float | None = None

    def add(self, pixels: Tensor, codes: Tensor) -> None:
        """Take images, uint8 [B, C, H, W], and their codes, [B, h, w, n]."""
        self.image_shape = tuple(pixels.shape[1:])
        self.chosen.add(codes)
        images = images_from_pixels(pixels)
        reconstruction = self.tokenizer.decode(codes).cpu()  # the measures are float64
        noise_variance = self.tokenizer.noise_variance.cpu()
        self.images += len(pixels)
        self.squared_error += float((reconstruction - images).double().square().sum())
        self.psnr += float(psnr(pixels, reconstruction).sum())
        self.ssim += float(ssim(pixels, reconstruction).sum())
        self.decoder_nats += float(pixel_nats(pixels, reconstruction, noise_variance).sum())

    def add_baselines(self, codes: Tensor) -> None:
        """Take what the counts say of the same codes; those of another grid say nothing here."""
        if self.counts is not None and self.counts.shape[:3] == codes.shape[1:]:
            unigram, position = (
                unigram_nats(codes.cpu(), counts) for counts in (pooled(self.counts), self.counts)
            )
            self.unigram_nats = (self.unigram_nats or 0.0) + float(unigram.sum())
            self.position_nats = (self.position_nats or 0.0) + float(position.sum())

    def add_prior(self, log_prob: Tensor) -> None:
        """Take what a prior says of the same images, [B]."""
        self.prior_nats = (self.prior_nats or 0.0) - float(log_prob.cpu().double().sum())

    def results(self, protocol: dict[str, Any]) -> Results:
        """Return the means."""
        n, dims, codes = self.images, prod(self.image_shape), self.spec.codes_per_image
        uniform, decoder = bits(log(self.spec.num_codes)), bits(self.decoder_nats) / (n * dims)
        learned, unigram, by_position = (
            None if nats is None else bits(nats) / (n * codes)
            for nats in (self.prior_nats, self.unigram_nats, self.position_nats)
        )
        return Results(
            images=n,
            nmse=self.squared_error / (n * dims) / float(self.tokenizer.pixel_variance),
            psnr=self.psnr / n,
            ssim=self.ssim / n,
            perplexity=self.chosen.perplexity,
            usage=self.chosen.usage,
            bits_per_code=uniform if learned is None else learned,
            bits_per_code_uniform=uniform,
            bits_per_code_unigram=unigram,
            bits_per_code_position_unigram=by_position,
            bits_per_code_prior=learned,
            kl_bits_per_dim_uniform=uniform_prior_bits(self.spec, self.image_shape),
            bits_per_dim_uniform=decoder + uniform * codes / dims,
            bits_per_dim_prior=None if learned is None else decoder + learned * codes / dims,
            protocol=protocol,
        )


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
    spec = tokenizer.code_spec(*images.pixels.shape[2:])
    sums = _Sums(tokenizer, counts, CodeCounts(spec.num_codes), spec)
    labelled = prior is not None and prior.num_classes > 0 and use_labels and images.labels is not None
    rows = torch.arange(len(images)).split(batch_size)
    for batch in tqdm(rows, desc="evaluate", unit="batch", leave=False, disable=None if progress else True):
        pixels = images.pixels[batch]
        codes = tokenizer.encode(images_from_pixels(pixels.to(device)))
        sums.add(pixels, codes)
        sums.add_baselines(codes)
        if prior is not None:
            labels = images.labels[batch].to(device) if labelled and images.labels is not None else None
            sums.add_prior(prior.log_prob(codes, labels))
    how = {"crop": fit, "codes": list(spec.shape), "labels": labelled}
    return sums.results(_protocol(images, how)), sums.chosen.counts


def _protocol(images: ImageSet, how: dict[str, Any]) -> dict[str, Any]:
    """Say what was measured, ``how``, and with what."""
    return {
        "data": images.spec,
        "split": images.split,
        "count": len(images),
        "skipped": len(images.bad),
        "size": list(images.pixels.shape[1:]),
        **how,
        "fingerprint": images.fingerprint,
        "precision": "fp32",
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    from vqvae import __version__

    return {"vqvae": __version__, "torch": torch.__version__, "python": platform.python_version()}
