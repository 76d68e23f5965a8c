"""The restricted machine: what it reads as the standard one does, and what it refuses, with the byte."""

import collections
import os
import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles import torch_names
from harness.denoisers.checkpoints.pickles.machine import Instance, PickleBudget, unpickle

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(1 - 2**31, 2**31 - 1), inner, max_size=5)
    ),
    max_leaves=30,
)


def read(raw, allowed=None, **more):
    return unpickle(memoryview(raw), "file.pkl", allowed or {}, more.pop("budget", PickleBudget()), **more).value


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
        (b"\x80\x04\x8d" + struct.pack("<Q", LARGE), "a text of 1,099,511,627,776 bytes is more than such a file"),
        (b"\x80\x04\x8b\xff\xff\xff\x7f", "byte 0x8b at byte 2: no such file uses this opcode"),
        (b"\x80\x04c" + b"a" * 5000, "a name without an end"),
        (b"\x80\x04(K\x01K\x02u.", "wants a dict|does not follow the rules"),
        (b"\x80\x04}(K\x01u.", "a key without a value"),
        (b"\x80\x04}]K\x01s.", "a key that is neither text nor a plain number"),
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
    deep = {b"\x85": b")" + b"\x85" * 300_000, b"]a": b"]" * 150_000 + b"a" * 149_999}
    raw = deep.get(step, b"}" + b"K\x01}" * 100_000 + b"s" * 100_000)
    assert read(b"\x80\x04" + raw + b".") is not None


def test_steps_texts_and_memory_are_bounded():
    with pytest.raises(InputError, match="far more steps than such a file needs"):
        read(b"\x80\x04" + b"}" * 2_000_000)
    many = b"\x80\x04" + (b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)) * 40
    with pytest.raises(InputError, match="more than such a file needs"):
        read(many)
    # A tenth of the steps in a tenth of the memory: 128 MiB at the budget that files have.
    few = PickleBudget().opcodes // 10
    tracemalloc.start()
    for step in (b"Nr\xff\xff\xff\xff", b"}\x94", b"C\x00\x94", b"\x8f", b"}K\x01K\x02s", b"G12345678\x94"):
        with pytest.raises(InputError, match="far more steps"):
            read(b"\x80\x04" + step * 100_000, budget=PickleBudget(opcodes=few))
    assert tracemalloc.get_traced_memory()[1] < (128 << 20) / 10
    tracemalloc.stop()


TABLE = {"m.size": torch_names.size, "m.dict": torch_names.ordered_dict, "m.bytes": torch_names.encoded}


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        (b"(" + b"N" * 50_000 + b"t", "size"),
        (b"](" + b"K\x01K\x02\x86" * 20_000 + b"e", "dict"),
        (b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20), "bytes"),
    ],
    ids=["size", "dict", "bytes"],
)
def test_calls_that_copy_their_arguments_are_counted(argument, name):
    """One argument, remembered, and given to the same function again and again: three bytes a call."""
    call = b"\x8c\x01m\x8c" + bytes([len(name)]) + name.encode() + b"\x93q\x05" + argument + b"q\x06" + b"\x85q\x07R"
    tracemalloc.start()
    with pytest.raises(InputError, match="far more steps"):
        read(b"\x80\x04" + call + b"h\x05h\x07R" * 100_000 + b".", TABLE)
    assert tracemalloc.get_traced_memory()[1] < 128 << 20
    tracemalloc.stop()


def test_values_that_are_shared_sixty_times_over_are_never_spelt_out():
    """x = (x, x), sixty times: two to the sixtieth leaves in two hundred bytes; nobody may turn that into text."""
    doubled = b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))
    head = b"\x80\x04\x8c\x05numpy\x8c\x05dtype\x93"
    with pytest.raises(InputError, match="a NumPy scalar of a type that is not known"):
        read(head + doubled + b"\x85R.", torch_names.NUMPY_SCALARS)
    assert isinstance(read(b"\x80\x04" + doubled + b"."), tuple)


def test_keys_that_could_be_made_to_collide_are_refused():
    with pytest.raises(InputError, match="a key that is neither text nor a plain number"):
        read(pickle.dumps({k * ((1 << 61) - 1): 0 for k in range(1, 5)}, protocol=4))


def test_a_numpy_type_is_one_of_a_few_and_nothing_else_passes_for_one():
    raw = pickle.dumps(np.float64(0.5), protocol=4)
    assert read(raw, torch_names.NUMPY_SCALARS) == 0.5
    fake = {**torch_names.NUMPY_SCALARS, "numpy.dtype": lambda *_: Instance("f8")}
    with pytest.raises(InputError, match="a NumPy scalar without type or bytes"):
        read(raw, fake)
    with pytest.raises(InputError, match="of a type that is not known here"):
        read(pickle.dumps(np.datetime64("2020-01-01"), protocol=4), torch_names.NUMPY_SCALARS)
