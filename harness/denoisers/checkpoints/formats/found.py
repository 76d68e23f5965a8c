"""What a checkpoint of another program turned out to be."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness import yamlfile
from harness.errors import InputError
from harness.unpickling.machine import Instance
from harness.unpickling.stored import Stored

MAX_DEPTH = 6
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
    not_yet: str | None = None


def plain(value: Any, depth: int = 0) -> Any:
    """A value from a file for people and for JSON: nothing deep or long; persistent objects as class and arguments."""
    if isinstance(value, Instance):
        state = value.state if isinstance(value.state, dict) else {}
        arguments = state.get("_init_kwargs")
        return {"class": value.of[:100], **(plain(arguments, depth + 1) if isinstance(arguments, dict) else {})}
    if isinstance(value, dict):
        shown = list(value.items())[:100] if depth < MAX_DEPTH else []
        return {str(key)[:100]: plain(inner, depth + 1) for key, inner in shown}
    if isinstance(value, list | tuple):
        return [plain(inner, depth + 1) for inner in value[:100]] if depth < MAX_DEPTH else []
    if isinstance(value, str):
        return value[:200]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int):
        return value if abs(value) < 1 << 64 else "(a huge number)"
    return value if isinstance(value, float | None) else f"({type(value).__name__})"


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
        found[key.strip()] = yamlfile.loads(value, f"--set {key}").data
    return found
