"""What a checkpoint of another program turned out to be."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core import yaml
from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles.machine import Instance
from harness.denoisers.checkpoints.pickles.stored import Stored

MAX_DEPTH = 6
MAX_VALUES = 2000
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


@dataclass(frozen=True)
class Found:
    """A checkpoint, read but not built; its weights still lie in the file.

    Attributes:
        format: what kind of file it is, in words.
        preconditioning: kind of the preconditioning, a key of `PRECONDITIONINGS`.
        arguments: its constructor's arguments, those of the network included.
        tensors: weights and buffers by the names of our network.
        sigma_min, sigma_max: noise range that the file states; None means what the constructor computes.
        facts: what else the file says of the training, for people.
        assumed: what the file does not say and had to be taken for granted, with the value; `--set` changes it.
        ignored: what is in the file and was not used.
        size: bytes of what holds the weights; None means those of the file itself.
        not_yet: why the network cannot be built here; None means that it can.
    """

    format: str
    preconditioning: str
    arguments: dict[str, Any]
    tensors: dict[str, Stored]
    sigma_min: float | None = None
    sigma_max: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    size: int | None = None
    not_yet: str | None = None


def plain(value: Any) -> Any:
    """A value from a file for people and for JSON: nothing deep or long; persistent objects as class and arguments."""
    return _Plain().of(value, 0)


class _Plain:
    """Shortens values; stops after MAX_VALUES of them, since values that are shared count wherever they are."""

    def __init__(self) -> None:
        self.left = MAX_VALUES

    def of(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or (depth > MAX_DEPTH and isinstance(value, list | tuple | dict | Instance)):
            return "(more)"
        if isinstance(value, Instance):
            arguments = value.state.get("_init_kwargs") if isinstance(value.state, dict) else None
            return {"class": value.of[:100], **self.table(arguments if isinstance(arguments, dict) else {}, depth)}
        if isinstance(value, dict):
            return self.table(value, depth)
        if isinstance(value, list | tuple):
            return [self.of(inner, depth + 1) for inner in value[:100] if self.left > 0]
        if isinstance(value, str):
            return value[:200]
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, int):
            return value if abs(value) < 1 << 64 else "(a huge number)"
        return value if isinstance(value, float | None) else f"({type(value).__name__})"

    def table(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        first = list(value.items())[:100]
        return {str(key)[:100]: self.of(inner, depth + 1) for key, inner in first if self.left > 0}


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Errors that nobody foresaw as the file's mistake: it is not to be trusted, so whatever it contradicts is its own.

    Raises:
        InputError: with the file, in place of the error.
    """
    try:
        yield
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        words = str(error).splitlines()[:1]
        reason = f"{type(error).__name__}: {words[0][:200]}" if words else type(error).__name__
        raise InputError(f"{path}: contradicts itself ({reason}); damaged") from None


class Options:
    """What the user says of a file that does not describe itself: `--set key=value`.

    Args:
        given: values by key.
        where: what to call the file in errors.
    """

    def __init__(self, given: Mapping[str, Any], where: str) -> None:
        self.given, self.where = dict(given), where
        self.assumed: dict[str, Any] = {}
        self._known: list[str] = []

    def take(self, key: str, default: Any) -> Any:
        """The user's value for a key, else the default, which is then noted as assumed.

        Raises:
            InputError: a value of another type than the default's.
        """
        self._known.append(key)
        if key not in self.given:
            self.assumed[key] = default
            return default
        value = self.given[key]
        if type(value) is int and type(default) is float:
            value = float(value)
        if type(value) is not type(default):
            raise InputError(
                f"{self.where}: option {key} is {WORDS[type(default)]}, such as {default!r}; we got {value!r}"
            )
        return value

    def done(self) -> None:
        """Refuse options that nothing asked for.

        Raises:
            InputError: with those that such a file has.
        """
        unknown = sorted(set(self.given) - set(self._known))
        if unknown:
            raise InputError(
                f"{self.where}: option '{unknown[0]}' means nothing for such a file; "
                f"it has: {', '.join(self._known) or 'none, it describes itself'}"
            )


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE, each value as YAML has it: `image_size=64`, `fir=true`.

    Raises:
        InputError: no equals sign, or a value that is not YAML.
    """
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set takes KEY=VALUE, such as image_size=64; we got '{setting}'")
        found[key.strip()] = yaml.loads(value, f"--set {key}").data
    return found
