"""What a checkpoint format is, and what reading one gives.

A format of another program is one class: `recognise` says whether a file is of it, by content and never by name, and
`read` turns the file into a `ReadCheckpoint`. A card names the format of what it fetches by its `kind`. Nothing else in
the package knows one format from another.
"""

import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from harness.core import yaml
from harness.core.config import Config
from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles.machine import Instance
from harness.denoisers.checkpoints.pickles.stored import LazyTensor
from harness.denoisers.checkpoints.pickles.torch_file import layout_of, mapped, read_torch_file
from harness.denoisers.checkpoints.state_dicts import StateDict, is_safetensors, read_safetensors, state_dicts

MAX_DEPTH = 6
MAX_VALUES = 2000
TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


@dataclass(frozen=True)
class ReadCheckpoint:
    """A checkpoint, read but not built; its weights still lie in the file.

    Attributes:
        format: what kind of file it is, in words.
        preconditioning: kind of the preconditioning, a key of `PRECONDITIONINGS`.
        arguments: its constructor's arguments, those of the network included.
        tensors: weights and buffers by the names of our network.
        sigma_min, sigma_max: noise range that the file states; None means what the constructor computes.
        facts: what else the file says of the training, for people.
        assumed: what the file does not say, with the value that was assumed; `--set` changes it.
        ignored: what is in the file and was not used.
        size: bytes of what holds the weights; None means those of the file itself.
        not_yet: why the network cannot be built here; None means that it can.
    """

    format: str
    preconditioning: str
    arguments: dict[str, Any]
    tensors: dict[str, LazyTensor]
    sigma_min: float | None = None
    sigma_max: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    size: int | None = None
    not_yet: str | None = None


class CheckpointFile:
    """A path that may hold a checkpoint; formats look at it, and what one has read the next need not read again.

    Args:
        path: a file or a folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def data(self) -> memoryview:
        """The file's bytes, in place; none for a folder.

        Raises:
            InputError: the file is missing, empty or cannot be read.
        """
        return memoryview(b"") if self.path.is_dir() else mapped(self.path)

    @cached_property
    def is_torch_file(self) -> bool:
        """Whether `torch.save` wrote the file, by its first bytes."""
        return layout_of(self.data) is not None

    @cached_property
    def is_safetensors(self) -> bool:
        """Whether it is a safetensors file, by its first bytes."""
        return is_safetensors(self.data)

    @cached_property
    def state_dicts(self) -> dict[str, StateDict]:
        """The state dicts in the file, by the key that holds each; "" is the file itself. None for other files.

        Raises:
            InputError: damaged, or with a global that no checkpoint needs.
        """
        return state_dicts(read_safetensors(self.path) if self.is_safetensors else self.torch_object)

    @cached_property
    def torch_object(self) -> Any:
        """The object in a file of `torch.save`, its tensors as `LazyTensor`; None for any other file.

        Raises:
            InputError: damaged, or with a global that no checkpoint needs.
        """
        return read_torch_file(self.path).root if self.is_torch_file else None


class CheckpointFormat(Config):
    """A checkpoint format of another program.

    Attributes:
        kind: the word by which cards name it.
        title: what its files are, for messages.
    """

    kind: str
    title: ClassVar[str]

    @abstractmethod
    def recognise(self, file: CheckpointFile) -> bool:
        """Whether the file is of this format, from as little of its content as tells it from the others."""

    @abstractmethod
    def read(self, file: CheckpointFile, settings: "Settings") -> ReadCheckpoint:
        """Read a file of this format; its weights stay in the file.

        Args:
            file: one that `recognise` takes.
            settings: what the user says where the file says nothing.

        Raises:
            InputError: damaged, or a network that is not known here.
        """


class Settings:
    """What the user says of a file that does not describe itself: `--set KEY=VALUE`.

    Args:
        given: values by key.
        where: what to call the file in errors.
    """

    def __init__(self, given: Mapping[str, Any], where: str) -> None:
        self.given, self.where = dict(given), where
        self.assumed: dict[str, Any] = {}
        self._known: list[str] = []

    def take(self, key: str, default: Any, stated: bool = False) -> Any:
        """The user's value for a key, else the default, which is then noted as assumed.

        Args:
            key: the option's name.
            default: its value if the user gives none; of the type that values have.
            stated: whether the default is what the file says, and so not assumed.

        Raises:
            InputError: a value of another type than the default's.
        """
        self._known.append(key)
        if key not in self.given:
            if not stated:
                self.assumed[key] = default
            return default
        value = self.given[key]
        if type(value) is int and type(default) is float:
            value = float(value)
        if type(value) is not type(default):
            raise InputError(
                f"{self.where}: option {key} is {TYPE_NAMES[type(default)]}, such as {default!r}; we got {value!r}"
            )
        return value

    def take_word(self, key: str, words: Sequence[str], default: str, stated: bool = False) -> str:
        """As `take`, for a key that has one of some words.

        Raises:
            InputError: another value; with the words.
        """
        word: str = self.take(key, default, stated)
        if word not in words:
            raise InputError(f"{self.where}: option {key} is one of {', '.join(words)}; we got '{word}'")
        return word

    def take_null_class(self, classes: int, published: bool = False) -> dict[str, int | str]:
        """The argument `null_class` of a network with a table of classes; none if no class is known to stand for none.

        Args:
            classes: rows of the table.
            published: whether the network is known, and known to have no such class.

        Raises:
            InputError: a value that is no class, `zeros` or `none`.
        """
        if not classes:
            return {}
        given = self.given.get("null_class")
        if type(given) is not int:
            word = self.take_word("null_class", ("none", "zeros"), "none", stated=published)
            return {} if word == "none" else {"null_class": word}
        self._known.append("null_class")
        if classes < 2 or not 0 <= given < classes:
            raise InputError(f"{self.where}: option null_class is a class, 0 to {classes - 1}; we got {given}")
        return {"null_class": given}

    def take_state_dict(self, found: Mapping[str, StateDict]) -> str:
        """The key of the state dict to read: the only one, the user's `weights`, else the moving average.

        Args:
            found: state dicts of networks, by the key of the file that holds each.

        Raises:
            InputError: several, of which none or more than one is by its name an average.
        """
        keys = list(found)
        if len(keys) == 1:
            return keys[0]
        averaged = [key for key in keys if "ema" in re.split(r"[^a-z]+", key.lower())]
        if len(averaged) != 1 and "weights" not in self.given:
            raise InputError(
                f"{self.where}: holds {len(keys)} networks, {', '.join(keys)}; say which by --set weights=KEY"
            )
        return self.take_word("weights", keys, averaged[0] if len(averaged) == 1 else keys[0])

    def check_all_taken(self) -> None:
        """Refuse settings that the format did not ask for.

        Raises:
            InputError: with those that such a file has.
        """
        unknown = sorted(set(self.given) - set(self._known))
        if unknown and not self._known:
            raise InputError(f"{self.where}: the file describes itself; leave out the option '{unknown[0]}'")
        if unknown:
            raise InputError(
                f"{self.where}: option '{unknown[0]}' means nothing for such a file; it has: {', '.join(self._known)}"
            )


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE, each value as YAML has it: `image_size=64`, `fir=true`.

    Raises:
        InputError: no equals sign, or a value that is not YAML.
    """
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set takes KEY=VALUE, such as image_size=64; we got '{setting}'")
        parsed[key.strip()] = yaml.loads(value, f"--set {key}").data
    return parsed


@contextmanager
def errors_are_the_files(path: Path) -> Iterator[None]:
    """Turn unforeseen errors into the file's: it is not to be trusted, so a contradiction is its own.

    Raises:
        InputError: with the file, in place of the error.
    """
    try:
        yield
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        words = str(error).splitlines()[:1]
        reason = f"{type(error).__name__}: {words[0][:200]}" if words else type(error).__name__
        raise InputError(f"{path}: contradicts itself ({reason}); damaged") from None


def plain(value: Any) -> Any:
    """A value from a file for people and for JSON: nothing deep or long; persistent objects as class and arguments."""
    return _Shortener().shorten(value, 0)


class _Shortener:
    """Stops after MAX_VALUES values; one that stands in several places counts in each."""

    def __init__(self) -> None:
        self.left = MAX_VALUES

    def shorten(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or (depth > MAX_DEPTH and isinstance(value, list | tuple | dict | Instance)):
            return "(more)"
        if isinstance(value, Instance):
            arguments = value.state.get("_init_kwargs") if isinstance(value.state, dict) else None
            return {"class": value.of[:100], **self.table(arguments if isinstance(arguments, dict) else {}, depth)}
        if isinstance(value, dict):
            return self.table(value, depth)
        if isinstance(value, list | tuple):
            return [self.shorten(inner, depth + 1) for inner in value[:100] if self.left > 0]
        if isinstance(value, str):
            return value[:200]
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, int):
            return value if abs(value) < 1 << 64 else "(a huge number)"
        return value if isinstance(value, float | None) else f"({type(value).__name__})"

    def table(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        first = list(value.items())[:100]
        return {str(key)[:100]: self.shorten(inner, depth + 1) for key, inner in first if self.left > 0}
