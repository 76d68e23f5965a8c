"""Expressions as mathematics: the formulas that stand beside the code, as HTML, and names with Greek letters.

An expression is parsed, never evaluated: names, numbers, + - * / **, and calls of functions.
"""

import ast
import re

from markupsafe import Markup, escape

GREEK = {
    "sigma": "σ",
    "rho": "ρ",
    "beta": "β",
    "epsilon": "ε",
    "alpha": "α",
    "eta": "η",
    "gamma": "γ",
}
_WORD = re.compile(r"[A-Za-z]+")
ADD, MULTIPLY, NEGATE, POWER, ATOM = range(5)
"""How tightly a part binds."""


def symbols(text: str) -> str:
    """A name with Greek letters, as text: `sigma_min` is σ_min."""
    return _WORD.sub(lambda match: GREEK.get(match.group(), match.group()), text)


def html(expression: str) -> Markup:
    """An expression as HTML; as plain text where it is not of the known form."""
    try:
        tree = ast.parse(expression, mode="eval").body
        return _part(tree, ADD)
    except (SyntaxError, ValueError, RecursionError):
        return escape(symbols(expression))


def _part(node: ast.expr, least: int) -> Markup:
    """A part of an expression, in brackets if it binds less tightly than its place needs."""
    text, binds = _written(node)
    return text if binds >= least else Markup("({})").format(text)


def _written(node: ast.expr) -> tuple[Markup, int]:
    match node:
        case ast.Constant(value=int() | float() as value):
            return Markup("{:g}").format(value), ATOM
        case ast.Name(id=name):
            return _name(name), ATOM
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Markup("−{}").format(_part(operand, MULTIPLY)), NEGATE
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return Markup("{}<sup>{}</sup>").format(_part(left, ATOM), _part(right, ADD)), POWER
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return Markup("{} {}").format(_part(left, MULTIPLY), _part(right, NEGATE)), MULTIPLY
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return Markup("{}/{}").format(_part(left, MULTIPLY), _part(right, NEGATE + 1)), MULTIPLY
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return Markup("{} + {}").format(_part(left, ADD), _part(right, ADD)), ADD
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return Markup("{} − {}").format(_part(left, ADD), _part(right, MULTIPLY)), ADD
        case ast.Call(func=ast.Name(id="sqrt"), args=[argument]):
            return Markup("√({})").format(_part(argument, ADD)), ATOM
        case ast.Call(func=ast.Name(id="floor"), args=[argument]):
            return Markup("⌊{}⌋").format(_part(argument, ADD)), ATOM
        case ast.Call(func=ast.Name(id="abs"), args=[argument]):
            return Markup("|{}|").format(_part(argument, ADD)), ATOM
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as arguments, keywords=[]):
            parts = Markup(", ").join(_part(argument, ADD) for argument in arguments)
            return Markup("{}({})").format(_name(name, upright=True), parts), ATOM
    raise ValueError("not an expression of the known form")


def _name(name: str, upright: bool = False) -> Markup:
    """A symbol with its subscript, italic unless it is a function's name of several letters."""
    stem, _, below = name.partition("_")
    stem = GREEK.get(stem, stem)
    written = escape(stem) if upright and len(stem) > 1 else Markup("<i>{}</i>").format(stem)
    return written + Markup("<sub>{}</sub>").format(GREEK.get(below, below)) if below else written
