"""The outlines of the embedded shapes as signed distances, after Inigo Quilez, "2D distance functions".

Each takes x to the right and y upwards, float [...], and returns the distance to the outline, negative inside.
Every outline lies within the unit circle, so a shape of radius r fits wherever that circle fits.
(https://iquilezles.org/articles/distfunctions2d)
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Outline(NamedTuple):
    """A signed distance, and how far the shape may turn either way, in degrees, before it looks like another."""

    distance: Callable[[Tensor, Tensor], Tensor]
    max_turn: float


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 0.9


def _square(x: Tensor, y: Tensor) -> Tensor:
    corner = 0.1
    dx, dy = x.abs() - (0.7 - corner), y.abs() - (0.7 - corner)
    return torch.hypot(dx.clamp(min=0), dy.clamp(min=0)) + torch.maximum(dx, dy).clamp(max=0) - corner


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    half, corner, root3 = 0.76, 0.09, math.sqrt(3)
    x, y = x.abs() - half, y + half / root3
    fold = x + root3 * y > 0
    x, y = torch.where(fold, (x - root3 * y) / 2, x), torch.where(fold, (-root3 * x - y) / 2, y)
    x = x - x.clamp(-2 * half, 0)
    return -torch.hypot(x, y) * y.sign() - corner


def _star(x: Tensor, y: Tensor) -> Tensor:
    radius, waist, corner = 0.94, 0.46, 0.05
    cos, sin = math.cos(math.pi / 5), math.sin(math.pi / 5)
    x = x.abs()
    for nx, ny in ((cos, -sin), (-cos, -sin)):  # fold the five points onto one
        along = (nx * x + ny * y).clamp(min=0)
        x, y = x - 2 * along * nx, y - 2 * along * ny
    x, y = x.abs(), y - radius
    edge_x, edge_y = waist * sin, waist * cos - 1
    along = ((x * edge_x + y * edge_y) / (edge_x**2 + edge_y**2)).clamp(0, radius)
    side = (y * edge_x - x * edge_y).sign()
    return torch.hypot(x - edge_x * along, y - edge_y * along) * side - corner


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.7).abs() - 0.24


def _cross(x: Tensor, y: Tensor) -> Tensor:
    length, width, corner = 0.85, 0.22, 0.08
    x, y = x.abs(), y.abs()
    x, y = torch.maximum(x, y), torch.minimum(x, y)
    dx, dy = x - length, y - width
    outer = torch.maximum(dx, dy)
    outside = torch.hypot(dx.clamp(min=0), dy.clamp(min=0))
    inside = torch.hypot((width - x).clamp(min=0), outer.clamp(max=0))
    return torch.where(outer > 0, outside, -inside) - corner


def _heart(x: Tensor, y: Tensor) -> Tensor:
    scale = 1.5
    x, y = x.abs() / scale, y / scale + 0.63
    lobe = torch.hypot(x - 0.25, y - 0.75) - math.sqrt(2) / 4
    diagonal = (x + y).clamp(min=0) / 2
    flank = torch.minimum(torch.hypot(x, y - 1), torch.hypot(x - diagonal, y - diagonal))
    return torch.where(x + y > 1, lobe, flank * (x - y).sign()) * scale


def _moon(x: Tensor, y: Tensor) -> Tensor:
    outer, inner, shift = 0.95, 0.78, 0.5
    y = y.abs()
    tip_x = (outer**2 - inner**2 + shift**2) / (2 * shift)
    tip_y = math.sqrt(outer**2 - tip_x**2)
    beyond_tip = x * tip_y - y * tip_x > shift * (tip_y - y).clamp(min=0)
    crescent = torch.maximum(torch.hypot(x, y) - outer, inner - torch.hypot(x - shift, y))
    return torch.where(beyond_tip, torch.hypot(x - tip_x, y - tip_y), crescent)


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
