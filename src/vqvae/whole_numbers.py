"""Read whole numbers in the notations that people use, such as 10k and 1e4."""

import re
from decimal import Decimal

SMALLEST, LARGEST = -(2**63), 2**63 - 1  # of an int64
_NUMBER = re.compile(r"([+-]?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+]?[0-9]{1,3})?)([kKM]?)")
_FACTORS = {"": 1, "k": 1000, "K": 1000, "M": 1_000_000}


def whole_number(text: str) -> int:
    """Return the integer in a text such as ``10000``, ``10_000``, ``1e4``, ``10k`` or ``2M``.

    Raises:
        ValueError: when the text is not a whole number, or the number does not fit into 64 bits.
    """
    found = _NUMBER.fullmatch(text.strip())
    number = Decimal(found[1].replace("_", "")) * _FACTORS[found[2]] if found else None
    if number is None or number != number.to_integral_value():
        raise ValueError(f"'{text[:40]}' is not a whole number such as 10000, 1e4 or 10k")
    if not SMALLEST <= number <= LARGEST:
        raise ValueError(f"{text[:40]} does not fit into 64 bits")
    return int(number)
