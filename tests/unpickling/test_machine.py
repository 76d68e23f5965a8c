"""The restricted machine: what it reads as the standard one does, and what it refuses, with the byte."""

import collections
import os
import pickle
import pickletools
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.unpickling.machine import Budget, Instance, unpickle

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=5)
    ),
    max_leaves=30,
)


def read(raw, allowed=None, **more):
    return unpickle(memoryview(raw), "file.pkl", allowed or {}, more.pop("budget", Budget()), **more).value


@given(PLAIN, st.integers(2, 5))
def test_plain_data_is_read_as_the_standard_machine_reads_it(value, protocol):
    assert read(pickle.dumps(value, protocol=protocol)) == value


def test_bytes_are_views_of_the_file():
    raw = pickle.dumps([b"abc" * 100, b"x"], protocol=4)
    found = read(raw)
    assert [bytes(view) for view in found] == [b"abc" * 100, b"x"]
    assert all(isinstance(view, memoryview) and view.obj is raw for view in found)


def test_shared_and_circular_values_stay_shared():
    inner: list = []
    inner.append(inner)
    shared = {"a": inner}
    found = read(pickle.dumps([shared, shared], protocol=4))
    assert found[0] is found[1]
    assert found[0]["a"][0] is found[0]["a"]


def test_globals_are_looked_up_in_our_table_and_called_with_the_arguments():
    raw = pickle.dumps(collections.OrderedDict([("a", 1), ("b", 2)]), protocol=4)
    calls = []

    def ours(*arguments):
        calls.append(arguments)
        return {}

    assert read(raw, {"collections.OrderedDict": ours}) == {"a": 1, "b": 2}
    assert calls == [()]


def test_state_is_kept_and_does_nothing():
    raw = b"\x80\x04\x8c\x01m\x8c\x01n\x93)\x81}\x8c\x01a\x4b\x05sb."
    assert read(raw, {"m.n": lambda: Instance("n")}) == Instance("n", {"a": 5})


class Bomb:
    """Reduces to a call that leaves a file behind."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (eval, "builtins.eval"), (getattr, "builtins.getattr"), (exec, "builtins.exec")],
)
def test_a_call_of_anything_else_is_refused_with_name_and_byte(tmp_path, protocol, function, name):
    trace = tmp_path / "executed"
    raw = pickle.dumps({"weights": Bomb(function, f"open({str(trace)!r}, 'w')")}, protocol=protocol)
    name = name if protocol > 2 else name.replace("builtins", "__builtin__")
    at = next(place for code, _, place in pickletools.genops(raw) if code.name in ("GLOBAL", "STACK_GLOBAL"))
    with pytest.raises(InputError, match=f"GLOBAL at byte {at}: asks for '{name}'.*nothing was imported or called"):
        read(raw, {"collections.OrderedDict": dict})
    assert not trace.exists()


def test_bytes_are_counted_in_the_file():
    with pytest.raises(InputError, match="opcode SHORT_BINUNICODE at byte 1,002: claims 9 bytes where 1 are left"):
        read(b"xx\x80\x04\x8c\x09a", start=2, base=998)


LARGE = 1 << 40


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x80\x04\x8e" + struct.pack("<Q", LARGE), "BINBYTES8 at byte 2: claims 1,099,511,627,776 bytes where 0"),
        (b"\x80\x04\x8d" + struct.pack("<Q", LARGE), "a text of 1,099,511,627,776 bytes is more than a checkpoint"),
        (b"\x80\x04\x8b\xff\xff\xff\x7f", "byte 0x8b at byte 2: no checkpoint uses this opcode"),
        (b"\x80\x04c" + b"a" * 5000, "a name without an end"),
        (b"\x80\x04(K\x01K\x02u.", "wants a dict|does not follow the rules"),
        (b"\x80\x04}(K\x01u.", "a key without a value"),
        (b"\x80\x04}]K\x01s.", "a key that is neither text nor number"),
        (b"\x80\x04K\x01)R.", "a call of something that is no global"),
        (b"\x80\x04K\x01}b.", "a state for something that has none"),
        (b"\x80\x04h\x07.", "does not follow the rules of a pickle"),
        (b"\x80\x04.", "does not follow the rules of a pickle"),
        (b"\x80\x04K\x01Q.", "a reference to something outside the pickle"),
        (b"\x80\x04(.", "a value is missing"),
        (b"\x80\x04\x8c\x02\xff\xff.", "a text that is not UTF-8"),
        (b"", "claims 1 bytes where 0 are left"),
    ],
)
def test_damage_is_named(raw, message):
    with pytest.raises(InputError, match=rf"file\.pkl: .*({message})"):
        read(raw)


@pytest.mark.parametrize("step", [b"\x85", b"]a", b"}K\x01s"], ids=["tuples", "lists", "dicts"])
def test_nesting_without_bound_needs_no_recursion(step):
    deep = {b"\x85": b")" + b"\x85" * 400_000, b"]a": b"]" * 200_000 + b"a" * 199_999}
    raw = deep.get(step, b"}" + b"K\x01}" * 100_000 + b"s" * 100_000)
    assert read(b"\x80\x04" + raw + b".") is not None


def test_steps_texts_and_memory_are_bounded():
    with pytest.raises(InputError, match="far more steps than a checkpoint needs"):
        read(b"\x80\x04" + b"}" * 2_000_000)
    many = b"\x80\x04" + (b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)) * 40
    with pytest.raises(InputError, match="more than a checkpoint needs"):
        read(many)
    tracemalloc.start()
    with pytest.raises(InputError):
        read(b"\x80\x04" + b"(r\xff\xff\xff\xff" * 900_000)
    with pytest.raises(InputError):
        read(b"\x80\x04]" + b"\x94" * 1_500_000)
    assert tracemalloc.get_traced_memory()[1] < 300 << 20
    tracemalloc.stop()
