"""Programs of `torch.export`, files `.pt2`: what they take, and how they are opened without running Python of theirs.

`torch.export.load` is not made for files of strangers. It runs what a file says in many places:

| what the file holds                          | what torch does with it                        | here            |
|----------------------------------------------|------------------------------------------------|-----------------|
| pickled weights, constants, objects          | unpickles them without limits                  | permission      |
| example inputs, a file of `torch.save`       | the same, where its restricted reading fails   | permission where they are more than tensors; always left out |
| symbolic expressions                         | `sympify`, which evaluates Python              | permission unless arithmetic of sizes |
| guards, conditions on the inputs' sizes      | compiles them with `exec`                      | permission unless arithmetic of sizes |
| operators, `torch.a.b`                       | looks up any attribute, such as `torch.os`     | permission unless aten's and a few more |
| names of values and parameters               | pastes them into the source of a function      | permission unless identifiers |
| trees of inputs and outputs                  | imports the module of an enum or a default dict | permission unless tuples, lists and dicts |
| metadata of nodes                            | looks up attributes                            | left out        |
| data/aotinductor, data/executorch            | runs the compiled library                      | permission      |
| layouts before archives of version 0         | unpickles weights without limits               | permission      |

So the file is read by Python's own zipfile and json, and torch is given an archive that is written anew from what was
checked: it never sees a byte that was not. With permission torch opens the file as it is.

Source: torch 2.13, torch/export/pt2_archive/_package.py, torch/_export/serde/serialize.py and schema.py.
"""  # noqa: E501

import io
import json
import logging
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from harness.core.errors import InputError
from harness.core.text import last_line
from harness.denoisers.checkpoints.pickles.torch_names import TORCH_FILE
from harness.denoisers.programs.arithmetic import is_expression, is_guard, readable
from harness.denoisers.programs.program_file import ProgramFile
from harness.denoisers.programs.signature import Axis, Signature, Value
from harness.denoisers.programs.zipped import Zipped, zipped_anew

if TYPE_CHECKING:
    import torch

MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
CONFIGS = {
    "weights": "data/weights/model_weights_config.json",
    "constants": "data/constants/model_constants_config.json",
}
PLAIN = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
"""Members that say what the file is."""

TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
}
"""Types of tensors by their number in schema.py; others are of no use for a network's inputs."""

OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file|save\b)([a-zA-Z]\w*|_[a-zA-Z]\w*|__i?(and|or|xor|lshift|rshift)__)\.[a-zA-Z]\w*"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond|while_loop|map_impl)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(ceil|floor|trunc|sqrt|pow)"
    r"|torch\.(sym_(int|float|not|max|min|ite|sum)|_sym_[a-z0-9]+)",
    re.ASCII,
)
"""What a program may call: tensor operators but the two that touch files, control flow, and arithmetic of sizes."""

IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
WORDS = re.compile(r"[\w.+\-<=]*", re.ASCII)
"""Names of parameters, devices, versions: nothing that Python would take for more than a name or a number."""
TEXT = re.compile(r"[\w .,>+\-]*", re.ASCII)
"""A text that is given to an operator, such as the equation of einsum."""

EXAMPLES = frozenset(TORCH_FILE) | {
    "torch._tensor._rebuild_from_type_v2",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.device",
    "torch.bool",
    *(f"torch.{name}" for name in TYPES.values()),
}
"""What the pickle of example inputs may name."""

OTHER_IMPORTS = frozenset({"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"})


class _Payload(Exception):
    """Something in the file that torch would run as Python; the text names it."""


class _KeptError(logging.Filter):
    """Keeps the error that torch.export.load logs, with its traceback, in place of raising it."""

    error: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            self.error = record.exc_info[1]
        return False


class _Checked(NamedTuple):
    """What torch may be given of a file that holds no payload.

    Attributes:
        payload: what torch would run as Python; "" for nothing.
        written: members that are written anew from what was checked, by place.
        copied: places of weights and constants, which torch takes as numbers.
    """

    payload: str
    written: dict[str, bytes]
    copied: list[str]


class ExportedProgramFile(ProgramFile):
    """A program of torch.export. It is described and searched without torch, and loaded as a module."""

    format: ClassVar[str] = "program of torch.export"

    @cached_property
    def signature(self) -> Signature:
        if self._archive.is_flat or MODEL not in self._archive.names:
            raise InputError(
                f"{self.path}: not a program of torch.export, or one of an older layout; export it again with torch "
                "2.8 or later"
            )
        program = self._program
        try:
            return _signature(program)
        except (KeyError, TypeError, AttributeError, IndexError, StopIteration, ValueError):
            raise InputError(
                f"{self.path}: its description of inputs and outputs is not one of torch.export; damaged"
            ) from None

    @property
    def payload(self) -> str:
        return self._checked.payload

    def _load(self, device: "str | torch.device") -> Any:
        import torch
        from torch.export.passes import move_to_device_pass

        given = self._given()
        logger, kept = logging.getLogger("torch.export"), _KeptError()
        logger.addFilter(kept)
        try:
            program = torch.export.load(given)
            # what the program makes by itself, such as torch.arange, is on the device that it was exported on
            module = move_to_device_pass(program, str(torch.device(device))).module()
        except Exception as error:  # whatever the reader of such files raises at a damaged one
            reason = last_line(kept.error or error)
            raise InputError(f"{self.path}: not a program of torch.export ({reason})") from None
        finally:
            logger.removeFilter(kept)
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        return module

    def signature_of(self, loaded: Any) -> Signature:
        return self.signature

    def _given(self) -> io.BytesIO:
        """What torch opens: an archive of what was checked, or the file as it is, which then was permitted."""
        return io.BytesIO(self.content) if self.payload else zipped_anew(self._members())

    def _members(self) -> Iterator[tuple[str, bytes]]:
        """The members that torch needs, one after the other: weights may be large."""
        yield from self._checked.written.items()
        for place in self._checked.copied:
            yield place, self._archive.read(place)

    @cached_property
    def _archive(self) -> Zipped:
        if not zipfile.is_zipfile(io.BytesIO(self.content)):
            raise InputError(f"{self.path}: not a program of torch.export (no whole zip file); copy or export it again")
        return Zipped(self.path, self.content)

    @cached_property
    def _program(self) -> Any:
        """The description of the program, parsed."""
        return self._json(MODEL)

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self._archive.read(name))
        except (ValueError, RecursionError):
            raise InputError(f"{self.path}: '{name}' is not JSON; damaged, export it again") from None

    @cached_property
    def _checked(self) -> _Checked:
        try:
            return self._check_members()
        except _Payload as found:
            return _Checked(str(found), {}, [])
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
            raise InputError(f"{self.path}: not what torch.export writes; damaged, export it again") from None

    def _check_members(self) -> _Checked:
        """The members that torch needs, checked.

        Raises:
            _Payload: something would run as Python.
            InputError: damaged.
        """
        archive, names = self._archive, self._archive.names
        if archive.is_flat or "archive_format" not in names:
            raise _Payload("a file of an older layout, whose weights are pickled,")
        for name in names:
            if name.startswith(("data/aotinductor/", "data/executorch/", "data/mtia")):
                raise _Payload(f"compiled code ({name[:80]})")
            if name in ("data/weights/model.pt", "data/constants/model.pt"):
                raise _Payload(f"'{name}', pickled weights of an older layout,")
        if archive.read("archive_format") != b"pt2" or MODEL not in names:
            raise InputError(f"{self.path}: not a program of torch.export; it holds no {MODEL}")
        written = {name: archive.read(name) for name in PLAIN if name in names}
        copied = []
        for kind, config in CONFIGS.items():
            payloads = self._json(config)
            written[config] = json.dumps(payloads).encode()
            copied += [f"data/{kind}/{place}" for place in sorted(_payloads(payloads, kind))]
        for place in copied:
            archive.require(place)
        _check_samples(archive)
        written[SAMPLES] = b""  # torch reads none from an empty member
        written[MODEL] = json.dumps(_plain_program(self._program)).encode()
        return _Checked("", written, copied)


def _payloads(config: Any, kind: str) -> set[str]:
    """The files of a list of weights or constants, none of which is pickled."""
    places = set()
    _check(config, "")
    for name, meta in config["config"].items():
        place = meta["path_name"]
        is_tensor = kind == "weights" or place.startswith("tensor_")
        if meta["use_pickle"] is not False or not is_tensor or "/" in place:
            raise _Payload(f"the pickled {'weight' if kind == 'weights' else 'constant'} '{name}'")
        places.add(place)
    return places


def _check_samples(archive: Zipped) -> None:
    """The example inputs are tensors and plain values. They are not opened here, and torch is not given them."""
    if SAMPLES not in archive.names or not (content := archive.read(SAMPLES)):
        return
    try:
        steps = list(pickletools.genops(Zipped(archive.path, content).read("data.pkl")))
    except (InputError, ValueError):
        raise _Payload(f"'{SAMPLES}', a pickle of another layout,") from None
    for step, argument, _ in steps:
        # torch.save names what it needs by GLOBAL; the other steps that import something are those of other writers
        name = str(argument).replace(" ", ".") if step.name == "GLOBAL" else step.name
        if name in OTHER_IMPORTS or (step.name == "GLOBAL" and name not in EXAMPLES):
            raise _Payload(f"the pickle of its example inputs, which asks for {name[:80]!r},")


def _plain_program(program: Any) -> Any:
    """The program without what only tools for people read.

    Raises:
        _Payload: a part of it could be Python.
    """
    graph_module = program["graph_module"]
    root = [entry for entry in graph_module["module_call_graph"] if entry["fqn"] == ""]
    plain = {
        **program,
        "graph_module": {
            **graph_module,
            "module_call_graph": root,
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
    }
    return _check(plain, "")


def _check(value: Any, key: str) -> Any:
    """A part of the program, with the metadata of its nodes left out; `key` is the word that it stands behind.

    Raises:
        _Payload: a text that is more than a name of its kind.
    """
    if isinstance(value, dict):
        if "as_custom_obj" in value or value.get("custom_obj_values"):
            raise _Payload("an object of another class than tensors")
        for name in value:
            if not WORDS.fullmatch(name) or _is_special(name):
                raise _Payload(f"the name {name[:80]!r}")
        is_node = "target" in value and "inputs" in value
        return {name: {} if is_node and name == "metadata" else _check(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_check(part, key) for part in value]
    if isinstance(value, str):
        _check_text(value, key)
    return value


def _check_text(text: str, key: str) -> None:
    match key:
        case "expr_str":
            if not is_expression(text):
                raise _Payload(f"the expression {text[:80]!r}")
        case "guards_code":
            if not is_guard(text):
                raise _Payload(f"the guard {text[:80]!r}")
        case "target" | "as_operator":
            if not OPERATORS.fullmatch(text):
                raise _Payload(f"the operator {text[:80]!r}, which is none of torch's own tensor operators,")
        case "in_spec" | "out_spec":
            if not _is_plain_tree(text):
                raise _Payload(f"a tree of inputs or outputs with classes of its own ({text[:80]!r})")
        case "as_string" | "as_strings":
            if not TEXT.fullmatch(text):
                raise _Payload(f"the text {text[:80]!r}")
        case "name" | "as_name" | "forward_arg_names":
            if text and not IDENTIFIER.fullmatch(text):
                raise _Payload(f"the name {text[:80]!r}")
        case _:
            if not WORDS.fullmatch(text) or _is_special(text):
                raise _Payload(f"the name {text[:80]!r}")


def _is_special(name: str) -> bool:
    """Whether a part of a dotted name is one of Python's own, such as __class__."""
    return any(part.startswith("__") and part.endswith("__") and part for part in name.split("."))


def _is_plain_tree(text: str) -> bool:
    """Whether a tree of inputs or outputs, as torch writes it, is made of tuples, lists and dicts."""

    def is_plain(node: Any) -> bool:
        if not isinstance(node, dict):
            return False
        kind, context = node.get("type"), node.get("context")
        keys = json.loads(context) if isinstance(context, str) else context
        # a dict in the context could stand for an enum, whose module torch imports
        is_known = kind in (None, "builtins.tuple", "builtins.list", "builtins.dict")
        is_known &= keys is None or (isinstance(keys, list) and all(map(_is_key, keys)))
        return is_known and all(map(is_plain, node.get("children_spec", ())))

    try:
        protocol, tree = json.loads(text)
        return protocol == 1 and is_plain(tree)
    except (ValueError, TypeError, RecursionError):
        return False


def _is_key(key: Any) -> bool:
    """Whether a key of a dict of inputs is a number or an identifier, which stands in a function's source."""
    return type(key) is int or (isinstance(key, str) and bool(IDENTIFIER.fullmatch(key)))


def _signature(program: Mapping[str, Any]) -> Signature:
    module = program["graph_module"]
    values = module["graph"]["tensor_values"]
    ranges = program["range_constraints"]
    specs = module["signature"]
    inputs = [
        _value(spec, values, ranges)
        for spec in specs["input_specs"]
        if next(iter(spec)) in ("user_input", "constant_input")
    ]
    outputs = [_value(spec, values, ranges) for spec in specs["output_specs"] if "user_output" in spec]
    root = next(entry for entry in module["module_call_graph"] if entry["fqn"] == "")
    words = (root["signature"] or {}).get("forward_arg_names") or []
    if len(words) == len(inputs):
        inputs = [value._replace(name=word) for value, word in zip(inputs, words, strict=True)]
    return Signature(tuple(inputs), tuple(outputs))


def _value(spec: Mapping[str, Any], values: Mapping[str, Any], ranges: Mapping[str, Any]) -> Value:
    ((kind, given),) = spec.items()
    if kind == "constant_input":
        return Value(given["name"], "constant")
    ((word, argument),) = given["arg"].items()
    if word != "as_tensor":
        return Value(str(argument)[:40], word.removeprefix("as_"))
    meta = values[argument["name"]]
    sides = tuple(_side(size, ranges) for size in meta["sizes"])
    return Value(argument["name"], TYPES.get(meta["dtype"], f"type {meta['dtype']}"), sides)


def _side(size: Mapping[str, Any], ranges: Mapping[str, Any]) -> int | Axis:
    """A side: a number, or its symbol with the limits that it has."""
    if "as_int" in size:
        return int(size["as_int"])
    symbol = readable(str(size["as_expr"]["expr_str"]))
    limits = ranges.get(symbol, {"min_val": None, "max_val": None})
    return Axis(symbol, limits["min_val"], limits["max_val"])
