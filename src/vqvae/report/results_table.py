"""The results of an evaluation as aligned lines of text."""

from collections.abc import Mapping
from typing import Any

from vqvae.metrics import Metric, Results, described
from vqvae.metrics.comparison import Figures


def results_table(results: Results) -> str:
    """Return a line per metric with its value, unit and meaning, then a line with the protocol."""
    rows = [(name, value) for name, value in results.values.items() if name != "images"]  # the last line has them
    protocol = results.protocol
    wide = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:{wide}}{_number(value):>10}  {_words(described(name, protocol))}" for name, value in rows]
    versions = ", ".join(f"{name} {version}" for name, version in protocol.get("versions", {}).items())
    size = "x".join(map(str, protocol["size"]))
    lines.append(
        f"\n{results['images']} images of {protocol['data']}, split {protocol['split']}, {size}, "
        f"fit {protocol['crop']}, {protocol['skipped']} skipped, {protocol['precision']}; {versions}"
    )
    return "\n".join(lines)


def comparison_table(figures: Figures, protocol: Mapping[str, Any]) -> str:
    """Return a line per figure with its interval, unit and meaning, then a line with the protocol."""
    lines: list[str] = []
    for name, value in figures.values.items():
        metric, interval = described(name, protocol), figures.intervals[name]
        between = "" if interval is None else f"{_short(interval[0])} to {_short(interval[1])}"
        words = ", ".join(filter(None, [metric.unit, metric.title, metric.direction]))
        lines.append(f"{name:10}{_short(value):>10}  {between:24}{words}")
    features, pairs = protocol["features"], protocol["pairs"]
    sides = "; ".join(
        f"{side.upper()}: {protocol[side]['count']:,} images, {_where(protocol[side])}" for side in ("a", "b")
    )
    lines.append(
        f"\n{sides}; {pairs['count']:,} pairs by {pairs['by']}; features of {features['network']} "
        f"{features['weights'][:12]}, resize {features['resize']}; intervals: {protocol['intervals']}"
    )
    return "\n".join(lines)


def _where(side: Mapping[str, Any]) -> str:
    if "run" in side:
        return f"{side['images']} of {side['run']}"
    return f"store {side['store']}" if "store" in side else f"{side['data']}, split {side['split']}"


def _short(value: float) -> str:
    return f"{value:.5g}"


def _words(metric: Metric) -> str:
    return ", ".join(filter(None, [metric.unit, metric.meaning, metric.direction]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
