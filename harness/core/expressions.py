"""Formulas that a user writes: text becomes an expression, which has a value for floats, NumPy arrays or torch tensors.

    numbers, the names that the caller allows, + - * / **, unary minus, parentheses, and
    sqrt(a), exp(a), log(a), abs(a), tanh(a), atan(a) (also arctan), asinh(a), minimum(a, b), maximum(a, b)

A text is parsed into Python's syntax tree and read from there; nothing in it is ever executed as a program. Integers
become floats, so `9**9**9` is too large a number and not a long wait. Length, depth and numbers have limits.

This module loads neither NumPy nor torch: the caller gives the functions.
"""

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeVar

MAX_LENGTH = 200
"""Characters of an expression."""

MAX_DEPTH = 50
"""Levels of operations within operations."""

LARGEST = 1e38
"""Bound on the size of every number of an expression, so that it fits float32."""

ARGUMENTS = {
    "sqrt": 1,
    "exp": 1,
    "log": 1,
    "abs": 1,
    "tanh": 1,
    "atan": 1,
    "asinh": 1,
    "minimum": 2,
    "maximum": 2,
}
"""The functions, and the number of arguments that each takes."""

ALIASES = {"arctan": "atan"}

_BINARY: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "negative": operator.neg,
}
_FLOATS: dict[str, Callable[..., float]] = {
    **_OPERATORS,
    "**": math.pow,  # Python's own power of a negative number may be complex
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "abs": math.fabs,
    "tanh": math.tanh,
    "atan": math.atan,
    "asinh": math.asinh,
    "minimum": min,
    "maximum": max,
}
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.+\-*/(), ]")


class _Operation(NamedTuple):
    """An operator or a function, and what it is applied to."""

    name: str
    operands: tuple["_Node", ...]


_Node: TypeAlias = float | str | _Operation
"""A part of an expression: a number, a name, or an operation."""

Value = TypeVar("Value")


class Expression:
    """A formula in given names.

    Args:
        text: the formula, at most 200 characters.
        names: the names that may stand in it, such as `sigma`.

    Attributes:
        text: the formula without spaces around it.

    Raises:
        ValueError: text that is no such formula, with the position (from 1) and what is allowed; or a constant part,
            such as `1/0` or `9**9**9`, without a value of size 1e38 or less.

    Example:
        >>> Expression("1/sqrt(sigma**2 + 1)", ["sigma"]).evaluate({"sigma": 0.75})
        0.8
    """

    def __init__(self, text: str, names: Sequence[str]) -> None:
        if not isinstance(text, str):
            raise ValueError(f"an expression is text, such as '1'; we got a {type(text).__name__}")
        if len(text) > MAX_LENGTH:
            raise ValueError(f"an expression has at most {MAX_LENGTH} characters; we got {len(text):,}")
        self.text = text.strip()
        self.names = tuple(names)
        if found := _NOT_ALLOWED.search(self.text):
            self._refuse(found.start(), f"{found.group()!r} is not allowed")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of words that touch a number, as in `1if`; they are refused below
                body = ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            self._refuse(error.offset - 1 if error.offset else len(self.text), error.msg)
        except (ValueError, MemoryError, RecursionError):
            self._refuse(0, "not readable")
        self._root = self._read(body, 1)

    def __str__(self) -> str:
        return self.text

    def evaluate(
        self, names: Mapping[str, Value | float], functions: Mapping[str, Callable[..., Value]] | None = None
    ) -> Value | float:
        """The value of the formula; a float where no array or tensor is part of it.

        Args:
            names: a value for every name of the formula.
            functions: those of the arrays' library, see `functions_of`; parts that are floats need none. Two-argument
                functions get an array and a float as often as two arrays.

        Raises:
            ValueError: a part that is a float has no value of size 1e38 or less, such as `log(0)`. Arrays and tensors
                take the value that their library gives, NaN and infinity included.
        """
        # an int as a float, and one of NumPy's floats, which would warn, as Python's
        values = {name: float(value) if isinstance(value, int | float) else value for name, value in names.items()}
        try:
            return _value(self._root, values, {**_OPERATORS, **(functions or {})})
        except _NoValueError as error:
            raise ValueError(f"'{self.text}': {error}") from None

    def _read(self, node: ast.expr, depth: int) -> _Node:
        """A part of the syntax tree as a part of the expression, where a constant part is its number.

        Raises:
            ValueError: a part that is not allowed.
        """
        if depth > MAX_DEPTH:
            self._refuse(node.col_offset, f"more than {MAX_DEPTH} levels of operations")
        read: _Node
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                read = float(value)
            case ast.Name(id=name) if name in self.names:
                return name
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                read = _Operation("negative", (self._read(operand, depth + 1),))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                read = _Operation(_BINARY[type(op)], (self._read(left, depth + 1), self._read(right, depth + 1)))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if ALIASES.get(name, name) in ARGUMENTS:
                name = ALIASES.get(name, name)
                if len(args) != ARGUMENTS[name]:
                    self._refuse(node.col_offset, f"{name} takes {ARGUMENTS[name]} argument(s), not {len(args)}")
                read = _Operation(name, tuple(self._read(argument, depth + 1) for argument in args))
            case _:
                self._refuse(node.col_offset, f"'{ast.get_source_segment(self.text, node)}' is not allowed")
        if isinstance(read, float) or all(isinstance(operand, float) for operand in read.operands):
            try:
                return float(_value(read, {}, {}))
            except _NoValueError as error:
                self._refuse(node.col_offset, str(error))
        return read

    def _refuse(self, place: int, why: str) -> NoReturn:
        """Raises ValueError with a place in the text, counted from 0, and what an expression may hold."""
        raise ValueError(
            f"{self.text!r}, position {place + 1}: {why}; an expression is made of numbers, {', '.join(self.names)}, "
            f"+ - * / **, parentheses and {', '.join(ARGUMENTS)}"
        )


def functions_of(library: Any) -> dict[str, Callable[..., Any]]:
    """The functions of an expression as a library of arrays names them.

    Args:
        library: a module such as `numpy`. Of `torch`, `minimum` and `maximum` take no floats and have to be replaced.
    """
    return {name: getattr(library, name) for name in ARGUMENTS}


class _NoValueError(Exception):
    """An operation on floats has no value, or too large a one."""


def _value(node: _Node, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    if isinstance(node, float):
        return _checked(node, f"{node:g}")
    if isinstance(node, str):
        return names[node]
    operands = [_value(operand, names, functions) for operand in node.operands]
    if not all(isinstance(operand, float) for operand in operands):
        return functions[node.name](*operands)
    written = f"{node.name} of {' and '.join(f'{operand:g}' for operand in operands)}"
    try:
        return _checked(_FLOATS[node.name](*operands), written)
    except (ArithmeticError, ValueError):
        raise _NoValueError(f"{written} has no value of size {LARGEST:g} or less") from None


def _checked(number: float, written: str) -> float:
    if not abs(number) <= LARGEST:
        raise _NoValueError(f"{written} has no value of size {LARGEST:g} or less")
    return number
