"""What each figure of ``Results`` is, said once, for the table and for the page."""

from typing import NamedTuple


class Measure(NamedTuple):
    """One figure.

    Attributes:
        name: as a page has it.
        unit: of its number.
        better: ``lower`` or ``higher``; "" where neither is.
        meaning: in words.
    """

    name: str
    unit: str
    better: str
    meaning: str


MEASURES = {
    name: Measure(*said)
    for name, said in {
        "images": ("Images", "images", "", "measured"),
        "nmse": (
            "NMSE", "ratio", "lower", "squared error over the training pixels' variance: 0 exact, 1 a constant"),
        "psnr": ("PSNR", "dB", "higher", "peak 255, rounded to uint8, mean over images"),
        "ssim": ("SSIM", "-1 to 1", "higher", "structural similarity, mean over images: 1 is identical"),
        "perplexity": ("Perplexity", "codes", "higher", "of all codes: so many, evenly used, would vary as much"),
        "usage": ("Usage", "share", "higher", "codes chosen at least once, of all K"),
        "bits_per_code": ("Bits a code", "bits", "lower", "under the learned prior, else the uniform one"),
        "bits_per_code_uniform": ("Bits a code, uniform", "bits", "lower", "under the uniform prior: log2 K"),
        "bits_per_code_unigram": (
            "Bits a code, unigram", "bits", "lower", "by how often training had each: a prior must be below"),
        "bits_per_code_position_unigram": (
            "Bits a code, by position", "bits", "lower", "the same, each position by itself"),
        "bits_per_code_prior": ("Bits a code, prior", "bits", "lower", "under the learned prior"),
        "kl_bits_per_dim_uniform": (
            "KL, uniform", "bits", "lower", "an image's codes alone under the uniform prior, over C*H*W"),
        "bits_per_dim_uniform": (
            "Bits a dimension, uniform", "bits", "lower", "bound on -log2 p(x), of codes and pixels, over C*H*W"),
        "bits_per_dim_prior": (
            "Bits a dimension, prior", "bits", "lower", "the same bound with the learned prior, over C*H*W"),
    }.items()
}  # fmt: skip
