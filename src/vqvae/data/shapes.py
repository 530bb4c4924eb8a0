"""The built-in data set: eight shapes on soft backgrounds, lit from the upper left, drawn from a seed.

Image ``i`` of a split is a function of (seed, split, i), without files or a network. Outlines are signed
distances, so edges, shading and shadows are smooth. Colours are chosen in OKLab, in which equal steps of lightness
and chroma look equal (Bjorn Ottosson, https://bottosson.github.io/posts/oklab).

Images are drawn in NumPy and float64. In float32, the last bit of a cosine depends on the machine and the chunk
size, which would change some pixels. NumPy runs in one thread, which does not stall on busy cores as OpenMP's
threads do.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqvae import noise
from vqvae.data.sdf import OUTLINES, Floats
from vqvae.data.source import Item, Rows, Source, rows_hash
from vqvae.data.splits import DataSet

CLASSES = tuple(OUTLINES)
COUNTS = {"train": 10_000, "test": 2_000}

_SIDE = 32
_SPLIT_KEYS = {"train": 1, "test": 2}
# rows that are drawn at once: enough for vectorised arithmetic, few enough for the processor's cache
_CHUNK = 64
# The light's direction in the plane, towards the upper left; the shadow falls the other way.
_LIGHT_X, _LIGHT_Y = -0.55, 0.83
_SHADOW_X, _SHADOW_Y = 1.2, 1.8


class _Scene(NamedTuple):
    """The attributes of images: uniform numbers in (0, 1), each float64 [n, 1, 1]."""

    x: Floats
    y: Floats
    radius: Floats
    turn: Floats
    hue: Floats
    chroma: Floats
    lightness: Floats
    ground_hue: Floats
    ground_chroma: Floats
    ground_lightness: Floats
    ground_hue_step: Floats
    ground_contrast: Floats
    ground_angle: Floats


def shapes(train: int = COUNTS["train"]) -> DataSet:
    """Return the built-in data set: ``train`` training and 2,000 test images, 32x32 RGB."""
    counts = {**COUNTS, "train": train}
    return DataSet("shapes", {split: partial(_open, split, count) for split, count in counts.items()})


def _open(split: str, count: int) -> Source:
    return Source(
        count=count,
        items=partial(_items, split),
        names=lambda: (_name(split, row) for row in range(count)),
        files=lambda rows: iter([f"shapes {split}{rows_hash(rows, count)}"]),
        origin="drawn from a seed",
        labels=np.arange(count, dtype=np.int64) % len(CLASSES),
        classes=CLASSES,
        fixed_classes=True,
    )


def _name(split: str, row: int) -> str:
    return f"shapes {split} row {row}"


def _items(split: str, rows: Rows) -> Iterator[Item]:
    for some in torch.as_tensor(rows).split(_CHUNK):
        drawn = draw(some, split=split).permute(0, 2, 3, 1).contiguous().numpy()
        for row, image in zip(some.tolist(), drawn, strict=True):
            yield Item(_name(split, row), image)


def draw(rows: Tensor, *, split: str, seed: int = 0) -> Tensor:
    """Draw some images of a split; row ``i`` shows class ``i % 8``.

    Args:
        rows: int64 [n], the rows of the images.
        split: "train" or "test"; they have different random numbers.
        seed: seed of the data set.

    Returns:
        pixels, uint8 [n, 3, 32, 32].
    """
    attributes = torch.arange(len(_Scene._fields))[:, None]
    numbers = noise.uniform(seed, _SPLIT_KEYS[split], rows, attributes).numpy()
    scene = _Scene(*numbers[:, :, None, None])
    labels = (rows % len(CLASSES)).numpy()
    shadow, _, _ = _place(scene, labels, shift_x=_SHADOW_X, shift_y=_SHADOW_Y)
    image = _ground(scene) * (1 - 0.34 * _smoothstep(2.2, -2.2, shadow))[:, None]
    distance, x, y = _place(scene, labels)
    coverage = np.clip(0.5 - distance, 0, 1)[:, None]
    image = _mix(image, _surface(scene, distance, x, y), coverage)
    return torch.as_tensor(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8))


def _pixel_centres() -> tuple[Floats, Floats]:
    centres = np.arange(_SIDE) + 0.5
    return centres[None, :], centres[:, None]


def _place(
    scene: _Scene, labels: NDArray[np.int64], *, shift_x: float = 0.0, shift_y: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """Return the distance to the outline in pixels [n, 32, 32], and x [n, 1, 32] and y [n, 32, 1] in radii."""
    radius = 8 + 4 * scene.radius
    room = radius + 1  # one pixel between the outline and the border
    column, row = _pixel_centres()
    centre_x, centre_y = (room + (_SIDE - 2 * room) * offset for offset in (scene.x, scene.y))
    x, y = (column - centre_x - shift_x) / radius, (centre_y + shift_y - row) / radius
    distance = np.empty((len(labels), _SIDE, _SIDE))
    for label, outline in enumerate(OUTLINES.values()):
        of_class = labels == label
        angle = (2 * scene.turn[of_class] - 1) * math.radians(outline.max_turn)
        cos, sin = np.cos(angle), np.sin(angle)
        right, up = x[of_class], y[of_class]
        distance[of_class] = outline.distance(cos * right + sin * up, cos * up - sin * right)
    return distance * radius, x, y


def _ground(scene: _Scene) -> Floats:
    """Return the background, [n, 3, 32, 32]: a smooth gradient between two muted colours."""
    column, row = _pixel_centres()
    angle = 2 * math.pi * scene.ground_angle
    along = (column / _SIDE - 0.5) * np.cos(angle) + (row / _SIDE - 0.5) * np.sin(angle)
    # the hue differs from the shape's, so that the shape stands out; a third of the backgrounds are dark
    hue = scene.hue + 0.3 + 0.4 * scene.ground_hue
    dark = scene.ground_lightness < 0.33
    lightness = np.where(dark, 0.33 + 0.3 * scene.ground_lightness, 0.67 + 0.2 * scene.ground_lightness)
    chroma = 0.03 + 0.045 * scene.ground_chroma
    contrast = np.where(dark, 0.05, 0.07) * (1 + scene.ground_contrast)
    near = _srgb(lightness + contrast, chroma, hue)
    far = _srgb(lightness - contrast, chroma, hue + 0.3 * (scene.ground_hue_step - 0.5))
    return _mix(near, far, _smoothstep(-0.6, 0.6, along)[:, None])


def _surface(scene: _Scene, distance: Floats, x: Floats, y: Floats) -> Floats:
    """Return the shape's colour at every pixel, [n, 3, 32, 32]: saturated, lit from one side."""
    chroma = 0.15 + 0.06 * scene.chroma
    # a dark yellow looks muddy, so colours near its hue, 0.28 of a turn, are lighter
    lift = np.maximum(np.cos(2 * math.pi * (scene.hue - 0.28)), 0) ** 3
    lightness = 0.6 + 0.12 * scene.lightness + 0.11 * lift
    base = _srgb(lightness, chroma, scene.hue)
    shade = _srgb(lightness - 0.2, chroma, scene.hue - 0.03)
    light = _srgb(lightness + 0.17, 0.75 * chroma, scene.hue + 0.03)
    facing = (_LIGHT_X * x + _LIGHT_Y * y)[:, None]
    colour = _mix(base, shade, _smoothstep(0.1, -1.1, facing))
    colour = _mix(colour, light, _smoothstep(0.0, 1.1, facing))
    # the rim is darker, as it faces away from the viewer
    return colour * (1 - 0.16 * _smoothstep(-2.0, 0.3, distance))[:, None]


def _mix(start: Floats, end: Floats, amount: Floats) -> Floats:
    return start + (end - start) * amount


def _smoothstep(start: float, end: float, x: Floats) -> Floats:
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _srgb(lightness: Floats, chroma: Floats, hue: Floats) -> Floats:
    """Map OKLCh, each [n, 1, 1] with hue in turns, to sRGB in 0..1, [n, 3, 1, 1], clipped to the gamut."""
    a, b = chroma * np.cos(2 * math.pi * hue), chroma * np.sin(2 * math.pi * hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=1,
    ).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
