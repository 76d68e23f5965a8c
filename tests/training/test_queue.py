"""The queue: several recipes, each in a process of its own."""

import pytest

from harness.core.errors import InputError
from harness.training.__main__ import end_with
from harness.training.loop import TrainingError
from harness.training.queue import find_recipes, longest_first, train_all
from harness.training.recipe import load_recipe

CLASSIFIER = "kind: classifier\nname: {name}\nminutes: {minutes}\nchannels: 2\nwidth: 4\nbatch: 4\nimages: 8\n"


def write(folder, name, minutes=1.0, extra=""):
    path = folder / f"{name}.yaml"
    path.write_text(CLASSIFIER.format(name=name, minutes=minutes) + extra)
    return path


def test_longest_first(tmp_path):
    for name, minutes in [("a", 1.0), ("b", 9.0), ("c", 5.0)]:
        write(tmp_path, name, minutes)
    assert [recipe.name for _, recipe in longest_first(find_recipes(tmp_path))] == ["b", "c", "a"]


def test_no_recipes_and_twice_the_same_name(tmp_path):
    with pytest.raises(InputError, match="no recipes"):
        find_recipes(tmp_path)
    path = write(tmp_path, "a")
    with pytest.raises(InputError, match="named 'a'"):
        find_recipes([path, path])
    with pytest.raises(InputError, match="workers must be at least 1"):
        train_all([path], tmp_path, workers=0)


def test_a_training_ends_with_its_parent(monkeypatch):
    parents, ended = iter([7, 7, 1]), []
    monkeypatch.setattr("os.getppid", lambda: next(parents))
    monkeypatch.setattr("os._exit", ended.append)
    end_with(7, seconds=0)
    assert ended == [1] and list(parents) == []


def test_trains_in_processes_and_a_failure_stops_no_other(tmp_path):
    good = write(tmp_path, "good")
    bad = write(tmp_path, "bad", 2.0, "optimizer: {lr: 1e30}\n")
    lines = []
    with pytest.raises(TrainingError, match=r"bad: the loss became .*\(exit code 1\)$"):
        train_all([good, bad], tmp_path / "out", work=tmp_path / "work", tell=lines.append)
    assert (tmp_path / "out" / "good.safetensors").exists()
    assert not (tmp_path / "out" / "bad.safetensors").exists()
    assert lines[0].startswith("bad: starts")
    assert train_all([good], tmp_path / "out", work=tmp_path / "work", tell=lines.append) == [
        tmp_path / "out" / "good.safetensors"
    ]
    assert "good: done" in lines[-1]
    assert load_recipe(good).name == "good"
