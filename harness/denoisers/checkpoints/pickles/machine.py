"""A pickle machine that builds plain data only.

A pickle is a program for a stack machine; Python's own imports and calls whatever the program names. This one knows
the opcodes that checkpoints and data sets use, and looks every global up in a table of our own functions, which return
plain data. A name that is not in the table is an error with the name and the byte.

It reads from a buffer in place: bytes objects are views of it, not copies. It never recurses, and a `PickleBudget`
bounds everything that a program can make, whatever lengths the file claims.

Source: Python's `pickletools`, which documents every opcode; protocols 2 to 5.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.core.errors import InputError

Function = Callable[..., Any]
Allowed = Mapping[str, Any]
"""Globals by `module.name`: a function of ours that is called in place of it, or a value that stands for it."""


@dataclass
class PickleBudget:
    """What all pickles of one file may use together. The largest of the paper's networks takes less than a fifth of it.

    Args:
        opcodes: steps of the machine; one makes an object of about 200 bytes at most. A call is as many steps as it has
            arguments, and what they hold, since whatever is called may copy that, and CALL more.
        text: bytes of texts and names, of arguments too; Python keeps them in up to four times as much.
    """

    opcodes: int = 400_000
    text: int = 16 << 20

    def spend(self, arguments: tuple[Any, ...]) -> None:
        """Count a call; see `opcodes`."""
        self.opcodes -= CALL + sum(len(value) for value in arguments if isinstance(value, list | tuple | dict))
        self.text -= sum(len(value) for value in arguments if isinstance(value, str))


CALL = 8
"""Steps that a call counts as, besides its arguments: a tensor is made of a dozen objects."""

LONGEST_BYTES = 255
"""Bytes of a key."""

REFUSED = {
    "torch_utils.persistence._reconstruct_persistent_obj": "a training state of EDM, which holds the optimiser and the "
    "network of the last step; take the network-snapshot-*.pkl of the same step, which holds the averaged network"
}
"""What to say of globals by which a file that is not read here is known."""

LARGEST_KEY = 1 << 31
"""Dicts of checkpoints count parameters and steps; keys far larger could be chosen so as to collide."""


class Global(NamedTuple):
    """A global of the table on the machine's stack, until it is called."""

    name: str
    function: Function


@dataclass(slots=True)
class Instance:
    """An object of some class that only keeps its state.

    Attributes:
        of: name of the class.
        state: what the pickle set, usually the object's attributes.
    """

    of: str
    state: Any = field(default_factory=dict)


class Pickled(NamedTuple):
    """A pickle's value, and the byte after its end."""

    value: Any
    end: int


class _Problem(Exception):
    """What is wrong, in words; the machine adds the file and the byte."""


_MARK = object()
TOO_MUCH = "far more steps than such a file needs; refused, so as not to run out of time or memory"


def unpickle(
    data: memoryview,
    where: str,
    allowed: Allowed,
    budget: PickleBudget,
    start: int = 0,
    base: int = 0,
    persistent: Function | None = None,
    python2: bool = False,
) -> Pickled:
    """Read one pickle.

    Args:
        data: the buffer that holds it.
        where: what to call the file in errors.
        allowed: the globals that the pickle may name.
        budget: what may be used; it is used up.
        start: byte of `data` where the pickle begins.
        base: byte of the file where `data` begins, for errors.
        persistent: what to make of a persistent id; None means that there must be none.
        python2: whether the strings of Python 2, which are bytes, are read as such: short ones, up to 255, as Latin-1
            text, long ones as views of the buffer. Otherwise they are UTF-8 text.

    Raises:
        InputError: damaged, or asks for something that is not allowed; with the byte, counted in the file.
    """
    machine = _Machine(data, start, allowed, budget, persistent, python2)
    try:
        return Pickled(machine.run(), machine.at)
    except _Problem as problem:
        reason = str(problem)
    except ValueError as error:
        reason = str(error) or "a value that cannot be"
    except (IndexError, KeyError, TypeError, struct.error, OverflowError):
        reason = "it does not follow the rules of a pickle; the file is damaged"
    raise InputError(f"{where}: {_name(machine.opcode)} at byte {base + machine.began:,}: {reason}")


class _Machine:
    def __init__(
        self,
        data: memoryview,
        start: int,
        allowed: Allowed,
        budget: PickleBudget,
        persistent: Function | None,
        python2: bool,
    ) -> None:
        self.data, self.at, self.began, self.opcode = data, start, start, 0
        self.allowed, self.budget, self.persistent = allowed, budget, persistent
        self.python2 = python2
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            self.began = self.at
            if self.budget.opcodes <= 0:
                raise _Problem(TOO_MUCH)
            self.budget.opcodes -= 1
            self.opcode = self.take(1)[0]
            if self.opcode == 0x2E:  # STOP
                return self.pop()
            step = _STEPS.get(self.opcode)
            if step is None:
                raise _Problem("no such file uses this opcode; not a pickle known here, or damaged")
            step(self)

    def take(self, count: int) -> memoryview:
        """The next bytes, in place."""
        left = len(self.data) - self.at
        if count > left:
            raise _Problem(f"claims {count:,} bytes where {left:,} are left; truncated or damaged")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def text(self, count: int) -> str:
        if count > self.budget.text:
            raise _Problem(f"a text of {count:,} bytes is more than such a file needs; refused")
        self.budget.text -= count
        try:
            return str(self.take(count), "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise _Problem("a text that is not UTF-8; damaged") from None

    def short_string(self) -> str:
        """SHORT_BINSTRING: a `str` of Python 2, of 255 bytes at most."""
        count = self.number("<B")
        return str(self.take(count), "latin1") if self.python2 else self.text(count)

    def long_string(self) -> str | memoryview:
        """BINSTRING: a longer one, such as the numbers of an array."""
        count = self.number("<I")
        return self.take(count) if self.python2 else self.text(count)

    def line(self) -> str:
        """Text up to the next newline."""
        view = self.data[self.at : self.at + 1000]
        length = bytes(view).find(b"\n")
        if length < 0:
            raise _Problem("a name without an end; damaged")
        text = self.text(length)
        self.at += 1
        return text

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK or isinstance(value, Global):
            raise _Problem("a value is missing; damaged")
        return value

    def items(self) -> list[Any]:
        """Everything above the last mark, which goes too."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                above = self.stack[place + 1 :]
                del self.stack[place:]
                if any(isinstance(value, Global) for value in above):
                    raise _Problem("a global that is kept as a value; no such file does that")
                return above
        raise _Problem("a mark is missing; damaged")

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise _Problem(f"wants a {kind.__name__} and finds something else; damaged")
        return value

    def find(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _Problem("a global whose name is not a text; damaged")
        full = f"{module}.{name}"
        if full not in self.allowed:
            raise _Problem(
                REFUSED.get(full)
                or f"asks for {full[:200]!r}, which is no part of such a file; nothing was imported or called. "
                "If you trust the file, extract its content yourself"
            )
        known = self.allowed[full]
        self.stack.append(Global(full, known) if callable(known) else known)

    def call(self) -> None:
        """REDUCE and NEWOBJ: what the table has for a global, of its arguments."""
        arguments, callee = self.pop(), self.stack.pop()
        if not (isinstance(callee, Global) and isinstance(arguments, tuple)):
            raise _Problem("a call of something that is no global; damaged")
        self.budget.spend(arguments)
        if self.budget.opcodes < 0 or self.budget.text < 0:
            raise _Problem(TOO_MUCH)
        try:
            self.stack.append(callee.function(*arguments))
        except TypeError:
            raise _Problem(f"'{callee.name}' has other arguments than are known here") from None

    def build(self) -> None:
        """BUILD: the state of the object below; a dict's own attributes are of no use to anyone."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, Instance):
            target.state = state
        elif not isinstance(target, dict):
            raise _Problem("a state for something that has none; damaged")

    def persist(self) -> None:
        identity = self.pop()
        if self.persistent is None:
            raise _Problem("a reference to something outside the pickle; such a file has none")
        self.stack.append(self.persistent(identity))

    def put(self, place: int) -> None:
        if self.stack[-1] is _MARK:
            raise _Problem("a mark is kept as a value; damaged")
        self.memo[place] = self.stack[-1]

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            raise _Problem("a key without a value; damaged")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[checked_key(key)] = value


def checked_key(key: Any) -> str | int:
    """A dict's key, if a file may have it; short bytes, as Python 2's strings come, are Latin-1 text.

    Raises:
        ValueError: it may not.
    """
    if isinstance(key, str) or (isinstance(key, int) and abs(key) < LARGEST_KEY):
        return key
    if isinstance(key, bytes | memoryview) and len(key) <= LONGEST_BYTES:
        return str(key, "latin1")
    raise ValueError("a key that is neither text nor a plain number; no such file has that")


def _name(opcode: int) -> str:
    return f"opcode {_NAMES[opcode]}" if opcode in _NAMES else f"byte {opcode:#04x}"


def _tuple(machine: _Machine, count: int) -> None:
    values = [machine.pop() for _ in range(count)]
    machine.stack.append(tuple(reversed(values)))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.find(module, name)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _append(machine: _Machine) -> None:
    value = machine.pop()
    machine.top(list).append(value)


def _extend(machine: _Machine) -> None:
    values = machine.items()
    machine.top(list).extend(values)


def _set_many(machine: _Machine) -> None:
    pairs = machine.items()
    machine.set_items(pairs)


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(make(machine))


def _long(machine: _Machine) -> int:
    return int.from_bytes(machine.take(machine.number("<B")), "little", signed=True)


def _get(code: str) -> Callable[[_Machine], Any]:
    return lambda machine: machine.memo[machine.number(code)]


_TABLE: tuple[tuple[int, str, Callable[[_Machine], Any]], ...] = (
    (0x80, "PROTO", lambda m: m.take(1)),
    (0x95, "FRAME", lambda m: m.take(8)),
    (0x28, "MARK", lambda m: m.stack.append(_MARK)),
    (0x94, "MEMOIZE", lambda m: m.put(len(m.memo))),
    (0x71, "BINPUT", lambda m: m.put(m.number("<B"))),
    (0x72, "LONG_BINPUT", lambda m: m.put(m.number("<I"))),
    (0x68, "BINGET", _push(_get("<B"))),
    (0x6A, "LONG_BINGET", _push(_get("<I"))),
    (0x4E, "NONE", _push(lambda m: None)),
    (0x88, "NEWTRUE", _push(lambda m: True)),
    (0x89, "NEWFALSE", _push(lambda m: False)),
    (0x4A, "BININT", _push(lambda m: m.number("<i"))),
    (0x4B, "BININT1", _push(lambda m: m.number("<B"))),
    (0x4D, "BININT2", _push(lambda m: m.number("<H"))),
    (0x8A, "LONG1", _push(_long)),
    (0x47, "BINFLOAT", _push(lambda m: m.number(">d"))),
    (0x8C, "SHORT_BINUNICODE", _push(lambda m: m.text(m.number("<B")))),
    (0x58, "BINUNICODE", _push(lambda m: m.text(m.number("<I")))),
    (0x8D, "BINUNICODE8", _push(lambda m: m.text(m.number("<Q")))),
    (0x55, "SHORT_BINSTRING", _push(_Machine.short_string)),
    (0x54, "BINSTRING", _push(_Machine.long_string)),
    (0x43, "SHORT_BINBYTES", _push(lambda m: m.take(m.number("<B")))),
    (0x42, "BINBYTES", _push(lambda m: m.take(m.number("<I")))),
    (0x8E, "BINBYTES8", _push(lambda m: m.take(m.number("<Q")))),
    (0x7D, "EMPTY_DICT", _push(lambda m: {})),
    (0x5D, "EMPTY_LIST", _push(lambda m: [])),
    (0x8F, "EMPTY_SET", _push(lambda m: [])),  # a list will do: nothing here asks a set what it holds
    (0x29, "EMPTY_TUPLE", _push(lambda m: ())),
    (0x85, "TUPLE1", lambda m: _tuple(m, 1)),
    (0x86, "TUPLE2", lambda m: _tuple(m, 2)),
    (0x87, "TUPLE3", lambda m: _tuple(m, 3)),
    (0x74, "TUPLE", _push(lambda m: tuple(m.items()))),
    (0x61, "APPEND", _append),
    (0x65, "APPENDS", _extend),
    (0x90, "ADDITEMS", _extend),
    (0x73, "SETITEM", _set_item),
    (0x75, "SETITEMS", _set_many),
    (0x63, "GLOBAL", lambda m: m.find(m.line(), m.line())),
    (0x93, "STACK_GLOBAL", _stack_global),
    (0x52, "REDUCE", _Machine.call),
    (0x81, "NEWOBJ", _Machine.call),
    (0x62, "BUILD", _Machine.build),
    (0x51, "BINPERSID", _Machine.persist),
)
_STEPS = {code: step for code, _, step in _TABLE}
_NAMES = {code: name for code, name, _ in _TABLE} | {0x2E: "STOP"}
