"""Wrong YAML files: each names its mistake's line and message in its first comment; exit code 2, before any work."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app

FOLDER = Path(__file__).parent / "wrong"
FILES = sorted(FOLDER.glob("*.yaml"))


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_one_clear_message(path, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))  # where nothing was fetched
    line, message = re.match(r"# line (\d+): (.*)", path.read_text().splitlines()[0]).groups()
    done = run(command, path)
    assert done.exit_code == 2
    assert f"{path}:{line}: " in done.stderr.replace("\n", "")
    assert message in done.stderr
    assert "Traceback" not in done.output + done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert not list(tmp_path.iterdir())  # nothing was started


def test_there_are_at_least_ten():
    assert len(FILES) >= 10


def test_a_missing_file_names_the_grids_there_are(tmp_path):
    done = run("run", tmp_path / "nothing.yaml")
    assert done.exit_code == 2
    assert "no such file, nor a grid that comes with the package; those are: churn_analytic, fig" in done.stderr


def test_a_folder_is_no_grid(tmp_path):
    assert run("run", tmp_path).exit_code == 2


def test_bytes_that_are_not_text(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_bytes(b"title: \xff\xfe")
    done = run("run", path)
    assert done.exit_code == 2
    assert "not UTF-8" in done.stderr


def test_a_checkpoint_that_is_not_its_cards(tmp_path, monkeypatch):
    """A flipped byte in an embedded checkpoint: refused by hash, with both hashes and the remedy."""
    import shutil

    from harness.core.embedded import data_dir

    pretrained = tmp_path / "pretrained"
    shutil.copytree(data_dir("pretrained"), pretrained)
    target = pretrained / "digits-vp.safetensors"
    raw = bytearray(target.read_bytes())
    raw[-1] ^= 1
    target.write_bytes(raw)
    real = data_dir
    for module in ("harness.hub.cards", "harness.core.embedded"):
        monkeypatch.setattr(f"{module}.data_dir", lambda name: pretrained if name == "pretrained" else real(name))
    grid = tmp_path / "grid.yaml"
    grid.write_text("title: t\nsamples: 8\nnfe: 5\ndenoisers: [digits-vp]\nseries:\n  - name: one\n")
    done = run("run", grid, "--store", tmp_path / "store.sqlite")
    assert done.exit_code == 2
    assert f"{grid}:4: " in done.stderr.replace("\n", "")
    assert "SHA-256 is" in done.stderr
    assert "restore the file" in done.stderr
    assert not (tmp_path / "store.sqlite").exists()
