"""The base class of quantizers, and the base class of their configs."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from vqvae.component import Advice, Config, Whole
from vqvae.quantizers.reshape import map_of_vectors, shape_of_positions, vectors_of_map
from vqvae.tensors import Quantized

NumCodes = Annotated[Whole, Field(gt=1)]


class Quantizer(nn.Module, ABC):
    """A layer that replaces each vector of the encoder's output by a code of a finite set.

    This class handles shapes, dtypes and masks. A subclass defines ``quantize_vectors`` and ``embed_vectors``,
    which work on lists of vectors. All other methods have a default.

    z_e may have any number of spatial dimensions: [B, D], [B, D, length], [B, D, h, w], [B, D, depth, h, w]. z_q
    has the shape and the dtype of z_e. Codebooks, statistics and losses are always float32, whatever the dtype of
    z_e and the dtype that the module is cast to.

    Args:
        num_codes: number of codes K that a position chooses from.
        channels: number of channels D of z_e, the size of a vector.
        codes_per_position: number of codes n of one vector.
        channel_last: whether z_e and z_q are [B, *spatial, D] instead of [B, D, *spatial].
    """

    keeps_float32: ClassVar[bool] = True
    """Whether casts of the module leave its tensors in float32, and vectors arrive in float32.

    False for quantizers of networks or other quantizers: their tensors follow the cast, and vectors arrive in the
    dtype of z_e.
    """

    residual_scale: float | Tensor | None = None
    """The divisor of the residual at each further depth of a ``ResidualQuantizer``: a number, or one per channel.

    It is 1 if the codes learn the size of the residual. It is None if the error of a stack of this kind would not
    fall with every depth.
    """

    no_residual_because: ClassVar[str] = "it does not state its residual_scale"
    """The reason for a ``residual_scale`` of None, for the error message."""

    no_copies_because: ClassVar[str] = ""
    """Why a copy of a code would stay equal to the code, whatever the training; empty where the two part."""

    def __init__(
        self, *, num_codes: int, channels: int, codes_per_position: int = 1, channel_last: bool = False
    ) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.channels = channels
        self.codes_per_position = codes_per_position
        self.channel_last = channel_last

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """How many codes each of the n codes of a vector chooses from: K, or fewer in a layer with fewer codes."""
        return (self.num_codes,) * self.codes_per_position

    @abstractmethod
    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize vectors, float32 [N, D]; in training mode, also record the statistics for ``update``.

        Args:
            vectors: float32 [N, D], one vector for each position of the batch.
            mask: bool [N], or None for all vectors. A vector whose mask is False gets codes, but enters neither a
                loss nor a statistic.

        Returns:
            z_q [N, D], with a gradient for the vectors; codes [N, n]; the two losses (see ``mean_square``).
        """

    @abstractmethod
    def embed_vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors, float32 [N, D], of codes, int64 [N, n]; they equal z_q of ``quantize_vectors``."""

    def codes_of_vectors(self, vectors: Tensor) -> Tensor:
        """Return the codes, int64 [N, n], of vectors, float32 [N, D]: those of ``quantize_vectors`` in eval mode.

        A subclass overrides it where codes alone cost less than codes, z_q and losses.
        """
        return self.quantize_vectors(vectors, None).codes

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Return which vectors could get another code in eval mode if they moved, bool [N]; by default, all.

        Args:
            vectors: float32 [N, D].
            tolerance: float32 [N], how far each vector may move.
        """
        return torch.ones_like(tolerance, dtype=torch.bool)

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Learn from the statistics since the last update, and return metrics. Call it after each optimizer step.

        Args:
            revive: whether dead codes may be revived.
        """
        return {}

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e; in training mode, also record the statistics for ``update``.

        Args:
            z_e: float [B, D, *spatial], of any floating dtype; [B, *spatial, D] with ``channel_last``.
            mask: bool [B, *spatial]. A position whose mask is False gets codes, but enters neither a loss nor a
                statistic.

        Returns:
            z_q, of the shape and dtype of z_e; codes, int64 [B, *spatial, n]; the losses, float32 scalars.

        Raises:
            ValueError: for another shape or dtype of z_e or of the mask.
        """
        self._check_map(z_e)
        positions = shape_of_positions(z_e, self.channel_last)
        if mask is not None and (mask.shape != positions or mask.dtype != torch.bool):
            raise ValueError(f"mask {_described(mask)}: expected bool {list(positions)}, one of each position")
        found = self.quantize_vectors(self._vectors(z_e), None if mask is None else mask.flatten())
        return found._replace(
            z_q=map_of_vectors(found.z_q, positions, self.channel_last).to(z_e.dtype),
            codes=found.codes.reshape(*positions, self.codes_per_position),
        )

    def codes(self, z_e: Tensor) -> Tensor:
        """Return the codes of ``forward`` alone, int64 [B, *spatial, n]; in training mode, ``forward`` is called.

        Args:
            z_e: float [B, D, *spatial]; [B, *spatial, D] with ``channel_last``.

        Raises:
            ValueError: for another shape or dtype of z_e.
        """
        if self.training:
            return self(z_e).codes
        self._check_map(z_e)
        positions = shape_of_positions(z_e, self.channel_last)
        return self.codes_of_vectors(self._vectors(z_e)).reshape(*positions, self.codes_per_position)

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q of codes. It equals z_q of ``forward``, bit for bit, before the cast to the dtype of z_e.

        The range of the codes is not checked; ``VQVAE.decode`` checks it.

        Args:
            codes: integers [B, *spatial, n], in 0..K-1; other codes give an error or a wrong vector.

        Returns:
            float32 [B, D, *spatial]; [B, *spatial, D] with ``channel_last``.

        Raises:
            ValueError: for another shape or dtype of the codes.
        """
        if codes.ndim < 2 or not self.takes_codes(codes.shape[-1]) or codes.is_floating_point():
            raise ValueError(
                f"codes {_described(codes)}: expected integers [B, *spatial, {self.codes_per_position}]"
            )
        vectors = self.embed_vectors(codes.reshape(-1, codes.shape[-1]).long())
        return map_of_vectors(vectors, codes.shape[:-1], self.channel_last)

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Return at which positions a small change of z_e could change a code in eval mode, bool [B, *spatial].

        Unless the quantizer defines ``ambiguous_vectors``, every position may be ambiguous.

        Args:
            z_e: float [B, D, *spatial]; [B, *spatial, D] with ``channel_last``.
            tolerance: float [B], how far each vector of an image may move.
        """
        self._check_map(z_e)
        vectors = self._vectors(z_e)
        each = tolerance.repeat_interleave(len(vectors) // max(1, len(tolerance)))
        return self.ambiguous_vectors(vectors, each).view(shape_of_positions(z_e, self.channel_last))

    def takes_codes(self, number: int) -> bool:
        """Return whether ``embed`` takes ``number`` codes per position; by default, n codes only."""
        return number == self.codes_per_position

    def latents_of(self, vectors: Tensor) -> Tensor:
        """Return what z_q approximates, float32 [N, D]: the vectors [N, D] themselves, or their bounded values."""
        return vectors

    def latent_tolerance(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Return how far ``latents_of(vectors)`` may move, float32 [N], if vectors move by the tolerance [N]."""
        return tolerance

    def quantize_residual(self, residual: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize the residual of earlier depths, float32 [N, D], after division by the scale of this depth."""
        return self(residual, mask)

    def ambiguous_residual(self, residual: Tensor, tolerance: Tensor) -> Tensor:
        """Return what ``ambiguous_vectors`` returns, for ``quantize_residual``."""
        return self.ambiguous_vectors(residual, tolerance)

    def _vectors(self, z_e: Tensor) -> Tensor:
        vectors = vectors_of_map(z_e, self.channel_last)
        return vectors.float() if self.keeps_float32 else vectors

    def _check_map(self, z_e: Tensor) -> None:
        here, elsewhere = (-1, 1) if self.channel_last else (1, -1)
        if z_e.ndim >= 2 and z_e.shape[here] == self.channels and z_e.is_floating_point():
            return
        shapes = (f"[B, {self.channels}, *spatial]", f"[B, *spatial, {self.channels}]")
        says = f"z_e {_described(z_e)}: expected floating point {shapes[self.channel_last]}"
        if z_e.ndim >= 2 and z_e.shape[elsewhere] == self.channels and z_e.is_floating_point():
            says += f"; for {shapes[not self.channel_last]}, pass channel_last={not self.channel_last}"
        raise ValueError(says)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # called by .to(torch.bfloat16), .half() and .double(). In bf16, whose numbers are 0.8 % apart, a running
        # mean with decay 0.99 does not move, and distances tie
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move if self.keeps_float32 else fn, recurse)


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig(Config):
    """Settings of a quantizer; each kind adds its own settings and defines ``build``."""

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer.

        Args:
            forwards_per_update: the number of training forwards between two updates (gradient accumulation).
            seed: the seed of every random choice of the quantizer.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define build, which makes the quantizer")

    def code_count(self) -> int:
        """Return K of the quantizer that ``build`` makes."""
        with torch.device("meta"):
            return self.build().num_codes

    def shares_codebook(self) -> bool:
        """Return whether several codes of a position are chosen from one codebook."""
        return getattr(self, "codes_per_position", 1) > 1

    def advice(self, key: str) -> Advice:
        """Return how to bring more codes into use.

        Args:
            key: the key of this config in the run's config, such as ``model.quantizer``.
        """
        return Advice("ask for fewer codes, or train longer", {})


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
