"""The results as people read them."""

from vqvae.commands.evaluate import Results
from vqvae.metrics.metric_info import MEASURES, Measure

_IN_OTHER_WORDS = ("images", "bits_per_code")  # the protocol's line, and the prior's or the uniform row


def results_table(results: Results) -> str:
    """Return the results as aligned lines, each number with its unit, then the protocol."""
    values = results.to_dict()
    protocol = results.protocol
    lines = [
        f"{key:32}{_number(values[key]):>10}  {_words(measure)}"
        for key, measure in MEASURES.items()
        if key not in _IN_OTHER_WORDS
    ]
    versions = ", ".join(f"{name} {version}" for name, version in protocol["versions"].items())
    size = "x".join(map(str, protocol["size"]))
    lines.append(
        f"\n{results.images} images of {protocol['data']}, split {protocol['split']}, {size}, "
        f"fit {protocol['crop']}, {protocol['skipped']} skipped, {protocol['precision']}; {versions}"
    )
    return "\n".join(lines)


def _words(measure: Measure) -> str:
    return ", ".join([measure.unit, measure.meaning, f"{measure.better} is better"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
