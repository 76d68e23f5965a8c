"""The cache folder, and the hashes that are remembered of what came without one."""

import json
from pathlib import Path

import pytest

from harness import cache
from harness.cache import Pin, cache_dir, pins_file, read_pins, write_pin
from harness.errors import InputError


def test_the_folder_is_the_users_choice_or_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setattr(cache.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "diffusion-harness"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_dir() == Path.home() / ".cache" / "diffusion-harness"
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    assert cache_dir() == Path.home() / "Library" / "Caches" / "diffusion-harness"
    monkeypatch.setattr(cache.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache_dir() == tmp_path / "diffusion-harness"


def test_nothing_is_made_by_asking(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "mine"))
    assert read_pins() == {}
    assert not (tmp_path / "mine").exists()


def test_pins_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    write_pin("https://a/x", Pin("1" * 64, 5))
    write_pin("https://a/y", Pin("2" * 64, 6))
    write_pin("https://a/x", Pin("3" * 64, 7))
    assert read_pins() == {"https://a/x": Pin("3" * 64, 7), "https://a/y": Pin("2" * 64, 6)}
    assert json.loads(pins_file().read_text())["https://a/y"]["size"] == 6


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 3}', '{"a": {"sha256": "1"}}', '{"a": {"sha256": 1, "size": "x"}}']
)
def test_damaged_pins(monkeypatch, tmp_path, text):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    pins_file().write_text(text)
    with pytest.raises(InputError, match=r"pins\.json: damaged.*Delete it to pin them anew"):
        read_pins()
