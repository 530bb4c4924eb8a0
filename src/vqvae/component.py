"""Components: a component is a class and, nested in it, the frozen dataclass that configures it.

Each sort of component (quantizer, network, likelihood, prior, loss) has a base config. The ``Config`` of a
component is a subclass of the base config and has a ``kind`` of its own. YAML files and the command line accept
every kind that is defined. So adding a component takes one file and the line that exports it. A component of a
user's own module is known once the module is imported.
"""

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, NamedTuple, Self, cast, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from vqvae.value_words import refusal
from vqvae.whole_numbers import LARGEST, SMALLEST, whole_number


def _as_people_write_it(value: Any) -> Any:
    """Accept a text such as ``10k`` or ``1e4`` for a whole number."""
    return whole_number(value) if isinstance(value, str) else value


STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Whole = Annotated[int, BeforeValidator(_as_people_write_it), Field(ge=SMALLEST, le=LARGEST)]
Count = Annotated[Whole, Field(gt=0)]
CountOrZero = Annotated[Whole, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
HINT = "plugin"  # the key beside ``kind`` that names the module of a component from outside


class Advice(NamedTuple):
    """A change that ``vqvae doctor`` advises.

    Attributes:
        change: the change in words.
        options: new values by their keys in the run's config.
    """

    change: str
    options: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of a component, checked when they are read from YAML or the command line.

    A base config gives ``kind`` no value. A field of a base config's type accepts the config of every kind below
    the base. A mapping without a ``kind`` is of the ``default_kind``, where the base config names one.

    The config of a component from outside this package is written with the name of its module, under ``plugin``.
    The name is a hint for the error message of a reader who has not imported the module. Reading never imports it.
    """

    __pydantic_config__ = STRICT
    default_kind: ClassVar[str | None] = None

    kind: str

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Refuse a kind that another component of the same base has."""
        super().__init_subclass__(**arguments)
        kind = cls.__dict__.get("kind")
        taken = _open_base(cls).kinds().get(kind) if isinstance(kind, str) else None
        # the same name again: a module is imported, or a notebook's cell is run, a second time
        if taken not in (None, cls) and _full_name(taken) != _full_name(cls):
            raise ValueError(
                f"{_full_name(cls)}: its kind '{kind}' is taken by {_full_name(taken)}; choose another kind"
            )

    @classmethod
    def component(cls) -> str:
        """Return the word for the component in messages, from its base config: ``quantizer``, ``prior``, ..."""
        return re.sub("(Model)?Config$", "", _open_base(cls).__name__).lower()

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Return the configs of all kinds below this base, by kind; of two with one kind, the newer."""
        found: dict[str, type[Self]] = {}
        for config in cls.__subclasses__():
            if isinstance(kind := config.__dict__.get("kind"), str):
                found[kind] = config
            found |= config.kinds()
        return found

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of this config, or of the union of all kinds below a base config."""
        kinds = cls.kinds()
        if "kind" in cls.__dict__ or not kinds:
            return _with_hint(handler(source), cls)
        # pydantic asks twice for a config that contains configs of its own base, and the second schema lacks the
        # hint: so the hint is added here too
        return core_schema.tagged_union_schema(
            {kind: _with_hint(handler.generate_schema(config), config) for kind, config in kinds.items()},
            cls._kind_of,
            custom_error_type="kind",
            custom_error_message=f"kind must be one of {', '.join(kinds)}",
            custom_error_context={"component": cls.component(), "kinds": ",".join(kinds)},
        )

    @classmethod
    def _kind_of(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return cast(Mapping[str, Any], value).get("kind", cls.default_kind)
        return getattr(value, "kind", None)

    def settings(self) -> dict[str, Any]:
        """Return the values by name, without ``kind``: the component's keyword arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "kind"}

    @classmethod
    def check(cls, **arguments: Any) -> None:
        """Check arguments of the component against the types and ranges of this config.

        Raises:
            ValueError: names the argument, its range and its value.
        """
        check_values(get_type_hints(cls, include_extras=True), arguments)

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Return what each setting means, from the docstrings of this config and of the class it is nested in."""
        return meanings_of(cls)


def check_values(types: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse values that are not of their types.

    Args:
        types: the type of each value by name, with its range: ``Count``, ``Fraction``, ...
        values: by name.

    Raises:
        ValueError: names the value, its range and what was given.
    """
    for name, value in values.items():
        try:
            TypeAdapter(types[name], config=ConfigDict(allow_inf_nan=False)).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join([name, *map(str, first["loc"])])
            raise ValueError(refusal(key, types[name], first)) from None


def meanings_of(config: type) -> dict[str, str]:
    """Return the meaning of each field of a dataclass.

    A meaning comes from the dataclass's own docstring, else from the docstring of the class that it is nested in,
    else from the docstrings of their base classes.
    """
    found: dict[str, str] = {}
    component = component_class(config)
    for documented in [*reversed(config.__mro__[1:]), *reversed(component.__mro__[1:]), component, config]:
        found |= documented_names(documented)
    names = [field.name for field in fields(config) if field.name != "kind"]
    return {name: found[name] for name in names if name in found}


def _with_hint(schema: CoreSchema, config: type) -> CoreSchema:
    """Return a schema that also writes the name of the config's module, if the module is outside this package.

    Reading ignores the name.
    """
    module = config.__module__
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return schema

    def without(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: item for key, item in cast(Mapping[str, Any], value).items() if key != HINT}

    def written(value: Any, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {**write(value), HINT: module}

    hinted = core_schema.wrap_serializer_function_ser_schema(written, schema=schema)
    return core_schema.no_info_before_validator_function(without, schema, serialization=hinted)


def documented_names(documented: type) -> dict[str, str]:
    """Return the names under ``Args:`` and ``Attributes:`` of a class's own docstring, with their descriptions."""
    lines = inspect.cleandoc(documented.__dict__.get("__doc__") or "").splitlines()
    found, section, name = dict[str, str](), "", ""
    for line in lines:
        if line and not line.startswith(" "):
            section = line
        elif section in ("Args:", "Attributes:"):
            if entry := re.match(r" {4}(\w+): (.*)", line):
                name = entry[1]
                found[name] = entry[2]
            elif name and line.startswith(" " * 8):
                found[name] += f" {line.strip()}"
    return found


def _open_base(config: type[Config]) -> type[Config]:
    """Return the base config of a component's kind: the class right below ``Config``."""
    bases = [base for base in config.__mro__ if issubclass(base, Config)]
    return bases[-2] if len(bases) > 1 else config


def component_class(config: type) -> type:
    """Return the class that a config is nested in; the config itself if it is not nested."""
    owner = config.__qualname__.split(".")[0]
    found = getattr(sys.modules.get(config.__module__), owner, config)
    return found if isinstance(found, type) else config


def _full_name(config: type | None) -> str:
    return f"{config.__module__}.{config.__qualname__}" if config is not None else ""
