"""Numbers with their ranges, and what every config is: strict, frozen, and turned into keyword arguments."""

from dataclasses import fields
from typing import Annotated, Any

from pydantic import ConfigDict, Field

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Count = Annotated[int, Field(gt=0)]
CountOrZero = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def settings(config: Any) -> dict[str, Any]:
    """Return a config's values by name, without its ``kind``."""
    return {field.name: getattr(config, field.name) for field in fields(config) if field.name != "kind"}
