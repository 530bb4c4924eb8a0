"""Compare two sets of images, whatever made them."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vqvae.commands.evaluate import versions
from vqvae.commands.image_sets import Pairing, Side, SideOptions, open_sides, pairs_of
from vqvae.commands.judges import judge_of
from vqvae.errors import UserError
from vqvae.features import FeatureNetwork, network_named
from vqvae.losses import Perceptual
from vqvae.metrics.bootstrap import RESAMPLES
from vqvae.metrics.comparison import (
    DEFINITIONS,
    FEATURE_METRICS,
    PAIR_METRICS,
    Figures,
    feature_figures,
    order_by_content,
    pair_figures,
    pair_protocol,
    pair_values,
)
from vqvae.metrics.features import described_network
from vqvae.metrics.lpips import lpips_network
from vqvae.metrics.precision_recall import NEIGHBOURS, Nearest, nearest
from vqvae.model_io import choose_device
from vqvae.progress import Progress, advancing, silent
from vqvae.report.compare_page import Shown


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sets of images and how alike they are.

    Attributes:
        a: the images that B is compared with; pairs come first and stand at the same rows of both sides.
        b: the images that are judged.
        figures: what was measured, with intervals.
        pairs: ``psnr``, ``ssim`` and, if it was measured, ``lpips`` of each pair, float64 [P]; empty where
            nothing pairs.
        neighbours: the images of A that are nearest to each image of B in the features.
        protocol: what was measured, and how.
    """

    a: Side
    b: Side
    figures: Figures
    pairs: dict[str, Tensor]
    neighbours: Nearest
    protocol: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return figures, intervals and protocol as JSON holds them; None for what needs pairs without any."""
        names = (*PAIR_METRICS, *FEATURE_METRICS)
        return {
            "images": len(self.b.pixels),
            **{name: self.figures.values.get(name) for name in names},
            "intervals": {name: self.figures.intervals.get(name) for name in names},
            "protocol": self.protocol,
        }

    def shown(self, names: tuple[str, str]) -> Shown:
        """Return what the page about the comparison shows; ``names`` are those of A and B."""
        return Shown(
            names=names,
            a=self.a.pixels,
            b=self.b.pixels,
            titles=self.b.names,
            pairs=self.pairs,
            nearest=self.neighbours.rows,
            distances=self.neighbours.squares[:, 0].sqrt(),
            values=self.figures.values,
            intervals=self.figures.intervals,
            protocol=self.protocol,
        )


def compare(
    a: str,
    b: str,
    *,
    features: str = "judge",
    lpips: tuple[str, str] | None = None,
    pair: Pairing = "name",
    options: SideOptions | None = None,
    batch_size: int = 250,
    resampled: int = RESAMPLES,
    progress: Progress = silent,
) -> Comparison:
    """Compare two sets of images. No figure depends on the order of the images, or on how they were compressed.

    Args:
        a: the images that B is compared with: a data set, a store of codes, or a run.
        b: the images that are judged: the same.
        features: the feature network, as ``vqvae.features.network_named`` takes it.
        lpips: the network that measures LPIPS of pairs, as ``network_named`` takes it, and the path of the factors
            of its channels; None for no LPIPS.
        pair: which images belong together; see ``pairs_of``.
        options: how both sides are read.
        batch_size: of the feature network; affects speed and memory only.
        resampled: number of resampled sets for the intervals; 0 for no intervals.
        progress: called with the number of features computed and of all features.

    Raises:
        UserError: for what is no set of images, sizes that differ, and a network that took part in the training of
            the model that made a side.
    """
    options = options or SideOptions()
    sides = open_sides(a, b, options)
    _check(*sides, names=(a, b))
    network = _network(features, "--features", sides, options)
    distance = None if lpips is None else _distance(lpips, sides, options)
    side_a, side_b, pairs = _in_order(*sides, pair)
    advance = advancing(progress, len(side_a.pixels) + len(side_b.pixels))
    features_a, features_b = (
        network.features_of_pixels(side.pixels, batch_size=batch_size, advance=advance)
        for side in (side_a, side_b)
    )
    whole = pairs == len(side_a.pixels) == len(side_b.pixels)
    figures = feature_figures(features_a, features_b, paired=whole, count=resampled)
    each = pair_values(side_a.pixels[:pairs], side_b.pixels[:pairs], lpips=distance) if pairs else {}
    if pairs:
        figures = pair_figures(each, count=resampled).with_others(figures)
    protocol = {
        "a": dict(side_a.facts),
        "b": dict(side_b.facts),
        "pairs": {"by": pair, "count": pairs},
        "features": {**described_network(network), "size": features_a.shape[1]},
        **DEFINITIONS,
        **pair_protocol(*side_a.pixels.shape[2:], lpips=distance),
        "intervals": f"95 %, normal, of {resampled} resampled sets",
        "versions": versions(),
    }
    return Comparison(side_a, side_b, figures, each, nearest(features_b, features_a, 3), protocol)


def _network(name: str, option: str, sides: tuple[Side, Side], options: SideOptions) -> FeatureNetwork:
    for run in (side.run for side in sides):
        if run is not None:
            return judge_of(run, name, option)
    return network_named(name).to(choose_device(options.device))


def _distance(lpips: tuple[str, str], sides: tuple[Side, Side], options: SideOptions) -> Perceptual:
    channels, height, width = sides[0].pixels.shape[1:]
    network = _network(lpips[0], "--lpips", sides, options)
    return lpips_network(network, lpips[1], (channels, height, width))


def _check(a: Side, b: Side, *, names: tuple[str, str]) -> None:
    """Refuse sizes that differ, and sets that are too small."""
    size_a, size_b = (tuple(side.pixels.shape[1:]) for side in (a, b))
    if size_a != size_b:
        words = ["x".join(map(str, size)) for size in (size_a, size_b)]
        raise UserError(f"{names[0]} has images of {words[0]} and {names[1]} of {words[1]}: {_mend(a, b)}")
    for side, name in zip((a, b), names, strict=True):
        if len(side.pixels) <= NEIGHBOURS:
            raise UserError(f"{name}: {len(side.pixels)} images; a comparison needs {NEIGHBOURS + 1} or more")


def _mend(a: Side, b: Side) -> str:
    """Return what makes the sizes of two sides equal; only images that are read can be scaled."""
    sizes = [tuple(side.pixels.shape[2:]) for side in (a, b) if not side.is_read]
    if len(sizes) == 2 or a.pixels.shape[1] != b.pixels.shape[1]:
        return "neither can be scaled: compare sets of one size"
    height, width = sizes[0] if sizes else map(min, a.pixels.shape[2:], b.pixels.shape[2:])
    return f"pass --data.size {height}x{width} --data.fit crop, which scales (Lanczos, antialiased)"


def _in_order(a: Side, b: Side, how: Pairing) -> tuple[Side, Side, int]:
    """Return both sides in an order that depends on their pixels alone, pairs first; and the number of pairs."""
    found = pairs_of(a, b, how)
    paired_a, paired_b = a.rows([row for row, _ in found]), b.rows([row for _, row in found])
    rest_a = a.rows(sorted({*range(len(a.pixels))} - {row for row, _ in found}))
    rest_b = b.rows(sorted({*range(len(b.pixels))} - {row for _, row in found}))
    order, _ = order_by_content(paired_a.pixels, paired_b.pixels, paired=True)
    order_a, order_b = order_by_content(rest_a.pixels, rest_b.pixels, paired=False)
    return (
        paired_a.rows(order).followed_by(rest_a.rows(order_a)),
        paired_b.rows(order).followed_by(rest_b.rows(order_b)),
        len(found),
    )
