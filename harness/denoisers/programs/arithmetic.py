"""Arithmetic of sizes, as programs of torch.export have it in text that torch evaluates as Python.

    Add(Mul(Integer(2), Symbol('s77', positive=True, integer=True)), Integer(-1))     an expression, in sympy's `srepr`
    2*L['x'].size()[0] <= 64                                                          a guard, a condition on an input

Both are read as syntax trees; what is not arithmetic in them is found before anything is evaluated.

Source: torch 2.13, torch/_export/serde/serialize.py `_parse_sym_expr`, and torch/export/_unlift.py
`_convert_guards_code_to_fn`.
"""

import ast
import re

LONGEST = 20_000
"""Letters of an expression."""

LARGEST_POWER = 16
"""Largest exponent, which is a number: a tower of powers would not end."""

SYMBOL = re.compile(r"[a-z]{1,4}\d+")
IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
LETTERS = re.compile(r"[\w .,+\-*/%()<>=!&|~\[\]']*", re.ASCII)
"""Letters of arithmetic: no quotation mark that would end the text around a guard, no comment, no line's end."""

CONSTANTS = frozenset({"oo", "int_oo"})
POWERS = frozenset({"Pow", "PowByNatural", "FloatPow"})
_NAMES = """
Add Mul FloorDiv ModularIndexing Where PythonMod Mod CleanDiv CeilToInt FloorToInt CeilDiv FloatTrueDiv IntTrueDiv
IsNonOverlappingAndDenseIndicator TruncToFloat TruncToInt RoundToInt RoundDecimal ToFloat Identity Max Min Abs floor
ceiling sqrt Eq Ne Lt Le Gt Ge Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan And Or Not
Piecewise ExprCondPair max min abs
"""
FUNCTIONS = POWERS | frozenset(_NAMES.split())
NUMBERS = frozenset({"Integer", "Float", "Rational"})
MODULES = {
    "math": frozenset({"trunc", "floor", "ceil", "sqrt"}),
    "torch": frozenset({"sym_float", "sym_int", "sym_max", "sym_min", "sym_not", "_sym_sqrt"}),
}
OPERATIONS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


def is_expression(text: str) -> bool:
    """Whether an expression is made of symbols, numbers, arithmetic, comparisons and functions of `FUNCTIONS`."""
    tree = _parsed(text)
    return tree is not None and _is_plain(tree, False)


def is_guard(text: str) -> bool:
    """Whether a guard is such arithmetic of numbers and sizes of inputs."""
    tree = _parsed(text)
    return tree is not None and _is_plain(tree, True)


def readable(text: str) -> str:
    """An expression for people: symbols and numbers by themselves."""
    return re.sub(r"Integer\((-?\d+)\)", r"\1", re.sub(r"Symbol\('(\w+)'[^)]*\)", r"\1", text))


def _parsed(text: str) -> ast.expr | None:
    if len(text) > LONGEST or not LETTERS.fullmatch(text):
        return None
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_plain(node: ast.expr, guard: bool) -> bool:
    """Whether a part of a tree is arithmetic; `guard` allows sizes of inputs in place of symbols."""

    def plain(*parts: ast.expr) -> bool:
        return all(_is_plain(part, guard) for part in parts)

    match node:
        case ast.Constant(value=value):
            return type(value) in (int, float, bool)
        case ast.Name(id=name):
            return not guard and (bool(SYMBOL.fullmatch(name)) or name in CONSTANTS)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Invert() | ast.Not(), operand=operand):
            return plain(operand)
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            return plain(left) and _is_small(right)
        case ast.BinOp(op=operation, left=left, right=right):
            return isinstance(operation, OPERATIONS) and plain(left, right)
        case ast.BoolOp(values=values):
            return plain(*values)
        case ast.Compare(left=left, ops=comparisons, comparators=rest):
            return all(isinstance(one, COMPARISONS) for one in comparisons) and plain(left, *rest)
        case ast.Tuple(elts=parts):  # of Piecewise
            return plain(*parts)
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))], keywords=assumptions):
            known = all(isinstance(one.value, ast.Constant) and type(one.value.value) is bool for one in assumptions)
            return not guard and known and bool(SYMBOL.fullmatch(name))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords) if name in NUMBERS:
            # Float('1.5', precision=53)
            return all(map(_is_number, arguments)) and all(_is_number(one.value) for one in keywords)
        case ast.Call(func=ast.Name(id=name), args=[base, exponent], keywords=[]) if name in POWERS:
            return plain(base) and _is_small(exponent)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return name in FUNCTIONS - POWERS and plain(*arguments)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name), args=arguments, keywords=[]):
            return guard and name in MODULES.get(module, ()) and plain(*arguments)
        case ast.Call(func=ast.Attribute(value=owner, attr="storage_offset"), args=[], keywords=[]):
            return guard and _is_input(owner)
        case ast.Subscript(
            value=ast.Call(func=ast.Attribute(value=owner, attr="size" | "stride"), args=[], keywords=[]),
            slice=ast.Constant(value=int()),
        ):
            return guard and _is_input(owner)
    return False


def _is_input(node: ast.expr) -> bool:
    """Whether a part is an input, L['x'], or one of several, L['args'][0]."""
    match node:
        case ast.Name(id="L"):
            return True
        case ast.Subscript(value=owner, slice=ast.Constant(value=key)):
            return (type(key) is int or bool(IDENTIFIER.fullmatch(str(key)))) and _is_input(owner)
    return False


def _is_number(node: ast.expr) -> bool:
    """Whether a part is a number, or a number in quotes as sympy writes floats."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _is_number(node.operand)
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return False
    return isinstance(node.value, int | float) or bool(re.fullmatch(r"-?[\d.e+\-]+", str(node.value)))


def _is_small(node: ast.expr) -> bool:
    """Whether an exponent is a number up to `LARGEST_POWER`."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int | float) and value <= LARGEST_POWER
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_small(operand)
        case ast.Call(func=ast.Name(id=name), args=[first, *rest]) if name in NUMBERS:
            return _is_small(first) and all(map(_is_number, rest))
    return False
