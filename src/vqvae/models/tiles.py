"""Encode and decode images in tiles, so that memory does not grow with the image.

A cell is a position of the codes, or the factor x factor pixels that belong to it. A tile is run together with the
cells around it that its output is computed from. The output of these further cells is thrown away. At the border
of the image, a tile ends where the image ends, and the network pads it as it pads the image. So the tiles of a
convolutional network give the codes of the whole image, and its pixels up to rounding.
"""

import copy
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from vqvae.models.encode_exact import ExactCodes
from vqvae.tensors import check_images, images_from_pixels, pixels_from_images

if TYPE_CHECKING:
    from vqvae.models.vqvae import VQVAE

_PROBES = (17, 33, 65)  # sides of the input on which the reach is measured, in cells
_MOST_PIXELS = 1024  # largest side of such an input, except for the first
_TILE = 4  # cells of a tile in the test of a measured reach
_SAME = 1e-9  # float64 rounds at 1e-16; tiles of another network differ by far more


class Reach(NamedTuple):
    """How many cells before and after a cell its output is computed from, along height and width alike."""

    before: int
    after: int


class Tile(NamedTuple):
    """A tile.

    Attributes:
        kept: the rows and the columns of cells that the tile gives.
        window: the rows and the columns of cells that the network is run on.
    """

    kept: tuple[slice, slice]
    window: tuple[slice, slice]

    @property
    def inside(self) -> tuple[slice, slice]:
        """Where the kept cells lie in the window."""
        rows, columns = (
            slice(kept.start - window.start, kept.stop - window.start)
            for kept, window in zip(self.kept, self.window, strict=True)
        )
        return rows, columns


def tiles_of(grid: tuple[int, int], *, side: int, reach: Reach) -> Iterator[Tile]:
    """Yield the tiles of a grid of cells, row by row.

    Args:
        grid: height and width, in cells.
        side: height and width of a tile, in cells; tiles at the end of the grid are smaller.
        reach: how far the window goes beyond the tile.
    """
    rows, columns = (
        [
            (
                slice(start, stop := min(start + side, size)),
                slice(max(0, start - reach.before), stop + reach.after),
            )
            for start in range(0, size, side)
        ]
        for size in grid
    )
    for (row, row_window), (column, column_window) in product(rows, columns):
        window = (_within(row_window, grid[0]), _within(column_window, grid[1]))
        yield Tile((row, column), window)


def _within(cells: slice, size: int) -> slice:
    return slice(cells.start, min(cells.stop, size))


def _cut(values: Tensor, cells: tuple[slice, slice], size: int) -> Tensor:
    """Return the part of [..., H, W] that belongs to some cells of ``size`` x ``size`` elements."""
    rows, columns = (slice(part.start * size, part.stop * size) for part in cells)
    return values[..., rows, columns]


@torch.no_grad()
def reach_of(network: nn.Module, *, channels: int, input_cell: int, output_cell: int) -> Reach | None:
    """Measure how far a network looks; None if tiles cannot give its output.

    NaN in one cell of the input spreads to exactly the outputs that are computed from this cell, whatever the
    weights are. Then the network is run on random input as a whole and in tiles. The outputs differ if they depend
    on their place in the image, as with position embeddings. Normalisation and attention over the image look at
    all of it. The network is copied to float64 on the CPU.

    Args:
        network: maps [B, channels, H, W] to [B, any, H', W'].
        channels: of its input.
        input_cell: side of a cell in the input.
        output_cell: side of a cell in the output.
    """
    precise = copy.deepcopy(network).to("cpu", torch.float64).eval()
    for side in _PROBES:
        if side > _PROBES[0] and side * max(input_cell, output_cell) > _MOST_PIXELS:
            break
        reached = _reached(precise, side, channels, input_cell, output_cell)
        if reached is not None and 0 < reached.start and reached.stop < side:
            middle = side // 2
            reach = Reach(reached.stop - 1 - middle, middle - reached.start)
            same = _tiles_are_whole(precise, reach, channels, input_cell, output_cell)
            return reach if same else None
    return None


def _reached(network: nn.Module, side: int, channels: int, input_cell: int, output_cell: int) -> slice | None:
    """Return the rows and columns of cells that the middle cell reaches; None if it reaches all of them."""
    probe = torch.zeros(1, channels, side * input_cell, side * input_cell, dtype=torch.float64)
    middle = slice(side // 2, side // 2 + 1)
    _cut(probe, (middle, middle), input_cell).fill_(torch.nan)
    nan = network(probe).isnan().any(1)[0].view(side, output_cell, side, output_cell).any(3).any(1)
    cells = torch.cat([nan.any(1).nonzero(), nan.any(0).nonzero()])
    return None if nan.all() or not len(cells) else slice(int(cells.min()), int(cells.max()) + 1)


def _tiles_are_whole(network: nn.Module, reach: Reach, channels: int, input_cell: int, output_cell: int) -> bool:
    side = reach.before + reach.after + 2 * _TILE + 1
    generator = torch.Generator().manual_seed(0)
    shape = 1, channels, side * input_cell, side * input_cell
    probe = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    whole = network(probe)
    most = _SAME * max(1.0, float(whole.abs().max()))
    for tile in tiles_of((side, side), side=_TILE, reach=reach):
        part = _cut(network(_cut(probe, tile.window, input_cell)), tile.inside, output_cell)
        if float((part - _cut(whole, tile.kept, output_cell)).abs().max()) > most:
            return False
    return True


def encoder_reach(tokenizer: "VQVAE") -> Reach | None:
    """Return the reach of a tokenizer's encoder, as ``reach_of`` measures it."""
    return reach_of(tokenizer.encoder, channels=tokenizer.channels, input_cell=tokenizer.factor, output_cell=1)


def decoder_reach(tokenizer: "VQVAE") -> Reach | None:
    """Return the reach of a tokenizer's decoder, as ``reach_of`` measures it."""
    channels = tokenizer.quantizer.channels
    return reach_of(tokenizer.decoder, channels=channels, input_cell=1, output_cell=tokenizer.factor)


@torch.no_grad()
def encode_in_tiles(
    tokenizer: "VQVAE", images: Tensor, *, tile: int, overlap: int | None = None, exact: bool = False
) -> ExactCodes:
    """Encode images in tiles; the arguments are those of ``VQVAE.encode``.

    Returns:
        The codes, int64 [B, h, w, n], on the device of the images; with ``exact``, also the number of near-ties,
        those of overlaps in each tile.

    Raises:
        ValueError: as ``VQVAE.encode``.
    """
    cell = tokenizer.factor
    check_images(images, channels=tokenizer.channels, factor=cell)
    grid = images.shape[2] // cell, images.shape[3] // cell
    reach = _chosen(encoder_reach(tokenizer) if overlap is None else None, overlap, cell)
    codes = torch.empty(len(images), *grid, tokenizer.codes_per_position, dtype=torch.int64, device=images.device)
    near_ties = 0
    for each in tiles_of(grid, side=_side(tile, cell), reach=reach):
        part = _cut(images, each.window, cell).to(tokenizer.pixel_variance.device)
        if exact:
            found = tokenizer.encode_exact(images_from_pixels(part) if part.dtype == torch.uint8 else part)
            near_ties += found.near_ties
            some = found.codes
        else:
            some = tokenizer.encode(part)
        codes[:, each.kept[0], each.kept[1]] = some[:, each.inside[0], each.inside[1]].to(codes.device)
    return ExactCodes(codes, near_ties)


@torch.no_grad()
def decode_in_tiles(
    tokenizer: "VQVAE", codes: Tensor, *, tile: int, overlap: int | None = None
) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Yield the rows and columns of pixels of each tile, and its images, float32 [B, C, rows, columns].

    ``codes`` is int64 [B, h, w, n]. ``tile`` and ``overlap`` have the same meaning as in ``VQVAE.decode``.
    """
    cell, grid = tokenizer.factor, (codes.shape[1], codes.shape[2])
    reach = _chosen(decoder_reach(tokenizer) if overlap is None else None, overlap, cell)
    for each in tiles_of(grid, side=_side(tile, cell), reach=reach):
        part = codes[:, each.window[0], each.window[1]].to(tokenizer.pixel_variance.device)
        rows, columns = (slice(cells.start * cell, cells.stop * cell) for cells in each.kept)
        yield (rows, columns), _cut(tokenizer.decode(part), each.inside, cell)


def _chosen(measured: Reach | None, overlap: int | None, cell: int) -> Reach:
    """Return the reach to use: the measured one, or that of an overlap in pixels.

    Raises:
        ValueError: where there is neither.
    """
    if overlap is not None:
        if overlap < 0:
            raise ValueError(f"overlap {overlap}: expected 0 or more pixels")
        return Reach(-(-overlap // cell), -(-overlap // cell))
    if measured is None:
        raise ValueError(
            "this network looks at the whole image (normalisation, attention or positions), so tiles only "
            "approximate it: pass overlap=PIXELS to accept that"
        )
    return measured


def _side(tile: int, cell: int) -> int:
    """Return the side of a tile in cells.

    Raises:
        ValueError: for a tile smaller than a cell.
    """
    if tile < cell:
        raise ValueError(f"tile {tile}: expected {cell} or more pixels, the downsampling factor")
    return tile // cell


def whole_in_tiles(tokenizer: "VQVAE", codes: Tensor, *, tile: int, overlap: int | None = None) -> Tensor:
    """Return the images of codes, float32 [B, C, H, W], on the device of the codes, decoded in tiles.

    Arguments and errors are those of ``VQVAE.decode``.
    """
    codes = tokenizer.checked_codes(codes)
    found = decode_in_tiles(tokenizer, codes, tile=tile, overlap=overlap)
    return _assembled(tokenizer, codes, found, torch.empty(0, device=codes.device))


def pixels_in_tiles(tokenizer: "VQVAE", codes: Tensor, *, tile: int, overlap: int | None = None) -> Tensor:
    """Return the pixels of codes, uint8 [B, C, H, W], on the CPU, decoded in tiles.

    Arguments and errors are those of ``VQVAE.decode``.
    """
    codes = tokenizer.checked_codes(codes)
    found = decode_in_tiles(tokenizer, codes, tile=tile, overlap=overlap)
    pixels = ((place, pixels_from_images(images)) for place, images in found)
    return _assembled(tokenizer, codes, pixels, torch.empty(0, dtype=torch.uint8))


def _assembled(
    tokenizer: "VQVAE", codes: Tensor, tiles: Iterator[tuple[tuple[slice, slice], Tensor]], like: Tensor
) -> Tensor:
    """Put tiles together in a tensor of the type and on the device of ``like``."""
    height, width = (size * tokenizer.factor for size in codes.shape[1:3])
    whole = like.new_empty(len(codes), tokenizer.channels, height, width)
    for (rows, columns), part in tiles:
        whole[:, :, rows, columns] = part.to(whole.device)
    return whole
