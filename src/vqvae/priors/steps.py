"""A prior's step as functions without memory, which other runtimes can run; exports are made of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class StepFunction:
    """A module whose arguments and results have names.

    The names that a caller provides are

    - ``previous``: int64 [B, n], the codes of the position before; ignored at the first position;
    - ``above``: int64 [B, w, n], the codes of the row above; ignored in the first row;
    - ``at``: int64 [2], the row and column of the position;
    - ``before``: int64 [2], the row and column of the position before; (0, -1) at the first position;
    - ``labels``: int64 [B], in 0 .. num_classes, where ``num_classes`` means no class.

    Every other argument is a result of an earlier call: of the name ``NAME``, or of ``next_NAME`` if the function
    itself replaces it.

    Attributes:
        module: returns a tuple of tensors, or one tensor. Dimension 0 of each is B, except for ``at`` and
            ``before``.
        inputs: the names of the arguments.
        outputs: the names of the results.
        growing: the dimension of each argument that is longer at each call, by name.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    growing: Mapping[str, int]


@dataclass(frozen=True)
class PriorSteps:
    """What runs a prior position by position: ``position`` gives the features that the prior's head reads.

    Attributes:
        position: called at each position; its result ``features``, float [B, width], belongs to this position.
        start: from (count, (h, w)) to the arguments that no call has made yet, by name.
        row: called at the beginning of each row, before ``position``; None if rows need no work of their own.
    """

    position: StepFunction
    start: Callable[[int, tuple[int, int]], dict[str, Tensor]]
    row: StepFunction | None = None
