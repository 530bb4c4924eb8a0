"""A range coder, of the package ``constriction``: symbols to bytes under given probabilities, and back.

Writing and reading share one interface, so that one function computes the probabilities in both directions. A
reader must see the probabilities that the writer saw, to the last bit.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vqvae.errors import FormatError, UserError

TOTAL = 2**24  # constriction's probabilities are multiples of 2^-24, and none is 0
MOST_CODES = 2**20  # most symbols of one alphabet

OTHER_NUMBERS = (
    "does not decode to what was written: the models compute other probabilities on this machine; "
    "decompress it on a machine with the same processor and the same versions of torch and constriction"
)

Symbols = NDArray[np.int32]


class Coder(Protocol):
    """Writes symbols, or reads them."""

    def symbols(self, weights: NDArray[np.float64], symbols: Symbols | None) -> Symbols:
        """Write symbols and return them; or read and return them.

        Args:
            weights: [N, K], proportional to the probabilities of the K symbols; not negative, and finite.
            symbols: int32 [N], in 0 .. K - 1; a reader ignores them.
        """
        ...

    def bits(self, ones: NDArray[np.float64], bits: Symbols | None) -> Symbols:
        """Write bits and return them; or read and return them.

        Args:
            ones: [N], the probability that each bit is 1, in [0, 1].
            bits: int32 [N]; a reader ignores them.
        """
        ...


class RangeWriter:
    """Writes symbols; ``finish`` returns the bytes."""

    def __init__(self) -> None:
        self._stream = _constriction().stream
        self._encoder = self._stream.queue.RangeEncoder()

    def symbols(self, weights: NDArray[np.float64], symbols: Symbols | None) -> Symbols:
        """Write symbols, as ``Coder.symbols``."""
        assert symbols is not None
        if weights.shape[1] > 1:  # a symbol of one is known
            self._encoder.encode(symbols, self._stream.model.Categorical(perfect=False), weights)
        return symbols

    def bits(self, ones: NDArray[np.float64], bits: Symbols | None) -> Symbols:
        """Write bits, as ``Coder.bits``."""
        assert bits is not None
        self._encoder.encode(bits, self._stream.model.Bernoulli(perfect=False), ones)
        return bits

    def finish(self) -> bytes:
        """Return the bytes. The zeros at their end are left out; a reader puts them back."""
        words: NDArray[np.uint32] = self._encoder.get_compressed()
        return words.astype(">u4").tobytes().rstrip(b"\0")


class RangeReader:
    """Reads the symbols of bytes that a ``RangeWriter`` wrote.

    Args:
        content: the bytes.
        where: the file and the place in it, for errors.
    """

    def __init__(self, content: bytes, *, where: str) -> None:
        self._stream = _constriction().stream
        self._where = where
        words = np.frombuffer(content + b"\0" * (-len(content) % 4), ">u4").astype(np.uint32)
        self._decoder = self._stream.queue.RangeDecoder(words)

    def symbols(self, weights: NDArray[np.float64], symbols: Symbols | None = None) -> Symbols:
        """Read symbols, as ``Coder.symbols``.

        Raises:
            FormatError: when the bytes are none that a writer writes with these probabilities.
        """
        if weights.shape[1] == 1:
            return np.zeros(len(weights), np.int32)
        return self._read(self._stream.model.Categorical(perfect=False), weights)

    def bits(self, ones: NDArray[np.float64], bits: Symbols | None = None) -> Symbols:
        """Read bits, as ``Coder.bits``.

        Raises:
            FormatError: as ``symbols``.
        """
        return self._read(self._stream.model.Bernoulli(perfect=False), ones)

    def _read(self, model: Any, parameters: NDArray[np.float64]) -> Symbols:
        try:
            return self._decoder.decode(model, parameters)
        except AssertionError:
            raise FormatError(f"{self._where}: {OTHER_NUMBERS}") from None  # the chunk's checksum has matched

    def finish(self) -> None:
        """Check that the bytes are used up.

        Raises:
            FormatError: when bytes are left.
        """
        if not self._decoder.maybe_exhausted():
            raise FormatError(f"{self._where}: damaged: bytes are left after its last symbol")


class SideBySide:
    """Writes or reads several streams at once: the symbols of N / B at a time belong to each of B coders in turn.

    Args:
        coders: the coders.
    """

    def __init__(self, coders: Sequence[Coder]) -> None:
        self._coders = coders

    def symbols(self, weights: NDArray[np.float64], symbols: Symbols | None) -> Symbols:
        """Write or read symbols, as ``Coder.symbols``."""
        own = zip(self._coders, self._split(weights), self._split(symbols), strict=True)
        return np.concatenate([coder.symbols(part, values) for coder, part, values in own])

    def bits(self, ones: NDArray[np.float64], bits: Symbols | None) -> Symbols:
        """Write or read bits, as ``Coder.bits``."""
        own = zip(self._coders, self._split(ones), self._split(bits), strict=True)
        return np.concatenate([coder.bits(part, values) for coder, part, values in own])

    def _split(self, values: Any) -> list[Any]:
        count = len(self._coders)
        return [None] * count if values is None else list(values.reshape(count, -1, *values.shape[1:]))


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise UserError("compressed files need an extra: pip install 'vqvae-toolkit[codec]'") from None
    return constriction
