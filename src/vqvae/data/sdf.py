"""Signed distance functions of the built-in shapes, after Inigo Quilez, "2D distance functions".

A function takes x to the right and y upwards, float64 [...], and returns the distance to the outline, which is
negative inside. Every outline lies within the unit circle, so a shape of radius r lies within a circle of radius
r. (https://iquilezles.org/articles/distfunctions2d)
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class Outline(NamedTuple):
    """A signed distance function, and the largest rotation in degrees at which the shape keeps its class."""

    distance: Callable[[Floats, Floats], Floats]
    max_turn: float


def _length(x: Floats, y: Floats) -> Floats:
    return np.sqrt(x * x + y * y)


def _circle(x: Floats, y: Floats) -> Floats:
    return _length(x, y) - 0.9


def _square(x: Floats, y: Floats) -> Floats:
    corner = 0.1
    dx, dy = np.abs(x) - (0.7 - corner), np.abs(y) - (0.7 - corner)
    return _length(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - corner


def _triangle(x: Floats, y: Floats) -> Floats:
    half, corner, root3 = 0.76, 0.09, math.sqrt(3)
    x, y = np.abs(x) - half, y + half / root3
    fold = x + root3 * y > 0
    x, y = np.where(fold, (x - root3 * y) / 2, x), np.where(fold, (-root3 * x - y) / 2, y)
    x = x - np.clip(x, -2 * half, 0)
    return -_length(x, y) * np.sign(y) - corner


def _star(x: Floats, y: Floats) -> Floats:
    radius, waist, corner = 0.94, 0.46, 0.05
    cos, sin = math.cos(math.pi / 5), math.sin(math.pi / 5)
    x = np.abs(x)
    for nx, ny in ((cos, -sin), (-cos, -sin)):  # fold the five points onto one
        along = np.maximum(nx * x + ny * y, 0)
        x, y = x - 2 * along * nx, y - 2 * along * ny
    x, y = np.abs(x), y - radius
    edge_x, edge_y = waist * sin, waist * cos - 1
    along = np.clip((x * edge_x + y * edge_y) / (edge_x**2 + edge_y**2), 0, radius)
    side = np.sign(y * edge_x - x * edge_y)
    return _length(x - edge_x * along, y - edge_y * along) * side - corner


def _ring(x: Floats, y: Floats) -> Floats:
    return np.abs(_length(x, y) - 0.7) - 0.24


def _cross(x: Floats, y: Floats) -> Floats:
    length, width, corner = 0.85, 0.22, 0.08
    x, y = np.abs(x), np.abs(y)
    x, y = np.maximum(x, y), np.minimum(x, y)
    dx, dy = x - length, y - width
    outer = np.maximum(dx, dy)
    outside = _length(np.maximum(dx, 0), np.maximum(dy, 0))
    inside = _length(np.maximum(width - x, 0), np.minimum(outer, 0))
    return np.where(outer > 0, outside, -inside) - corner


def _heart(x: Floats, y: Floats) -> Floats:
    scale = 1.5
    x, y = np.abs(x) / scale, y / scale + 0.63
    lobe = _length(x - 0.25, y - 0.75) - math.sqrt(2) / 4
    diagonal = np.maximum(x + y, 0) / 2
    flank = np.minimum(_length(x, y - 1), _length(x - diagonal, y - diagonal))
    return np.where(x + y > 1, lobe, flank * np.sign(x - y)) * scale


def _moon(x: Floats, y: Floats) -> Floats:
    outer, inner, shift = 0.95, 0.78, 0.5
    y = np.abs(y)
    tip_x = (outer**2 - inner**2 + shift**2) / (2 * shift)
    tip_y = math.sqrt(outer**2 - tip_x**2)
    beyond_tip = x * tip_y - y * tip_x > shift * np.maximum(tip_y - y, 0)
    crescent = np.maximum(_length(x, y) - outer, inner - _length(x - shift, y))
    return np.where(beyond_tip, _length(x - tip_x, y - tip_y), crescent)


OUTLINES = {
    "circle": Outline(_circle, 0),
    "square": Outline(_square, 20),
    "triangle": Outline(_triangle, 25),
    "star": Outline(_star, 36),
    "ring": Outline(_ring, 0),
    "cross": Outline(_cross, 20),
    "heart": Outline(_heart, 25),
    "moon": Outline(_moon, 40),
}
