"""States: the same bits after an interruption, whatever is damaged or killed; others are refused."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from harness.core.errors import InputError, RunError
from harness.training import loop, state
from harness.training.loop import train
from tests.training.tiny import TINY, changed


def test_interrupted_and_resumed_is_bitwise_uninterrupted(tmp_path):
    whole = train(TINY, tmp_path / "a", work=tmp_path / "wa")
    for stop in (5, 9):
        train(TINY, tmp_path / "b", work=tmp_path / "wb", stop_after=stop)
        assert not (tmp_path / "b" / "tiny.safetensors").exists()
        torch.rand(7)  # whatever else uses torch's stream between two parts of a run
    notes = []
    parts = train(TINY, tmp_path / "b", work=tmp_path / "wb", note=notes.append)
    assert whole.read_bytes() == parts.read_bytes()
    assert list((tmp_path / "wb").rglob("state*")) == []
    assert notes == ["tiny: goes on from step 9 of 12"]
    log = [json.loads(line) for line in (tmp_path / "wb" / "tiny" / "stats.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 13))


def test_the_log_says_each_step_once(tmp_path):
    """A run that was killed after its last state does those steps again."""
    train(TINY, tmp_path, work=tmp_path, stop_after=3)
    log = tmp_path / "tiny" / "stats.jsonl"
    log.write_text(log.read_text() + json.dumps({"step": 4, "images": 16}) + "\n" + '{"step": 5, "ima')
    train(TINY, tmp_path, work=tmp_path)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 13))


def test_finished_result_is_left_alone_unless_fresh(tmp_path, monkeypatch):
    path = train(TINY, tmp_path, work=tmp_path / "w")
    monkeypatch.setattr(loop, "_to_end", lambda *_: pytest.fail("trained again"))
    assert train(TINY, tmp_path, work=tmp_path / "w") == path
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        train(TINY, tmp_path, work=tmp_path / "w", resume=False)


def test_batches_that_are_drawn_ahead_are_the_same(tmp_path, monkeypatch):
    """On a GPU a thread draws the next batch during a step; a state in between resumes before it."""
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    draws = loop._draws
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(loop, "_draws", lambda task, state, ahead: draws(task, state, True))
    for stop in (3, 8):
        train(TINY, tmp_path / "b", work=tmp_path / "b", stop_after=stop)
    assert train(TINY, tmp_path / "b", work=tmp_path / "b").read_bytes() == whole.read_bytes()


def test_what_an_earlier_run_of_the_name_left_is_removed(tmp_path):
    train(changed(snapshots=[4, 8]), tmp_path, work=tmp_path)
    train(changed(snapshots=[8], seed=1), tmp_path, work=tmp_path)
    left = [path.name for path in (tmp_path / "tiny" / "snapshots").iterdir()]
    assert left == ["tiny-000000008.safetensors"]


def test_state_of_another_recipe_is_refused(tmp_path):
    train(TINY, tmp_path, work=tmp_path / "w", stop_after=2)
    with pytest.raises(InputError, match=r"another recipe.*--fresh"):
        train(changed(seed=1), tmp_path, work=tmp_path / "w")
    train(changed(seed=1), tmp_path, resume=False, work=tmp_path / "w", stop_after=2)


def test_state_of_another_layout_is_refused(tmp_path):
    train(TINY, tmp_path, work=tmp_path / "w", stop_after=2, micro_batch=2)
    with pytest.raises(InputError, match=r"had 1 processes with 2 images .*, and now has 1 with 4 on cpu.*--fresh"):
        train(TINY, tmp_path, work=tmp_path / "w")
    assert train(TINY, tmp_path, work=tmp_path / "w", micro_batch=2).exists()


def test_a_file_that_is_no_state_of_ours(tmp_path):
    (tmp_path / "tiny").mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "tiny" / state.STATE)
    with pytest.raises(InputError, match=r"not the state of a training run of this version.*--fresh"):
        train(TINY, tmp_path, work=tmp_path)


@pytest.mark.parametrize("damage", ["empty", "text", "short", "flipped"])
def test_damaged_state(tmp_path, damage):
    """The state before it is used, and said; without one the run is refused. The result is the same bits."""
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    train(TINY, tmp_path, work=tmp_path, stop_after=2)
    train(TINY, tmp_path, work=tmp_path, stop_after=5)
    file = tmp_path / "tiny" / state.STATE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(
        {"empty": b"", "text": b"not it", "short": bytes(content[:-100]), "flipped": bytes(content)}[damage]
    )
    notes = []
    path = train(TINY, tmp_path, work=tmp_path, note=notes.append)
    assert path.read_bytes() == whole.read_bytes()
    assert "damaged state" in notes[0] and notes[0].endswith("goes on from the state before it, of step 2")
    train(TINY, tmp_path / "c", work=tmp_path / "c", stop_after=2)
    file = tmp_path / "c" / "tiny" / state.STATE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"state\.safetensors.*damaged.*--fresh"):
        train(TINY, tmp_path / "c", work=tmp_path / "c")


@pytest.mark.parametrize("damaged", [False, True])
def test_a_whole_state_is_there_whenever_a_save_is_interrupted(tmp_path, monkeypatch, damaged):
    """Also right after a damaged state was passed over."""
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    for stop in (2, 5):
        train(TINY, tmp_path, work=tmp_path, stop_after=stop)
    if damaged:
        file = tmp_path / "tiny" / state.STATE
        file.write_bytes(file.read_bytes()[:-50])
    replace = Path.replace
    for fatal in (state.STATE, state.NEXT):

        def killed(self, target, fatal=fatal):
            if self.name == fatal:
                raise KeyboardInterrupt
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", killed)
        with contextlib.suppress(KeyboardInterrupt):
            train(TINY, tmp_path, work=tmp_path, stop_after=7)
        monkeypatch.setattr(Path, "replace", replace)
    assert train(TINY, tmp_path, work=tmp_path).read_bytes() == whole.read_bytes()


def test_killed_between_two_names_of_the_state(tmp_path):
    """The newest state became the one before, and the new one was not written yet."""
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    train(TINY, tmp_path, work=tmp_path, stop_after=5)
    (tmp_path / "tiny" / state.STATE).rename(tmp_path / "tiny" / state.BEFORE)
    assert train(TINY, tmp_path, work=tmp_path).read_bytes() == whole.read_bytes()


def test_full_disk_is_said_and_loses_nothing(tmp_path, monkeypatch):
    train(TINY, tmp_path, work=tmp_path, stop_after=4)
    before = (tmp_path / "tiny" / state.STATE).read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(state, "write_tensors", full)
    with pytest.raises(RunError, match=r"state\.safetensors: cannot be written \(No space left on device\).*again"):
        train(TINY, tmp_path, work=tmp_path, stop_after=6)
    monkeypatch.undo()
    assert before == (tmp_path / "tiny" / state.STATE).read_bytes()
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    assert train(TINY, tmp_path, work=tmp_path).read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_killed_five_times_the_weights_are_those_of_an_uninterrupted_run(tmp_path):
    recipe = changed(images=4 * 1000)
    whole = train(recipe, tmp_path / "a", work=tmp_path / "a")
    program = (
        "import sys; from pathlib import Path; from harness.training.loop import train; "
        "from harness.training.recipe import RECIPES; import torch; torch.set_num_threads(1)\n"
        "train(RECIPES.read_json(sys.argv[1]), Path(sys.argv[2]), work=Path(sys.argv[2]), save_every=0.2)"
    )
    arguments = [sys.executable, "-c", program, recipe.model_dump_json(), str(tmp_path / "b")]
    kills, steps = 0, [0]
    while True:
        process = subprocess.Popen(arguments)
        file = tmp_path / "b" / "tiny" / state.STATE
        if kills < 5:
            while process.poll() is None and step_of(file) < steps[-1] + 100:
                time.sleep(0.05)
            assert process.poll() is None, "it must be killed while it trains"
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills, steps = kills + 1, [*steps, step_of(file)]
        else:
            assert process.wait(120) == 0
            break
    assert len(set(steps)) == 6
    assert (tmp_path / "b" / "tiny.safetensors").read_bytes() == whole.read_bytes()


def step_of(file):
    for one in (file, file.with_name(state.BEFORE)):
        try:
            with safe_open(one, "pt") as opened:
                return json.loads(opened.metadata()["counters"])["step"]
        except Exception:  # being renamed
            continue
    return 0
