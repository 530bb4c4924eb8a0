"""The results of an evaluation as aligned lines of text."""

from vqvae.metrics import Metric, Results, described


def results_table(results: Results) -> str:
    """Return a line per metric with its value, unit and meaning, then a line with the protocol."""
    rows = [(name, value) for name, value in results.values.items() if name != "images"]  # the last line has them
    wide = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:{wide}}{_number(value):>10}  {_words(described(name))}" for name, value in rows]
    protocol = results.protocol
    versions = ", ".join(f"{name} {version}" for name, version in protocol.get("versions", {}).items())
    size = "x".join(map(str, protocol["size"]))
    lines.append(
        f"\n{results['images']} images of {protocol['data']}, split {protocol['split']}, {size}, "
        f"fit {protocol['crop']}, {protocol['skipped']} skipped, {protocol['precision']}; {versions}"
    )
    return "\n".join(lines)


def _words(metric: Metric) -> str:
    return ", ".join(filter(None, [metric.unit, metric.meaning, metric.direction]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
