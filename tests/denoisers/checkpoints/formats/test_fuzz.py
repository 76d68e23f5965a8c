"""Files changed at random: only errors of ours, nothing executed, nothing opened, and memory within a stated bound.

Every opcode, length and byte of a snapshot, and of torch's files in both layouts, may be changed, cut out, doubled or
blown up. Whatever a file claims, reading it may take at most BASE + TIMES * its size.
"""

import contextlib
import functools
import pickletools
import struct
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.errors import InputError
from harness.denoisers.checkpoints.convert import load_foreign
from tests.denoisers import families
from tests.denoisers.snapshots import small, write_snapshot

BASE = 128 << 20
TIMES = 8
FORBIDDEN = ("exec", "compile", "os.system", "subprocess.", "os.exec", "os.posix_spawn", "pickle.find_class", "ctypes.")
WRITING = ("w", "a", "x", "+")
seen: list[str] = []
watching = False


def _hook(event, arguments):
    if not watching:
        return
    if event.startswith(FORBIDDEN) or (event == "import" and str(arguments[0]).split(".")[0] in ("posix", "builtins")):
        seen.append(f"{event} {arguments!r}"[:200])
    if event == "open" and isinstance(arguments[1], str) and any(letter in arguments[1] for letter in WRITING):
        seen.append(f"open for writing {arguments!r}"[:200])


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched():
    """Notes everything that a hostile file would want to do."""
    global watching
    seen.clear()
    watching = True
    try:
        yield
    finally:
        watching = False


@functools.cache
def original(kind):
    """The bytes of a small checkpoint, and where its opcodes are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net"
        if kind == "snapshot":
            write_snapshot(path, small(model_channels=4))
            raw = path.read_bytes()
            return raw, [place for _, _, place in pickletools.genops(raw)]
        layout, name = kind.split()
        families.write(
            path, families.openai_state(name) if name in families.OPENAI else families.song_state(name), layout
        )
        raw = path.read_bytes()
        start = raw.index(b"\x80\x02", 0 if layout == "zip" else raw.index(b"little_endian"))
        return raw, [start + place for _, _, place in pickletools.genops(raw[start:])]


OPCODES = bytes(ord(opcode.code) for opcode in pickletools.opcodes)
LENGTHS = [0, 1, 255, 1 << 16, (1 << 31) - 1, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1]
HOSTILE = [
    b"cos\nsystem\n(X\x04\x00\x00\x00true\x85R",
    b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x0cprint('boom')\x85R",
    b"\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R",
    b"\x8e" + struct.pack("<Q", 1 << 40),
    b"r\xff\xff\xff\x7f",
    b")" + b"\x85" * 3000,
]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["opcode", "byte", "bytes", "length", "cut", "double", "insert", "end"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 10**6),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


def changed(raw, places, changes):
    data = bytearray(raw)
    for what, where, number, at_opcode in changes:
        at = places[int(where * len(places))] if at_opcode else int(where * len(data))
        at = min(at, max(len(data) - 1, 0))
        match what:
            case "opcode":
                data[at : at + 1] = OPCODES[number % len(OPCODES)].to_bytes()
            case "byte":
                data[at : at + 1] = (number % 256).to_bytes()
            case "bytes":
                data[at : at + 8] = number.to_bytes(8, "little")
            case "length":
                wide = [4, 8][number % 2]
                data[at + 1 : at + 1 + wide] = (LENGTHS[number % len(LENGTHS)] % (1 << (8 * wide))).to_bytes(
                    wide, "little"
                )
            case "cut":
                del data[at : at + 1 + number % 2000]
            case "double":
                data[at:at] = data[at : at + 1 + number % 2000]
            case "insert":
                data[at:at] = HOSTILE[number % len(HOSTILE)]
            case "end":
                del data[at:]
    return bytes(data)


def attempt(folder, raw):
    """Read a file; returns the error's text, or None where it is still a checkpoint."""
    path = folder / "net"
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        with watched():
            try:
                load_foreign(path)
                error = None
            except InputError as refused:
                error = str(refused)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not seen, seen
    assert peak <= BASE + TIMES * len(raw), f"{peak:,} bytes for a file of {len(raw):,}"
    assert [file.name for file in folder.iterdir()] == ["net"]
    assert error is None or error.startswith(str(path))
    return error


KINDS = ["snapshot", "zip guided_plain", "legacy improved_plain", "zip ve_ncsnpp", "legacy vp_ddpmpp"]


def fuzz(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture(autouse=True, scope="module")
def _warm(tmp_path_factory):
    """Everything that reading needs is imported before anybody watches; the snapshot as it is can be read."""
    folder = tmp_path_factory.mktemp("warm")
    for kind in KINDS:
        (folder / "net").write_bytes(original(kind)[0])
        with contextlib.suppress(InputError):  # without its options the small network of a family may be refused
            load_foreign(folder / "net")
    (folder / "net").write_bytes(original("snapshot")[0])
    assert load_foreign(folder / "net").shape == (1, 8, 8)


@pytest.mark.parametrize("kind", KINDS)
@given(changes=CHANGES)
@fuzz(30)
def test_changed_files(kind, changes, tmp_path):
    attempt(tmp_path, changed(*original(kind), changes))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(changes=CHANGES)
@fuzz(4000)
def test_changed_files_for_long(kind, changes, tmp_path):
    attempt(tmp_path, changed(*original(kind), changes))


@given(st.binary(max_size=400), st.sampled_from([b"", b"\x80\x04", b"\x80\x02", b"PK\x03\x04"]))
@fuzz(300)
def test_bytes_that_were_never_a_checkpoint(tmp_path, raw, head):
    assert attempt(tmp_path, head + raw) is not None


@pytest.mark.parametrize("hostile", HOSTILE[:3])
@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9])
def test_a_call_planted_anywhere_is_refused_by_name(tmp_path, hostile, place):
    raw, places = original("snapshot")
    at = places[max(2, int(place * len(places)))]
    error = attempt(tmp_path, raw[:at] + hostile + raw[at:])
    assert error is not None
    assert "system'" in error or "eval'" in error


def test_the_watch_itself_sees(tmp_path):
    """A check that cannot fail is none: the standard machine, given the same file, is caught."""
    import pickle

    with watched():
        pickle.loads(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.")
    assert any("os.system" in event for event in seen)
    seen.clear()
