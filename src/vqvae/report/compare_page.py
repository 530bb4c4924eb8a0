"""The page about a comparison: figures, pairs of pictures with the worst first, nearest images."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqvae.metrics import described
from vqvae.metrics.bootstrap import Interval
from vqvae.report.html import fact_list, html_table, readable, sections, write_page
from vqvae.report.pictures import grid, picture_element

_PAIRS, _SHOWN, _NEAREST = 24, 64, 12
_WIDEST, _SIDE = 210, 100  # CSS pixels of a pair, and of an image in it, about


@dataclass(frozen=True, eq=False)
class Shown:
    """What the page shows.

    Attributes:
        names: what A and B are called.
        a: uint8 [N, C, H, W].
        b: uint8 [M, C, H, W]; with pairs, image i belongs to image i of A.
        titles: the names of the images of B; empty for samples.
        pairs: ``psnr``, ``ssim`` and, if it was measured, ``lpips`` of the first P images of both, float [P] each;
            empty where nothing pairs.
        nearest: int64 [M, k], the images of A that are nearest to each image of B.
        distances: float [M], of the nearest.
        values: figures by name.
        intervals: their intervals.
        protocol: what was measured, and how.
    """

    names: tuple[str, str]
    a: Tensor
    b: Tensor
    titles: tuple[str, ...]
    pairs: Mapping[str, Tensor]
    nearest: Tensor
    distances: Tensor
    values: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    protocol: Mapping[str, Any]


def write_comparison(path: Path, shown: Shown) -> None:
    """Write the page: one file that needs no other file and no network."""
    a, b = (escape(name) for name in shown.names)
    lead = (
        f"B, {len(shown.b):,} images of <code>{b}</code>, judged against A, {len(shown.a):,} of <code>{a}</code>."
    )
    story = (
        ("Results", _results(shown)),
        ("Worst pairs", _worst_pairs(shown) if shown.pairs else ""),
        ("Both sets", "" if shown.pairs else _both(shown)),
        ("Nearest images", "" if shown.pairs else _nearest(shown)),
        ("Protocol", fact_list(shown.protocol)),
    )
    header = f'<header><p class="kicker">Comparison</p><h1>B against A</h1><p class="lead">{lead}</p></header>'
    title = f"{shown.names[1]} against {shown.names[0]}"
    write_page(path, title=title, body=header + sections(story, 2), command="vqvae compare")


def _results(shown: Shown) -> str:
    """Return the figures as a table."""
    rows = ""
    for name, value in shown.values.items():
        metric, interval = described(name, shown.protocol), shown.intervals.get(name)
        between = "" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"
        rows += (
            f'<tr><th scope="row">{escape(metric.title)}</th><td class="number">'
            f'<data value="{value}">{escape(readable(value))}</data></td><td class="soft">{between}</td>'
            f'<td class="soft">{escape(metric.unit)}</td><td class="soft">{escape(metric.direction)}</td></tr>'
        )
    return html_table(("Metric", "Value", "95 %", "Unit", "Better"), rows, css="results")


def _worst_pairs(shown: Shown) -> str:
    decibels, alike = shown.pairs["psnr"], shown.pairs["ssim"]
    figures = ""
    for row in decibels.argsort(stable=True)[:_PAIRS].tolist():
        picture = picture_element(_in_a_row(shown.a[row], shown.b[row]), alt="A left, B right", widest=_WIDEST * 2)
        words = f"{decibels[row]:.2f} dB, SSIM {alike[row]:.3f}"
        words += f", LPIPS {shown.pairs['lpips'][row]:.3f}" if "lpips" in shown.pairs else ""
        words += f"<br>{escape(shown.titles[row])}"
        figures += f"<figure>{picture}<figcaption>{words}</figcaption></figure>"
    quiet = '<p class="quiet">A on the left, B on the right; lowest PSNR first.</p>'
    return f'{quiet}<div class="pairs">{figures}</div>'


def _both(shown: Shown) -> str:
    return "".join(
        f"<figure>{picture_element(grid(pixels[:_SHOWN], columns=16), alt=f'images of {name}')}"
        f"<figcaption>{name}: {min(_SHOWN, len(pixels))} of {len(pixels):,} images, chosen by a hash of their "
        "pixels.</figcaption></figure>"
        for name, pixels in (("A", shown.a), ("B", shown.b))
    )


def _nearest(shown: Shown) -> str:
    figures = ""
    for row in shown.distances.argsort(stable=True)[:_NEAREST].tolist():
        picture = picture_element(
            _in_a_row(shown.b[row], *shown.a[shown.nearest[row]]), alt="B, then A", widest=_WIDEST * 2
        )
        title = f"<br>{escape(shown.titles[row])}" if shown.titles else ""
        figures += f"<figure>{picture}<figcaption>distance {shown.distances[row]:.3g}{title}</figcaption></figure>"
    quiet = (
        '<p class="quiet">Images of B, those nearest to an image of A in the features first: on the left '
        "the image of B, on its right the images of A nearest to it. A memorised image shows here.</p>"
    )
    return f'{quiet}<div class="pairs">{figures}</div>'


def _in_a_row(*images: Tensor) -> Image.Image:
    return grid(torch.stack(images), columns=len(images), scale=max(1, _SIDE // images[0].shape[2]))
