"""The YAML loader: YAML 1.2 scalars, lines, duplicate keys, bounded aliases."""

import math

import pytest
from pydantic import Field

from harness.core import yaml
from harness.core.config import Config, Real
from harness.core.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E3", 1000.0), ("-.5", -0.5), ("1.", 1.0), (".inf", math.inf), ("-.Inf", -math.inf),
        ("12", 12), ("012", 12), ("0o14", 12), ("0xff", 255), ("+3", 3), ("1_000", "1_000"), ("1:30", "1:30"),
        ("off", "off"), ("yes", "yes"), ("No", "No"), ("true", True), ("FALSE", False), ("~", None), ("null", None),
        ("2001-01-01", "2001-01-01"), ("inf", "inf"), ("<<", "<<"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = yaml.loads(f"a: {text}").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_nan_is_read_and_then_refused():
    class Model(Config):
        a: Real

    document = yaml.loads("a: .nan")
    assert math.isnan(document.data["a"])
    with pytest.raises(InputError, match="not NaN"):
        yaml.build(Model, document)


def test_infinity_goes_both_ways():
    class Model(Config):
        a: Real

    assert yaml.build(Model, yaml.loads("a: inf")).a == math.inf
    assert Model(a=math.inf).model_dump_json() == '{"a":"inf"}'
    assert Model.model_validate_json('{"a":"inf"}') == Model(a=math.inf)


def test_lines():
    document = yaml.loads("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n")
    assert document.line(("b", 1, "d")) == 5
    assert document.line(("b", 1, "nothing", "deeper")) == 4
    assert str(document.error(("b", 0), "no")) == "<text>:3: b.0: no"


def test_duplicate_keys_at_any_depth():
    with pytest.raises(InputError, match=r"<text>:3: duplicate key 'x' \(first on line 2\)"):
        yaml.loads("a:\n  x: 1\n  x: 2\n")


MERGES = """
x-common:
  levels: &levels {kind: edm, rho: 5}
a: &a {solver: heun, discretization: *levels}
b: {<<: *a, solver: euler}
c: {solver: ddim, <<: [*a, {solver: rk4, clip: true}]}
d:
  <<: &d
    <<: *levels
    rho: 7
  steps: 4
"<<": {"<<": text}
"""


def test_merge_keys():
    document = yaml.loads(MERGES)
    edm = {"kind": "edm", "rho": 5}
    assert document.data == {
        "a": {"solver": "heun", "discretization": edm},
        "b": {"discretization": edm, "solver": "euler"},
        "c": {"discretization": edm, "clip": True, "solver": "ddim"},
        "d": {"kind": "edm", "rho": 7, "steps": 4},
        "<<": {"<<": "text"},
    }
    assert list(document.data["b"]) == ["discretization", "solver"]
    lines = [document.line(where) for where in [("b", "solver"), ("b", "discretization", "rho"), ("c", "clip")]]
    assert lines == [5, 3, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {<<: 5}", "<text>:1: `<<` merges a mapping or a list of mappings; we got '5'"),
        ("a: {<<: [{b: 1}, x]}", "<text>:1: `<<` merges a mapping or a list of mappings; we got 'x'"),
        ("a:\n  <<: {b: 1}\n  <<: {c: 1}", "<text>:3: duplicate key '<<'; merge several mappings with <<: [*a, *b]"),
        ("a: {<<: {b: 1, b: 2}}", "<text>:1: duplicate key 'b' (first on line 1); remove one of the two"),
        ("a: &a {<<: *a}", "<text>: nested deeper than 100 levels"),
    ],
)
def test_what_cannot_be_merged(text, message):
    with pytest.raises(InputError) as caught:
        yaml.loads(text)
    assert str(caught.value) == message


def test_an_alias_bomb_is_refused_quickly():
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(InputError, match="aliases are expanded"):
        yaml.loads("\n".join(layers))


def test_an_alias_to_itself_is_refused():
    with pytest.raises(InputError, match="nested deeper"):
        yaml.loads("a: &a [*a]")


def test_depth_is_bounded():
    with pytest.raises(InputError, match=r"nested deeper|not valid"):
        yaml.loads("[" * 3000 + "]" * 3000)


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system [ls]", "a: !!python/name:os.system", "!x 1"])
def test_tags_are_refused(text):
    with pytest.raises(InputError, match="not valid YAML"):
        yaml.loads(text)


def test_a_huge_file_is_refused(tmp_path):
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (yaml.MAX_BYTES + 1))
    with pytest.raises(InputError, match="more than"):
        yaml.load(path)


def test_errors_name_the_place_of_a_key_that_was_moved():
    class Inner(Config):
        n: int = Field(ge=1)

    document = yaml.loads("first: {n: 1}\nsecond:\n  n: 0\n")
    with pytest.raises(InputError, match=r"<text>:3: second\.n: input should be greater than or equal to 1; we got 0"):
        yaml.build(Inner, document, ("first",), {"n": 0}, {"n": ("second", "n")})
