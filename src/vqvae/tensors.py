"""The types of the project: pixels, images, codes, and the result of a quantizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

Labels = Tensor | Sequence[int] | int
_HALF_A_LEVEL = 1 / 255  # half the distance of two levels in [-1, 1]: a smaller excess does not change the pixel


@dataclass(frozen=True)
class CodeSpec:
    """Shape and range of the codes of one image.

    Attributes:
        grid: (h, w), the positions of the image.
        codes_per_position: n, the codes at each position.
        num_codes: K; a code is one of 0 .. K - 1.
    """

    grid: tuple[int, int]
    codes_per_position: int
    num_codes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (h, w, n) of the codes of an image."""
        return (*self.grid, self.codes_per_position)

    @property
    def codes_per_image(self) -> int:
        """The number of codes of an image, h * w * n."""
        return prod(self.shape)


def smallest_dtype(num_codes: int) -> torch.dtype:
    """Return the smallest integer type that holds every code: uint8, int16, int32 or int64."""
    sizes = {torch.uint8: 2**8, torch.int16: 2**15, torch.int32: 2**31}
    return next((dtype for dtype, size in sizes.items() if num_codes <= size), torch.int64)


class Quantized(NamedTuple):
    """The result of a quantizer (arXiv 1711.00937, equations 1 to 3).

    Attributes:
        z_q: float [B, D, h, w], the chosen codebook vectors, bit for bit. The gradient passes straight through.
        codes: int64 [B, h, w, n], indices into the codebook, ``n`` codes per position.
        codebook_loss: scalar, ``mean (sg[z_e] - e)^2``, which trains the codebook alone; 0 if the codebook is not
            learned by gradient. Quantizers without a codebook return the term that keeps their codes in use, with
            its weight: the entropies of LFQ and BSQ, the KL of a Gumbel posterior. The objective adds it without a
            factor.
        commitment_loss: scalar, ``mean (z_e - sg[e])^2``, which trains the encoder alone; not multiplied by beta.
    """

    z_q: Tensor
    codes: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor


def images_from_pixels(pixels: Tensor) -> Tensor:
    """Map pixels, uint8 [..., C, H, W] in 0..255, to images, float32 in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1.0)


def pixels_from_images(images: Tensor) -> Tensor:
    """Map images, float [..., C, H, W], to pixels, uint8: clamped to [-1, 1], scaled to 0..255 and rounded."""
    return images.detach().float().clamp(-1.0, 1.0).add(1.0).mul_(127.5).round_().to(torch.uint8)


def checked_images(images: Tensor, *, channels: int, factor: int) -> Tensor:
    """Return images as float [B, C, H, W] in [-1, 1].

    Args:
        images: float in [-1, 1], or uint8 pixels in 0..255, which are mapped to [-1, 1].
        channels: number of channels C.
        factor: downsampling factor; H and W must be multiples of it.

    Raises:
        ValueError: for another shape or type, and for values that exceed [-1, 1] by more than half a grey level or
            a rounding error. Code that is being compiled or exported does not check the values.
    """
    check_images(images, channels=channels, factor=factor)
    return images_from_pixels(images) if images.dtype == torch.uint8 else images


def check_images(images: Tensor, *, channels: int, factor: int) -> None:
    """Check images as ``checked_images`` does, without making a float copy of pixels.

    Args:
        images: float [B, C, H, W] in [-1, 1], or uint8 pixels [B, C, H, W] in 0..255.
        channels: number of channels C.
        factor: downsampling factor; H and W must be multiples of it.

    Raises:
        ValueError: as ``checked_images``.
    """
    if images.ndim != 4 or images.shape[1] != channels or any(size % factor for size in images.shape[2:]):
        raise ValueError(
            f"images {list(images.shape)}: expected [B, {channels}, H, W] with H and W multiples of {factor}"
        )
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise ValueError(f"images {images.dtype}: expected float in [-1, 1], or uint8 in 0..255")
    if not torch.compiler.is_compiling() and images.numel():
        low, high = (float(bound) for bound in images.aminmax())
        limit = 1 + max(_HALF_A_LEVEL, torch.finfo(images.dtype).eps)
        if not -limit <= low <= high <= limit:  # also true for NaN
            raise ValueError(
                f"images {low:.4g}..{high:.4g}: expected float in [-1, 1], or uint8 in 0..255; "
                "vqvae.tensors.images_from_pixels maps 0..255 to [-1, 1]"
            )


def checked_codes(codes: Tensor, *, codes_per_position: int, num_codes: int, check_range: bool = True) -> Tensor:
    """Return codes as int64 [B, h, w, n].

    Args:
        codes: of any integer type, [B, h, w, n], or [B, h, w] if n = 1.
        codes_per_position: number of codes per position n.
        num_codes: number of codes K.
        check_range: whether to check the range of every code; this waits for the device of the codes. Code that is
            being compiled or exported does not check it.

    Raises:
        ValueError: for another type or shape, or a code outside 0 .. K - 1.
    """
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise ValueError(f"codes {codes.dtype}: expected integers 0..{num_codes - 1}")
    if codes.ndim == 3 and codes_per_position == 1:
        codes = codes.unsqueeze(3)
    if codes.ndim != 4 or codes.shape[3] != codes_per_position:
        without = " or [B, h, w]" if codes_per_position == 1 else ""
        raise ValueError(f"codes {list(codes.shape)}: expected [B, h, w, {codes_per_position}]{without}")
    codes = codes.long()
    if check_range and not torch.compiler.is_compiling() and codes.numel():
        low, high = (int(bound) for bound in codes.aminmax())
        if low < 0 or high >= num_codes:
            raise ValueError(f"codes {low}..{high}: expected 0..{num_codes - 1}")
    return codes


def checked_labels(labels: Labels, *, count: int, num_classes: int, check_range: bool = True) -> Tensor:
    """Return one label for each image, int64 [count].

    Args:
        labels: of any integer type, one for each image, or one for all images.
        count: number of images.
        num_classes: number of classes; labels are 0 .. num_classes, and ``num_classes`` means no class.
        check_range: whether to check the range of every label, as in ``checked_codes``.

    Raises:
        ValueError: for another type or shape, a label out of range, or labels although there are no classes.
    """
    if num_classes == 0:
        raise ValueError("labels were given, but this prior was trained without classes")
    found = torch.as_tensor(labels)
    if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise ValueError(f"labels {found.dtype}: expected integers 0..{num_classes}, {num_classes} for no class")
    if found.ndim == 0:
        found = found.expand(count)
    if found.shape != (count,):
        raise ValueError(f"labels {list(found.shape)}: expected [{count}], a class for each image, or one integer")
    if check_range and not torch.compiler.is_compiling() and found.numel():
        low, high = (int(bound) for bound in found.aminmax())
        if low < 0 or high > num_classes:
            raise ValueError(f"labels {low}..{high}: expected 0..{num_classes}, {num_classes} for no class")
    return found.long()
