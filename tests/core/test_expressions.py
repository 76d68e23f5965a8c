"""Formulas of users: what they may hold, what they give, and that nothing else gets through."""

import ast
import math
import pickle
import string
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.expressions import LARGEST, MAX_DEPTH, MAX_LENGTH, Expression, functions_of
from harness.denoisers.preconditioning.expression import TORCH

NAMES = ("sigma", "sigma_data")
NUMPY = functions_of(np)

VALUES = [
    ("1", 1.0),
    (" 2.5e-1 ", 0.25),
    ("sigma", 3.0),
    ("-sigma**2", -9.0),
    ("2**-sigma", 0.125),
    ("2**sigma**2", 512.0),
    ("(sigma - 1)*2/4 + sigma_data", 1.5),
    ("sigma - 1 - 1", 1.0),
    ("sqrt(sigma + 1)", 2.0),
    ("exp(log(sigma))", 3.0),
    ("abs(1 - sigma)", 2.0),
    ("tanh(sigma)", math.tanh(3)),
    ("atan(sigma) + arctan(sigma)", 2 * math.atan(3)),
    ("asinh(sigma/2)", math.asinh(1.5)),
    ("minimum(sigma, 2)", 2.0),
    ("minimum(2, sigma)", 2.0),
    ("maximum(sigma_data, sigma)", 3.0),
    ("maximum(sigma, sigma**2) + minimum(1, 2)", 10.0),
    ("sqrt(2)*sigma_data", math.sqrt(2) / 2),
    ("1/sqrt(sigma**2 + sigma_data**2)", 1 / math.sqrt(9.25)),
]


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_values_for_floats_arrays_and_tensors(text, expected):
    expression = Expression(text, NAMES)
    assert expression.evaluate({"sigma": 3, "sigma_data": 0.5}) == pytest.approx(expected, rel=1e-14)
    array = expression.evaluate({"sigma": np.full((2, 3), 3.0), "sigma_data": 0.5}, NUMPY)
    tensor = expression.evaluate({"sigma": torch.full((2, 3), 3.0, dtype=torch.float64), "sigma_data": 0.5}, TORCH)
    assert np.allclose(np.broadcast_to(array, (2, 3)), expected, rtol=1e-14, atol=0)
    assert np.allclose(np.broadcast_to(tensor, (2, 3)), expected, rtol=1e-14, atol=0)


def test_it_keeps_the_dtype_of_tensors_and_follows_gradients():
    expression = Expression("minimum(2**sigma, 1e3)/sqrt(2*sigma_data)", NAMES)
    sigma = torch.tensor([1.0, 3.0], requires_grad=True)
    value = expression.evaluate({"sigma": sigma, "sigma_data": 0.5}, TORCH)
    assert value.dtype == torch.float32
    value.sum().backward()
    assert torch.allclose(sigma.grad, 2 ** sigma.detach() * math.log(2))


def test_it_is_its_text_and_goes_through_pickle():
    expression = pickle.loads(pickle.dumps(Expression(" sigma + 1 ", NAMES)))
    assert (str(expression), expression.names) == ("sigma + 1", NAMES)
    assert expression.evaluate({"sigma": 1.0}) == 2.0


REFUSED = [
    ("", 1, "invalid syntax"),
    ("1 +", 4, "invalid syntax"),
    ("sigma)", 6, "unmatched"),
    ("(" * 150, 150, "never closed"),
    ("sigma sigma", 7, "invalid syntax"),
    ("t + 1", 1, "'t' is not allowed"),
    ("1 + foo(sigma)", 5, "'foo(sigma)' is not allowed"),
    ("2*sigma.real", 3, "'sigma.real' is not allowed"),
    ("sigma(2)", 1, "is not allowed"),
    ("sqrt", 1, "'sqrt' is not allowed"),
    ("sqrt(sigma, 2)", 1, "sqrt takes 1 argument(s), not 2"),
    ("1 + minimum(sigma)", 5, "minimum takes 2 argument(s), not 1"),
    ("sqrt(*sigma)", 6, "'*sigma' is not allowed"),
    ("sqrt(a for a in sigma)", 5, "is not allowed"),
    ("sqrt(sigma)(2)", 1, "is not allowed"),
    ("exp(1)(2)", 1, "is not allowed"),
    ("sigma // 2", 1, "is not allowed"),
    ("+sigma", 1, "is not allowed"),
    ("not sigma", 1, "is not allowed"),
    ("sigma or 2", 1, "is not allowed"),
    ("1if 2else 3", 1, ""),
    ("1 if sigma else 2", 1, "is not allowed"),
    ("(sigma, 1)", 1, "is not allowed"),
    ("True", 1, "'True' is not allowed"),
    ("None", 1, "'None' is not allowed"),
    ("2j", 1, "'2j' is not allowed"),
    ("yield_", 1, "'yield_' is not allowed"),
    ("lambda", 7, "invalid syntax"),
    ("__import__('os')", 12, '"\'" is not allowed'),
    ("sigma[0]", 6, "'[' is not allowed"),
    ("sigma == 1", 7, "'=' is not allowed"),
    ("sigma % 2", 7, "'%' is not allowed"),
    ("1\n+ 1", 2, r"'\n' is not allowed"),
    ("1 # x", 3, "'#' is not allowed"),
    ("σ", 1, "'σ' is not allowed"),
    ("ｓigma", 1, "'ｓ' is not allowed"),
    ("\x1b[2J", 1, r"'\x1b' is not allowed"),
    ("1e999", 1, "has no value of size 1e+38 or less"),
    ("9" * 200, 1, "has no value of size 1e+38 or less"),
    ("sigma + 1/0", 9, "/ of 1 and 0 has no value"),
    ("sigma*9**9**9", 7, "** of 9 and 3.8742e+08 has no value"),
    ("1e30*1e30", 1, "* of 1e+30 and 1e+30 has no value"),
    ("sqrt(-1)", 1, "sqrt of -1 has no value"),
    ("(-8)**(1/3)", 1, "** of -8 and 0.333333 has no value"),
    ("log(0)", 1, "log of 0 has no value"),
    ("exp(1000)", 1, "exp of 1000 has no value"),
]


@pytest.mark.parametrize(("text", "position", "why"), REFUSED, ids=[repr(text[:20]) for text, *_ in REFUSED])
def test_what_is_refused_is_named_with_its_place(text, position, why):
    with pytest.raises(ValueError) as caught:
        Expression(text, NAMES)
    assert f", position {position}: " in str(caught.value)
    assert why in str(caught.value)
    assert "made of numbers, sigma, sigma_data, + - * / **, parentheses and sqrt, exp, log" in str(caught.value)
    assert str(caught.value).isprintable()


def test_length_and_depth_are_limited():
    assert Expression("1+" * 24 + "sigma", NAMES).evaluate({"sigma": 1.0}) == 25
    with pytest.raises(ValueError, match=f"more than {MAX_DEPTH} levels of operations"):
        Expression("-" * 60 + "sigma", NAMES)
    with pytest.raises(ValueError, match=f"at most {MAX_LENGTH} characters; we got 201"):
        Expression("1" * 201, NAMES)
    assert Expression("(" * 90 + "sigma" + ")" * 90, NAMES).evaluate({"sigma": 2.0}) == 2
    for wrong in (None, 1, ["1"], b"1"):
        with pytest.raises(ValueError, match="is text, such as '1'; we got a"):
            Expression(wrong, NAMES)


def test_towers_of_powers_take_no_time():
    begin = time.process_time()
    for text in ("9**9**9**9", "2**2**2**2**2**2", "(9**9)**(9**9)"):
        with pytest.raises(ValueError, match="has no value"):
            Expression(text, NAMES)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("text", ["log(sigma)", "1/sigma", "(sigma - 1)**0.5", "exp(1000 + sigma)", "sigma_data**2"])
def test_floats_without_a_value_are_an_error(text):
    with pytest.raises(ValueError, match=r"has no value of size 1e\+38 or less"):
        Expression(text, NAMES).evaluate({"sigma": 0.0, "sigma_data": 1e30})


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from(string.ascii_lowercase[:6] + "0123456789.*+-/(), sigmaqrtexplo_'[]:=\\\n\x00"), max_size=40)
)
def test_any_text_is_a_formula_or_a_value_error(text):
    try:
        expression = Expression(text, NAMES)
    except ValueError:
        return
    tree = ast.parse(expression.text, mode="eval")
    allowed = (
        ast.Expression,
        ast.Constant,
        ast.Name,
        ast.Load,
        ast.BinOp,
        ast.UnaryOp,
        ast.Call,
        ast.operator,
        ast.USub,
    )
    assert all(isinstance(node, allowed) for node in ast.walk(tree))


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(0.01, 100.0), st.integers(-3, 3))
def test_arithmetic_is_that_of_floats(a, b, n):
    found = Expression(f"sigma*({a!r}) + {b!r}/sigma - sigma**({n})", NAMES).evaluate({"sigma": b})
    assert found == b * a + b / b - math.pow(b, n)
    assert abs(found) <= LARGEST
