"""The one YAML loader: safe, YAML 1.2 numbers and booleans, no duplicate keys, bounded aliases, lines remembered.

PyYAML reads YAML 1.1, where `off` is false, `1e-3` is a string and `012` is ten. Here plain scalars follow the core
schema of YAML 1.2 (section 10.3.2): `1e-3` is a float, `off` a string, `.inf` infinity. Every node's line is kept, so
that an error about a value can say where it stands.

YAML 1.2 has no merge keys, but people use them: `<<: *a`, or `<<: [*a, *b]`, adds what the mapping lacks of others.
What stands at the top under a key that begins with `x-` is for anchors alone, and read as nothing else.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from harness.core.errors import InputError

MAX_NODES = 100_000
"""Upper bound on nodes after aliases are expanded: a file of a few lines can otherwise ask for billions."""

MAX_BYTES = 10_000_000
MAX_DEPTH = 100

Where = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class Document(NamedTuple):
    """A parsed YAML file: its data and, for every path of keys and indices in it, the line (from 1)."""

    path: Path
    data: Any
    lines: dict[Where, int]

    def line(self, where: Where) -> int:
        """The line of the innermost enclosing node that the file has."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def error(self, where: Where, message: str) -> InputError:
        """An error that names the file, the line and the key."""
        name = ".".join(str(part) for part in where)
        return InputError(f"{self.path}:{self.line(where)}: {name + ': ' if name else ''}{message}")


class _Loader(yaml.SafeLoader):
    """SafeLoader with the resolvers of YAML 1.2's core schema in place of those of YAML 1.1."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def load(path: str | Path) -> Document:
    """Read a YAML file.

    Raises:
        InputError: missing or unreadable file, not YAML, a duplicate key, or too many nodes; with file and line.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path}: {len(raw):,} bytes is more than the {MAX_BYTES:,} allowed in a YAML file")
    try:
        return loads(raw.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not YAML: byte {error.start} is not UTF-8 text") from None


def loads(text: str, path: str | Path = "<text>") -> Document:
    """Like `load`, for text already read; `path` is the name used in errors."""
    path = Path(path)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Where, int] = {}
        if node is None:
            raise InputError(f"{path}:1: the file is empty; it needs at least one key")
        _walk(node, (), lines, path)
        data = loader.construct_document(node)
        if isinstance(data, dict):
            data = {key: value for key, value in data.items() if not str(key).startswith("x-")}
        return Document(path, data, lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{at}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise InputError(f"{path}: nested deeper than {MAX_DEPTH} levels") from None
    finally:
        loader.dispose()


def _walk(node: yaml.Node, where: Where, lines: dict[Where, int], path: Path) -> None:
    """Record lines; refuse duplicate keys, unbounded aliases and excessive depth."""
    if len(lines) >= MAX_NODES:
        raise InputError(f"{path}: more than {MAX_NODES:,} nodes once aliases are expanded; use fewer aliases")
    if len(where) > MAX_DEPTH:
        raise InputError(f"{path}:{node.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _walk(child, (*where, index), lines, path)
    elif isinstance(node, yaml.MappingNode):
        _merge(node, path)
        first: dict[str, int] = {}
        for key, child in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in first:
                raise InputError(
                    f"{path}:{line}: duplicate key '{name}' (first on line {first[name]}); remove one of the two"
                )
            first[name] = line
            lines[(*where, name)] = line
            _walk(child, (*where, name), lines, path)


def _merge(node: yaml.MappingNode, path: Path) -> None:
    """Put what `<<` names into a mapping, before its own keys, which win, as earlier mappings do over later ones."""
    own = [pair for pair in node.value if not _is_merge(pair[0])]
    merges = [pair for pair in node.value if _is_merge(pair[0])]
    if not merges:
        return
    if len(merges) > 1:
        line = merges[1][0].start_mark.line + 1
        raise InputError(f"{path}:{line}: duplicate key '<<'; merge several mappings with <<: [*a, *b]")
    named, added = {str(key.value) for key, _ in own}, []
    value = merges[0][1]
    for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
        if not isinstance(part, yaml.MappingNode):
            line = part.start_mark.line + 1
            raise InputError(f"{path}:{line}: `<<` merges a mapping or a list of mappings; we got {part.value!r}")
        _merge(part, path)
        added += [pair for pair in part.value if str(pair[0].value) not in named]
        named |= {str(key.value) for key, _ in added}
    node.value = added + own


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.style is None


def build(
    model: type[Model],
    document: Document,
    where: Where = (),
    data: Any = None,
    moved: Mapping[str, Where] | None = None,
) -> Model:
    """Validate data (by default the whole document) into a model.

    Args:
        model: the pydantic model to build.
        document: where the data came from, for file and line in errors.
        where: the path of `data` in the document.
        data: the part to validate; None means the whole document.
        moved: paths of top-level keys of `data` that stand elsewhere in the document.

    Raises:
        InputError: with file, line, key and what is allowed, for the first mistakes found.
    """
    try:
        return model.model_validate(document.data if data is None else data)
    except ValidationError as error:
        problems = [
            document.error(_located(e["loc"], document, where, moved or {}), explain(e)) for e in error.errors()
        ]
        unique = list(dict.fromkeys(str(problem) for problem in problems))
        raise InputError("\n".join(unique[:10])) from None


def _located(loc: Where, document: Document, base: Where, moved: Mapping[str, Where]) -> Where:
    """The path in the document, without the parts that pydantic adds for unions, but with a final unknown key."""
    if loc and loc[0] in moved:
        base, loc = moved[str(loc[0])], loc[1:]
    kept = base
    for index, part in enumerate(loc):
        if (*kept, part) in document.lines or index == len(loc) - 1:
            kept = (*kept, part)
    return kept


def first_mistake(error: ValidationError) -> str:
    """The first of a config's validation errors, with its field."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {explain(first)}" if where else explain(first)


def explain(error: Any) -> str:
    """One validation error in our words: the rule, the value, the remedy."""
    value, context = error.get("input"), error.get("ctx") or {}
    match error["type"]:
        case "extra_forbidden":
            return "unknown key; check the spelling, or remove it"
        case "missing":
            return "this key is required and missing"
        case "union_tag_invalid":
            return f"unknown kind '{context['tag']}'; allowed: {context['expected_tags']}"
        case "union_tag_not_found":
            return f"needs a `kind`; we got {value!r}"
        case "model_type":
            return f"needs a mapping of keys; we got {value!r}"
        case "value_error":
            return str(context.get("error", error["msg"]))
        case _:
            return f"{error['msg'][0].lower()}{error['msg'][1:]}; we got {value!r}"


def dump(value: Any) -> str:
    """Plain data as YAML in block style, keys in their order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
