"""What every configurable thing is made of: a frozen, strict pydantic model, often with a `kind`.

YAML becomes the object with no builder between. An unknown key, a wrong type or a value out of range is an error
that names the place. Numbers are strict (no "3", no true for 1), never NaN, and infinity is written "inf", so that
JSON goes both ways.
"""

import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import import_module
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
    PlainSerializer,
    TypeAdapter,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema, to_json

from harness.core.plugins import Plugin, load_plugins, provenance


class Config(BaseModel):
    """Base of all configuration objects: immutable, hashable, unknown keys refused, strict types.

    A component whose numbers change gets the next `version`, which is part of every trial's fingerprint.
    """

    version: ClassVar[int] = 1
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def _read_inf(value: Any) -> Any:
    return {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value


def _refuse_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("must be a number, not NaN")
    return value


def _write_inf(value: float) -> float | str:
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


Real = Annotated[
    float,
    BeforeValidator(_read_inf),
    AfterValidator(_refuse_nan),
    PlainSerializer(_write_inf, when_used="json"),
]
"""A float that may be infinite ("inf" in YAML and JSON) and is never NaN."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A float that is neither infinite nor NaN."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite float above zero."""

Count = Annotated[int, Field(ge=1)]
"""A whole number of things, at least one."""


def unwritten(default: Any) -> Any:
    """Metadata of a field that came later than results: at its default it is not written, and fingerprints stay."""
    return Field(exclude_if=lambda value: value == default)


def shorthand(value: Any) -> Any:
    """A bare string stands for the kind with its defaults: `edm` is `{kind: edm}`."""
    return {"kind": value} if isinstance(value, str) else value


Shorthand = BeforeValidator(shorthand)


def repeated(values: Iterable[Any]) -> Any:
    """The first value that a list has twice; None if there is none. Numbers are equal whatever their type."""
    seen = set()
    for value in values:
        key = repr(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)
        if key in seen:
            return value
        seen.add(key)
    return None


def distinct(values: Any) -> Any:
    """Values of a list, each of which stands there once.

    Raises:
        ValueError: one is there twice.
    """
    twice = repeated(values)
    if twice is not None:
        raise ValueError(f"{twice!r} is there twice; remove one")
    return values


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else freeze(value)),
    Field(min_length=1),
    AfterValidator(distinct),
]
"""One word or a list of words, at least one, each once."""


def freeze(value: Any) -> Any:
    """Lists to tuples, however deep, so that a frozen choice can hold what YAML wrote as lists."""
    return tuple(freeze(item) for item in value) if isinstance(value, list | tuple) else value


Files = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else freeze(value))]
"""A path or a list of paths."""


def _checked_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    json.dumps(value, allow_nan=False)  # raises a ValueError: NaN and infinity are not JSON
    return value


Arguments = Annotated[dict[str, JsonValue], AfterValidator(_checked_json)]
"""Keyword arguments of a function, as JSON has values; neither NaN nor infinity, which JSON has not."""


def kind_of(config: type[Config]) -> str | None:
    """The word that stands for a class in YAML: the default of its field `kind`; None where it has none."""
    field = config.model_fields.get("kind")
    return field.default if field and isinstance(field.default, str) else None


def kinds(members: tuple[type[Config], ...]) -> tuple[str, ...]:
    """The words that `kind` allows in a union of choices."""
    return tuple(filter(None, map(kind_of, members)))


Member = TypeVar("Member", bound=Config)


class OneOf(Generic[Member]):
    """A union of configs that `kind` tells apart. `one_of` makes it; it stands as metadata on a field's type.

        SOLVERS = one_of(Euler, RK2, aliases={"heun": {"kind": "rk2", "alpha": 1.0}}, group="harness.solvers")

        class Sampler(Config):
            solver: Annotated[Solver, SOLVERS] = RK2()

    The field takes an instance of the members' base class, a mapping with a `kind`, or a bare word for the kind with
    its defaults. The kind is looked up when a value is validated: among the built-in classes, then among those that
    installed packages add. An alias and its long form are one choice with one fingerprint.

    Attributes:
        base: the class that all members, a plugin's too, are made of.
        aliases: other names; each gives a kind and the fields that the name fixes.
        group: entry points that add members; "" for none.
    """

    def __init__(self, members: tuple[type[Member], ...], aliases: Mapping[str, Mapping[str, Any]], group: str) -> None:
        shared = (base for base in members[0].__mro__ if all(issubclass(member, base) for member in members))
        self.base: Any = next(shared)
        assert self.base is not Config, "the classes of a union share a base class of their own"
        self.aliases, self.group = aliases, group
        self._built_in = dict(zip(kinds(members), members, strict=True))

    @property
    def members(self) -> tuple[type[Member], ...]:
        """The built-in classes, and those of plugins once they are loaded."""
        added = self.plugins.values() if "plugins" in self.__dict__ else ()
        return (*self._built_in.values(), *(plugin.value for plugin in added))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The words that `kind` allows, aliases apart."""
        return kinds(self.members)

    @cached_property
    def plugins(self) -> dict[str, Plugin]:
        """What installed packages add, by kind; the first look imports them. What cannot be used is a warning."""
        added: dict[str, Plugin] = {}
        for plugin in load_plugins(self.group) if self.group else ():
            is_member = isinstance(plugin.value, type) and issubclass(plugin.value, self.base)
            kind = kind_of(plugin.value) if is_member else None
            if kind is None:
                plugin.left_out(f"is no {self.base.__module__}.{self.base.__name__} with a word as its `kind`")
            elif kind in self._built_in or kind in self.aliases:
                plugin.left_out(f"has the kind '{kind}', which is built in")
            elif kind in added:
                plugin.left_out(f"has the kind '{kind}', which package {added[kind].origin} has too")
            else:
                added[kind] = plugin
        return added

    def class_named(self, name: str) -> type[Member]:
        """A built-in class by its own name, for the `__getattr__` of a package.

        Raises:
            AttributeError: there is none.
        """
        for member in self._built_in.values():
            if member.__name__ == name:
                return member
        raise AttributeError(f"there is no {self.base.__name__.lower()} '{name}'", name=name)

    def find(self, kind: str) -> type[Member] | None:
        """The class of a kind or alias; None if neither the harness nor a plugin has one."""
        kind = self.aliases.get(kind, {}).get("kind", kind)
        if kind in self._built_in:
            return self._built_in[kind]
        return self.plugins[kind].value if kind in self.plugins else None

    def read(self, value: Any) -> Member:
        """Validate a word, a mapping or an instance.

        Raises:
            ValidationError: unknown kind or field, or a value out of range.
        """
        return self._adapter.validate_python(value)

    def read_json(self, text: str | bytes) -> Member:
        """Validate the JSON that `model_dump_json` wrote.

        Raises:
            ValidationError: as for `read`.
        """
        return self._adapter.validate_json(text)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(Annotated[Any, self])

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validate)

    def _validate(self, value: Any, info: ValidationInfo) -> Member:
        if isinstance(value, self.base):
            return value
        value = shorthand(value)
        if not isinstance(value, Mapping) or "kind" not in value:
            raise ValueError(f"needs a `kind`; we got {value!r}")
        kind = value["kind"] if isinstance(value["kind"], str) else None
        value = self._without_alias(kind, value) if kind and kind in self.aliases else value
        member = self.find(value["kind"]) if kind else None
        if member is None:
            allowed = ", ".join(repr(name) for name in (*self.kinds, *self.aliases))
            raise ValueError(f"unknown kind '{value['kind']}'; allowed: {allowed}")
        if info.mode == "json":  # where lists stand for tuples, which strict models refuse from Python
            return member.model_validate_json(to_json(value, inf_nan_mode="constants"))
        return member.model_validate(value)

    def _without_alias(self, alias: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """The long form of a mapping whose kind is an alias; fields that the alias leaves open may be given."""
        long, given = self.aliases[alias], {key: value for key, value in value.items() if key != "kind"}
        free = set(self._built_in[long["kind"]].model_fields) - set(long)
        taken = sorted(set(given) - free)
        if taken:
            open_fields = ", ".join(sorted(free)) or "no fields"
            raise ValueError(
                f"'{alias}' has {open_fields}, and we got {', '.join(taken)}; use kind '{long['kind']}' to set them"
            )
        return {**long, **given}


def one_of(
    *members: type[Member], aliases: Mapping[str, Mapping[str, Any]] | None = None, group: str = ""
) -> OneOf[Member]:
    """A union of configs that `kind` tells apart, for `Annotated[Base, one_of(A, B)]`.

    Args:
        members: the built-in classes, with a base class in common that is not Config itself.
        aliases: other names; each gives a kind and the fields that the name fixes.
        group: entry points by which installed packages add members, such as `harness.solvers`; "" for none.
    """
    return OneOf(members, aliases or {}, group)


_PLAIN = frozenset({float, int, str, bool, type(None)})
"""Types of fields that hold no config."""


def plugins_of(config: Config) -> dict[str, dict[str, str]]:
    """Provenance of each part of a config whose class is not built in, by its dotted path; "" for the whole."""
    own = provenance(type(config))
    plugins = {} if own is None else {"": own}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if type(value) in _PLAIN:  # most fields, and a check against Config takes ten times as long
            continue
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Config):
                plugins |= {f"{name}.{path}".rstrip("."): each for path, each in plugins_of(part).items()}
    return plugins


def classes_in(package: str, files: Iterable[str], base: type[Member]) -> tuple[type[Member], ...]:
    """The classes of a kind that the modules of a package define, in their order.

    Args:
        package: its dotted name.
        files: names of its modules.
        base: class that the classes are made of. Its subclasses without a `kind` of their own are left out.
    """
    modules = [import_module(f"{package}.{file}") for file in files]
    classes = [(module, cls) for module in modules for cls in vars(module).values() if isinstance(cls, type)]
    return tuple(
        cls for module, cls in classes if issubclass(cls, base) and cls.__module__ == module.__name__ and kind_of(cls)
    )


Side = Annotated[int, Field(ge=1)]
Shape = Annotated[tuple[Side, Side, Side], BeforeValidator(freeze)]
"""The shape of an image: channels, height, width."""

AnyShape = Annotated[tuple[Side, ...], BeforeValidator(freeze), Field(min_length=1)]
"""The shape of a sample of any kind: its sides, at least one."""
