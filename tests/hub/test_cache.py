"""Where the cache is, and pins: learnt once, compared ever after."""

import json
import sys
import threading

import platformdirs
import pytest
from platformdirs.windows import Windows

from harness.core.errors import InputError, RunError
from harness.hub import cache
from harness.hub.cache import Pin, cache_dir, check_pin, files_dir, locked, pins_file, read_pins

URL = "https://files.example/net.pkl"
PIN, OTHER = Pin("a1" * 32, 1000), Pin("b2" * 32, 2000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {}, "HOME/.cache/diffusion-harness"),
        ("linux", {"XDG_CACHE_HOME": "/x/cache"}, "/x/cache/diffusion-harness"),
        ("linux", {"XDG_CACHE_HOME": ""}, "HOME/.cache/diffusion-harness"),
        ("darwin", {"XDG_CACHE_HOME": "/x/cache"}, "HOME/Library/Caches/diffusion-harness"),
        ("win32", {"WIN_PD_OVERRIDE_LOCAL_APPDATA": r"C:\me\AppData\Local"}, r"C:\me\AppData\Local/diffusion-harness"),
        ("win32", {"HARNESS_CACHE": "/x/mine"}, "/x/mine"),
        ("linux", {"HARNESS_CACHE": "~/mine", "XDG_CACHE_HOME": "/x/cache"}, "HOME/mine"),
    ],
)
def test_where_it_is(tmp_path, monkeypatch, platform, variables, place):
    monkeypatch.setattr(sys, "platform", platform)
    if platform == "win32":  # platformdirs chose its class when it was imported
        monkeypatch.setattr(platformdirs, "PlatformDirs", Windows)
    for name in ("HARNESS_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir().as_posix() == place.replace("HOME", str(tmp_path))
    assert files_dir() == cache_dir() / "files"
    assert not list(tmp_path.iterdir())


def test_a_pin_is_learnt_and_kept(folder):
    assert read_pins() == {}
    assert check_pin(URL, PIN) is True
    assert check_pin(URL, PIN) is False
    assert check_pin(URL + "2", OTHER) is True
    assert read_pins() == {URL: PIN, URL + "2": OTHER}
    assert json.loads(pins_file().read_text())[URL] == {"sha256": "a1" * 32, "size": 1000}
    assert sorted(path.name for path in folder.iterdir()) == [".pins.json.lock", "pins.json"]


@pytest.mark.parametrize("found", [OTHER, Pin(PIN.sha256, 2000), Pin(OTHER.sha256, 1000)])
def test_something_else_than_pinned(folder, found):
    check_pin(URL, PIN)
    with pytest.raises(InputError) as caught:
        check_pin(URL, found)
    words = str(caught.value)
    assert f"{URL}: SHA-256 is {found.sha256} ({found.size:,} bytes), and when it was first fetched it was" in words
    assert f"it was {PIN.sha256} (1,000 bytes)" in words
    assert f"delete the entry of this address in {pins_file()} and fetch again" in words
    assert read_pins() == {URL: PIN}


def test_a_pin_that_is_forgotten(folder):
    """What the message says: without its entry, the address is pinned anew."""
    check_pin(URL, PIN)
    check_pin(URL + "2", PIN)
    entries = json.loads(pins_file().read_text())
    del entries[URL]
    pins_file().write_text(json.dumps(entries))
    assert check_pin(URL, OTHER) is True
    assert read_pins() == {URL: OTHER, URL + "2": PIN}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"pins"',
        b"\xff\xfe",
        json.dumps({URL: "a1" * 32}),
        json.dumps({URL: {"sha256": "a1" * 32}}),
        json.dumps({URL: {"sha256": "a1" * 31, "size": 1}}),
        json.dumps({URL: {"sha256": "xy" * 32, "size": 1}}),
        json.dumps({URL: {"sha256": 5, "size": 1}}),
        json.dumps({URL: {"sha256": "a1" * 32, "size": "1"}}),
    ],
)
def test_damaged_pins(folder, text):
    folder.mkdir()
    raw = text if isinstance(text, bytes) else text.encode()
    pins_file().write_bytes(raw)
    for ask in (read_pins, lambda: check_pin(URL, PIN)):
        with pytest.raises(InputError, match=r"pins\.json: damaged; it should be JSON with .*Restore it, or delete it"):
            ask()
    assert pins_file().read_bytes() == raw


def test_pins_that_cannot_be_read_or_written(folder):
    pins_file().mkdir(parents=True)
    with pytest.raises(InputError, match=r"pins\.json: cannot read the file \(Is a directory\)"):
        read_pins()
    pins_file().rmdir()
    folder.rmdir()
    folder.write_text("not a folder")
    with pytest.raises(RunError, match=r"pins\.json: cannot write there .*set HARNESS_CACHE to another folder"):
        check_pin(URL, PIN)


def test_no_pin_is_lost_when_many_write(folder):
    threads = [threading.Thread(target=check_pin, args=(f"{URL}{i}", PIN)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_pins() == {f"{URL}{i}": PIN for i in range(8)}


def test_somebody_else_keeps_the_pins(folder, monkeypatch):
    monkeypatch.setattr(cache, "WAIT", 0.05)
    folder.mkdir()
    with (
        locked(pins_file(), "busy"),
        pytest.raises(RunError, match=r"another process has been writing it for 0\.05 s; try again"),
    ):
        check_pin(URL, PIN)
    assert check_pin(URL, PIN) is True
