"""The results as people read them."""

from vqvae.evaluation.evaluate import Results

_ROWS = (
    ("nmse", "squared error / variance of the training pixels, lower is better"),
    ("psnr", "dB, peak 255, rounded to uint8, mean over images, higher is better"),
    ("ssim", "structural similarity, at most 1, higher is better"),
    ("perplexity", "of the codes over the whole split"),
    ("usage", "share of the codebook chosen at least once"),
    ("bits_per_code_uniform", "bits a code under the uniform prior, log2 K"),
    ("bits_per_code_unigram", "bits a code by how often training had each: a prior must be below"),
    ("bits_per_code_position_unigram", "the same, each position by itself"),
    ("bits_per_code_prior", "bits a code under the learned prior, lower is better"),
    ("kl_bits_per_dim_uniform", "bits a dimension: the codes alone under the uniform prior"),
    ("bits_per_dim_uniform", "bits a dimension: bound on -log2 p(image), uniform prior"),
    ("bits_per_dim_prior", "bits a dimension: bound on -log2 p(image), learned prior"),
)


def results_table(results: Results) -> str:
    """Return the results as aligned lines, each number with its unit, then the protocol."""
    values = results.to_dict()
    protocol = results.protocol
    lines = [f"{name:32}{_number(values[name]):>10}  {meaning}" for name, meaning in _ROWS]
    versions = ", ".join(f"{name} {version}" for name, version in protocol["versions"].items())
    size = "x".join(map(str, protocol["size"]))
    lines.append(
        f"\n{results.images} images of {protocol['data']}, split {protocol['split']}, {size}, "
        f"fit {protocol['crop']}, {protocol['skipped']} skipped, {protocol['precision']}; {versions}"
    )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
