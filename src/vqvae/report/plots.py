"""Draw curves and code counts as HTML figures, in the colours and the font of the page, light or dark."""

# matplotlib leaves the type of **kwargs open nearly everywhere
# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false

import io
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from vqvae.report.curves import Curve, Panel

if TYPE_CHECKING:  # importing matplotlib takes a second, which commands without plots should not spend
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours by name. matplotlib draws with them; in the SVG, CSS variables of the page replace them.
INKS = {
    "train": "#2b6cb1",
    "validation": "#d4551c",
    "quiet": "#8a8f99",
    "axis": "#6d727c",
    "rule": "#e3e4e8",
    "dead": "#c2323b",
}
_MOST_POINTS = 800  # a figure is about 900 device pixels wide; more points only make the page larger
_MOST_BARS = 1024
_DOTTED = (0, (1, 2.5))  # offset 0; dots of one line width, gaps of two and a half
_DASHED = (0, (4, 3))
_LEVEL_STYLES = {"uniform": ("dotted", _DOTTED), "unigram": ("dashed", _DASHED)}
_SIZES = {"wide": (840, 290), "half": (410, 210), "quarter": (200, 130)}


def _is_log(panel: Panel) -> bool:
    """Return whether a panel is drawn on a logarithmic scale: it may be, and its values span a factor of 10."""
    values = [value for curve in panel.curves for value in smooth(curve.values)]
    return panel.may_be_log and min(values) > 0 and max(values) > 10 * min(values)


def smooth(values: Sequence[float]) -> list[float]:
    """Average each value over a centred window of a fortieth of the line.

    A trailing window would shift every drop to the right. At the ends of the line, the window shrinks.
    """
    half = len(values) // 80
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    reach = np.minimum(half, np.minimum(at, len(values) - 1 - at))
    return ((total[at + reach + 1] - total[at - reach]) / (2 * reach + 1)).tolist()


def panel_figure(panel: Panel, *, name: str) -> str:
    """Draw a panel as an HTML ``<figure>``: a caption with the key of its lines, and an inline SVG.

    Args:
        panel: the panel.
        name: a name that is unique on the page; the ids in the SVG begin with it.
    """
    log_scale = _is_log(panel)
    named = [curve for curve in panel.curves if curve.label != "train" or len(panel.curves) > 1]
    keys = "".join(_key(*words) for words in dict.fromkeys((curve.label, curve.ink) for curve in named))
    figure, axes = _blank(*_SIZES[panel.size])
    if log_scale:
        axes.set_yscale("log")
    for curve in panel.curves:
        _draw(axes, curve)
    for label, level in panel.levels:
        shape, style = _LEVEL_STYLES.get(label, ("line", "-"))
        axes.axhline(level, color=INKS["axis"], linewidth=1.2, linestyle=style)
        keys += _key(f"{label}, {level:.4g}", "axis", shape)
    if panel.best is not None:
        step, value = panel.best
        axes.plot(step, value, "o", markersize=9, markerfacecolor="none", markeredgecolor=INKS["validation"])
        keys += _key(f"best, {value:.4g} at step {step:,.0f}", "validation", "ring")
    axes.margins(y=0.08)
    if panel.key in ("rate", "speed"):
        axes.set_ylim(bottom=0)  # otherwise a variation of 1 % would fill the panel
    axes.set_xlim(0, panel.last_step * 1.01 or 1)  # the same in all panels, for comparison
    _label_ticks(axes)
    ends = "; ".join(f"{curve.label} {curve.values[0]:.4g} to {curve.values[-1]:.4g}" for curve in panel.curves)
    svg = _svg(figure, name=name, alt=f"{panel.title} by step: {ends}.")
    note = "; ".join(filter(None, [panel.note, "log scale" if log_scale else ""]))
    return _figure(panel.size, panel.title, note, keys, svg)


def usage_figure(counts: Sequence[int], *, perplexity: float | None, name: str) -> str:
    """Draw how often each code is used, relative to even use (1), the most used first, as an HTML ``<figure>``.

    Args:
        counts: [K], how often each code was chosen, in any order.
        perplexity: effective number of codes in use, 1 to K; a dashed line marks it.
        name: a name that is unique on the page; the ids in the SVG begin with it.
    """
    ranked = np.sort(np.asarray(counts, dtype=np.float64))[::-1]
    used = int((ranked > 0).sum())
    share = ranked * len(ranked) / max(1.0, ranked.sum())
    log_scale = (
        used > 0 and share[0] > 10 * share[used // 2]
    )  # else a few codes hide how even the use of the others is
    keys = _key("even use", "axis", "dotted")
    edges = np.unique(np.linspace(0, len(ranked), min(len(ranked), _MOST_BARS) + 1).astype(int))
    figure, axes = _blank(840, 240)
    floor = share[used - 1] / 2 if log_scale else 0.0
    axes.stairs(share[edges[:-1]], edges, fill=True, baseline=floor, color=INKS["train"], alpha=0.75, linewidth=0)
    if log_scale:
        axes.set_yscale("log")
    axes.set_ylim(floor, max(1.0, share[0]) * (1.5 if log_scale else 1.06))
    axes.axhline(1.0, color=INKS["axis"], linewidth=1.2, linestyle=_DOTTED)
    if perplexity is not None:
        axes.axvline(perplexity, color=INKS["validation"], linewidth=1.4, linestyle=_DASHED)
        keys += _key(f"perplexity, {perplexity:.4g}", "validation", "dashed")
    if used < len(ranked):
        axes.axvspan(used, len(ranked), color=INKS["dead"], alpha=0.16, linewidth=0)
        keys += _key(f"never used, {len(ranked) - used:,}", "dead", "block")
    axes.set_xlim(0, len(ranked))
    _label_ticks(axes)
    svg = _svg(figure, name=name, alt=f"Use of the {len(ranked):,} codes, most used first; {used:,} are used.")
    title = f"{used:,} of {len(ranked):,} codes used"
    note = "relative to even use, most used first" + ("; log scale" if log_scale else "")
    return _figure("wide", title, note, keys, svg)


def rate_figure(points: Sequence[tuple[int, float, float]], *, name: str) -> str:
    """Draw PSNR against rate, one point for each depth of a residual quantizer, as an HTML ``<figure>``.

    Args:
        points: depth, bits of its codes per dimension, and PSNR in dB; in order of depth.
        name: a name that is unique on the page; the ids in the SVG begin with it.
    """
    _, rates, values = zip(*points, strict=True)
    figure, axes = _blank(840, 240)
    axes.plot(rates, values, color=INKS["train"], linewidth=1.8, marker="o", markersize=5)
    for depth, rate, value in points:
        axes.annotate(
            str(depth), (rate, value), (0, 8), textcoords="offset points", ha="center", color=INKS["axis"]
        )
    axes.margins(y=0.15)
    axes.set_xlim(0, 1.05 * max(rates))
    _label_ticks(axes, whole=False)
    ends = "; ".join(f"{depth}: {value:.2f} dB at {rate:.4g} bits" for depth, rate, value in points)
    svg = _svg(figure, name=name, alt=f"PSNR by bits per dimension of the first codes of each position: {ends}.")
    note = "PSNR in dB against bits per dimension of the codes; the numbers are the depths"
    return _figure("wide", "What the first codes of each position give", note, "", svg)


def _figure(size: str, title: str, note: str, keys: str, svg: str) -> str:
    key = f"<div>{keys}</div>" if keys else ""
    caption = f"<figcaption><b>{escape(title)}</b>{escape(note)}{key}</figcaption>"
    return f'<figure class="plot {size}">{caption}{svg}</figure>'


def _key(label: str, ink: str, shape: str = "line") -> str:
    return f'<span class="key {shape}" style="--ink: var(--{ink})">{escape(label)}</span> '


def _draw(axes: "Axes", curve: Curve) -> None:
    stride = 1 + len(curve.values) // _MOST_POINTS
    steps = curve.steps[::stride]
    ink = INKS[curve.ink]
    if not curve.noisy:
        marker = "o" if len(steps) <= 40 else ""
        axes.plot(steps, curve.values[::stride], color=ink, linewidth=1.8, marker=marker, markersize=3.2)
        return
    axes.plot(steps, curve.values[::stride], color=ink, linewidth=0.8, alpha=0.28)
    axes.plot(steps, smooth(curve.values)[::stride], color=ink, linewidth=1.8)


def _blank(width: int, height: int) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")  # 72 SVG points an inch
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INKS["rule"])
    axes.grid(axis="y", color=INKS["rule"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelsize=11, labelcolor=INKS["axis"], pad=5)
    return figure, axes


def _label_ticks(axes: "Axes", *, whole: bool = True) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
    written = FuncFormatter(lambda at, _position: _short(at))
    axes.xaxis.set_major_formatter(written)
    if axes.get_yscale() == "log":
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(written)


def _short(number: float) -> str:
    """Write a number for an axis in few characters: 20k, 0.05, 3e-5."""
    if abs(number) >= 1000:
        return f"{number / 1e6:g}M" if abs(number) >= 1e6 else f"{number / 1e3:g}k"
    if 0 < abs(number) < 1e-3:
        return re.sub(r"e-0*", "e-", f"{number:.2g}")
    return f"{round(number, 10):g}"


def _svg(figure: "Figure", *, name: str, alt: str) -> str:
    import matplotlib

    drawn = io.StringIO()  # text stays text, in the page's font; the salt makes ids on one page differ
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    opening = f'<svg {view.group() if view else ""} role="img" aria-label="{escape(alt)}">'
    svg = re.sub(r"<svg\b[^>]*>", lambda _: opening, svg, count=1)
    svg = re.sub(r"font[a-z-]*: [^;\"]*; ?", "", svg)
    for ink, colour in INKS.items():
        svg = svg.replace(colour, f"var(--{ink})")
    return re.sub(r"\s*\n\s*", "\n", svg)
