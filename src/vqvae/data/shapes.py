"""The embedded data set: eight shapes on soft backgrounds, lit from the upper left, drawn from a seed.

Image ``i`` of a split is a function of (seed, split, i): no file, no network, no state. Outlines are signed
distances, so edges, shading and shadows are smooth, and every colour is chosen in OKLab, where equal steps of
lightness and chroma look equal (Bjorn Ottosson, https://bottosson.github.io/posts/oklab).
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqvae import noise
from vqvae.data.outlines import OUTLINES
from vqvae.data.source import Item, Source

CLASSES = tuple(OUTLINES)
COUNTS = {"train": 10_000, "test": 2_000}

_SIDE = 32
_SPLIT_KEYS = {"train": 1, "test": 2}
# Rows drawn at once: enough for vectorised maths, few enough that the planes stay in the cache.
_CHUNK = 256
# The light's direction in the plane, towards the upper left; the shadow falls the other way.
_LIGHT_X, _LIGHT_Y = -0.55, 0.83
_SHADOW_X, _SHADOW_Y = 1.2, 1.8


class _Scene(NamedTuple):
    """What one image shows: a uniform number in (0, 1) an attribute, each float32 [n]."""

    x: Tensor
    y: Tensor
    radius: Tensor
    turn: Tensor
    hue: Tensor
    chroma: Tensor
    lightness: Tensor
    ground_hue: Tensor
    ground_chroma: Tensor
    ground_lightness: Tensor
    ground_hue_step: Tensor
    ground_contrast: Tensor
    ground_angle: Tensor


def shapes_source(split: str) -> Source:
    """Return the embedded set: 10,000 training or 2,000 test images, 32x32 RGB, drawn as they are read."""
    labels = np.arange(COUNTS[split], dtype=np.int64) % len(CLASSES)
    return Source(count=COUNTS[split], items=partial(_items, split), labels=labels, classes=CLASSES)


def _items(split: str) -> Iterator[Item]:
    for start in range(0, COUNTS[split], _CHUNK):
        rows = torch.arange(start, min(start + _CHUNK, COUNTS[split]))
        drawn = draw(rows, split=split).permute(0, 2, 3, 1).contiguous().numpy()
        for row, image in enumerate(drawn, start):
            yield Item(f"shapes {split} row {row}", image)


def draw(rows: Tensor, *, split: str, seed: int = 0) -> Tensor:
    """Draw some images of a split; row ``i`` shows class ``i % 8``.

    Args:
        rows: int64 [n], which images.
        split: "train" or "test", which draw from different keys.
        seed: another seed, another data set.

    Returns:
        pixels, uint8 [n, 3, 32, 32].
    """
    attributes = torch.arange(len(_Scene._fields))
    scene = _Scene(*noise.uniform(seed, _SPLIT_KEYS[split], rows[:, None], attributes).float().unbind(1))
    labels = rows % len(CLASSES)
    shadow, _, _ = _place(scene, labels, shift_x=_SHADOW_X, shift_y=_SHADOW_Y)
    image = _ground(scene) * (1 - 0.34 * _smoothstep(2.2, -2.2, shadow))[:, None]
    distance, x, y = _place(scene, labels)
    coverage = (0.5 - distance).clamp(0, 1)[:, None]
    image = torch.lerp(image, _surface(scene, distance, x, y), coverage)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _pixel_centres() -> tuple[Tensor, Tensor]:
    centres = torch.arange(_SIDE) + 0.5
    return centres[None, :], centres[:, None]


def _place(
    scene: _Scene, labels: Tensor, *, shift_x: float = 0.0, shift_y: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distance to the outline in pixels, and x [n, 1, 32] and y [n, 32, 1] from the centre in radii."""
    radius = 8 + 4 * scene.radius
    room = radius + 1  # one pixel between the outline and the border
    column, row = _pixel_centres()
    centre_x, centre_y = (room + (_SIDE - 2 * room) * offset for offset in (scene.x, scene.y))
    x = (column - (centre_x + shift_x)[:, None, None]) / radius[:, None, None]
    y = ((centre_y + shift_y)[:, None, None] - row) / radius[:, None, None]
    distance = torch.empty(len(labels), _SIDE, _SIDE)
    for label, outline in enumerate(OUTLINES.values()):
        chosen = labels == label
        angle = ((2 * scene.turn[chosen] - 1) * math.radians(outline.max_turn))[:, None, None]
        cos, sin = angle.cos(), angle.sin()
        distance[chosen] = outline.distance(cos * x[chosen] + sin * y[chosen], cos * y[chosen] - sin * x[chosen])
    return distance * radius[:, None, None], x, y


def _ground(scene: _Scene) -> Tensor:
    """Return the background, [n, 3, 32, 32]: a smooth gradient between two muted colours."""
    column, row = _pixel_centres()
    angle = (2 * math.pi * scene.ground_angle)[:, None, None]
    along = (column / _SIDE - 0.5) * angle.cos() + (row / _SIDE - 0.5) * angle.sin()
    blend = _smoothstep(-0.6, 0.6, along)[:, None]
    # Far from the shape's hue, so that the shape stands out; dark in a third of the images, light in the others.
    hue = scene.hue + 0.3 + 0.4 * scene.ground_hue
    dark = scene.ground_lightness < 0.33
    lightness = torch.where(dark, 0.33 + 0.3 * scene.ground_lightness, 0.67 + 0.2 * scene.ground_lightness)
    chroma = 0.03 + 0.045 * scene.ground_chroma
    contrast = torch.where(dark, 0.05, 0.07) * (1 + scene.ground_contrast)
    near = _srgb(lightness + contrast, chroma, hue)
    far = _srgb(lightness - contrast, chroma, hue + 0.3 * (scene.ground_hue_step - 0.5))
    return torch.lerp(near[:, :, None, None], far[:, :, None, None], blend)


def _surface(scene: _Scene, distance: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the shape's colour at every pixel, [n, 3, 32, 32]: saturated, softly lit, with a highlight."""
    chroma = 0.15 + 0.06 * scene.chroma
    # Yellow is mud unless it is light: the lift is centred on its hue, 0.28 of a turn.
    lift = (2 * math.pi * (scene.hue - 0.28)).cos().clamp(min=0) ** 3
    lightness = 0.6 + 0.12 * scene.lightness + 0.11 * lift
    base = _srgb(lightness, chroma, scene.hue)[:, :, None, None]
    shade = _srgb(lightness - 0.2, chroma, scene.hue - 0.03)[:, :, None, None]
    light = _srgb(lightness + 0.17, 0.75 * chroma, scene.hue + 0.03)[:, :, None, None]
    facing = (_LIGHT_X * x + _LIGHT_Y * y)[:, None]
    colour = torch.lerp(base, shade, _smoothstep(0.1, -1.1, facing))
    colour = torch.lerp(colour, light, _smoothstep(0.0, 1.1, facing))
    # The rim turns away from the viewer and darkens a little.
    return colour * (1 - 0.16 * _smoothstep(-2.0, 0.3, distance))[:, None]


def _smoothstep(start: float, end: float, x: Tensor) -> Tensor:
    t = ((x - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _srgb(lightness: Tensor, chroma: Tensor, hue: Tensor) -> Tensor:
    """Map OKLCh to sRGB in 0..1, [n, 3]; hue in turns. Colours outside the gamut are clipped."""
    a, b = chroma * (2 * math.pi * hue).cos(), chroma * (2 * math.pi * hue).sin()
    to_lms = torch.tensor(
        [[0.3963377774, 0.2158037573], [-0.1055613458, -0.0638541728], [-0.0894841775, -1.2914855480]]
    )
    lms = (lightness[:, None] + torch.stack([a, b], dim=1) @ to_lms.T) ** 3
    to_linear = torch.tensor(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = (lms @ to_linear.T).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
