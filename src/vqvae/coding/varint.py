"""Whole numbers of any size in as few bytes as they need: seven bits a byte, the smallest first (LEB128)."""

from collections.abc import Callable

_MOST_BYTES = 9  # numbers below 2^63


def varint(value: int) -> bytes:
    """Return a number of 0 .. 2^63 - 1 as bytes; every byte but the last has its highest bit set."""
    assert 0 <= value < 1 << 7 * _MOST_BYTES, value
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


class Fields:
    """Reads numbers and bytes one after another.

    Args:
        content: the bytes.
        error: makes the exception that is raised for bytes that end too early or are no number.
    """

    def __init__(self, content: bytes, error: Callable[[str], Exception]) -> None:
        self.content, self.error, self.position = content, error, 0

    @property
    def left(self) -> int:
        """The number of bytes that were not read yet."""
        return len(self.content) - self.position

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if size > self.left:
            raise self.error("it is cut short")
        self.position += size
        return self.content[self.position - size : self.position]

    def number(self) -> int:
        """Return the next number."""
        value = 0
        for index in range(_MOST_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 127) << 7 * index
            if byte < 128:
                if byte == 0 and index:
                    break  # a shorter form exists, and only that one is valid
                return value
        raise self.error("a number in its header is no number")

    def count(self) -> int:
        """Return the next number, which counts things that take at least one byte each."""
        value = self.number()
        if value > self.left:
            raise self.error("it is cut short")
        return value
