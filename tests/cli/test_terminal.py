"""What stands on a terminal, in a log and in a file: users' words as they are, whatever width, letters and place."""

import csv
import io
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from PIL import Image
from rich.console import Console
from rich.progress import TextColumn
from rich.table import Table
from typer.testing import CliRunner

from harness.cli import console
from harness.cli.console import CountBar, LiveBar, plain, print_table
from harness.cli.main import app
from harness.cli.run_terminal import RunProgress, failure_lines
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.execution.run import FailureCount, Summary

TINY = """
title: "{title}"
metrics: [{{kind: end-point-error, samples: 4, reference: 16}}]
samples: 4
denoisers:
  {denoiser}: {{source: {{kind: gaussian, mean: 0, std: 0.5, shape: [1, 2, 2]}}}}
series:
  - name: "{series}"
    sampler: {{solver: euler}}
nfe: [3]
"""


def tiny(title="Tiny", denoiser="g", series="Euler"):
    return TINY.format(title=title, denoiser=denoiser, series=series)


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Runs a command in an empty folder, the work done in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    (tmp_path / "tiny.yaml").write_text(tiny())
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def terminal(monkeypatch):
    """What is printed on a terminal of a width."""

    def at(width):
        made = Console(
            file=io.StringIO(), width=width, force_terminal=True, color_system=None, markup=False, emoji=False
        )
        monkeypatch.setattr(console, "out", made)
        return made.file

    return at


NAMES = ["Heun [ours]", "ODE [/SDE]", "a :smile: b", "[red]x"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(harness, tmp_path, name):
    (tmp_path / "named.yaml").write_text(tiny(f"Draft {name}", "a", name))
    assert harness("run", "named.yaml", "--device", "cpu").exit_code == 0
    for command in (("plan", "named.yaml", "--device", "cpu"), ("show", "named")):
        done = harness(*command)
        assert done.exit_code == 0, done.output
        assert name in done.stdout
    assert f"Draft {name}" in harness("plan", "named.yaml", "--device", "cpu").stdout
    done = harness("compare", f"named:a:{name}@9", "named:a:x@9")
    assert f"named:a:{name}" in done.stderr  # not the picture that rich makes of :a:


def test_a_denoiser_with_a_colon_can_be_compared(harness, tmp_path):
    (tmp_path / "named.yaml").write_text(tiny(denoiser='"a:b"').replace("nfe: [3]", "nfe: [3, 4]"))
    harness("run", "named.yaml", "--device", "cpu")
    done = harness("compare", "named:a:b:Euler@3", "named:a:b:Euler@4")
    assert done.exit_code == 0, done.output
    assert "verdict: " in done.stdout or "no interval" in done.stdout


def test_escape_sequences_of_names_do_not_reach_the_terminal(harness, tmp_path):
    (tmp_path / "named.yaml").write_text(tiny("T\\e[2J", "g", "S\\e]0;x\\a"))
    done = harness("plan", "named.yaml", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout and "T?[2J" in done.stdout and "S?]0;x?" in done.stdout


def table(*rows):
    made = Table("denoiser", "series", box=None, pad_edge=False)
    made.add_column("value", justify="right", no_wrap=True)
    made.add_column("reason", overflow="fold")
    for row in rows:
        made.add_row(*map(plain, row))
    return made


ROW = ("digits-vp-64k", "Heun, rho 7", "0.1234", "/a/path/that/is/so/long/that/no/terminal/is/as/wide/as/it/is")


def test_a_wide_terminal_has_a_table(terminal):
    text = terminal(60)
    print_table(table(ROW))
    lines = text.getvalue().splitlines()
    assert lines[0].split() == ["denoiser", "series", "value", "reason"]
    assert "digits-vp-64k" in lines[1]
    reason = lines[0].index("reason")
    assert "".join(line[reason:].strip() for line in lines[1:]) == ROW[3]


@pytest.mark.parametrize("width", [20, 40])
def test_a_narrow_terminal_loses_nothing(terminal, width):
    text = terminal(width)
    print_table(table(ROW, (*ROW[:3], "")))
    told = text.getvalue().replace("\n", "")
    for part in ("denoiser: digits-vp-64k", "series: Heun, rho 7", "value: 0.1234"):
        assert told.count(part) == 2
    assert told.count("reason: ") == 1
    assert ROW[3] in told


def test_without_a_terminal_a_table_is_as_wide_as_it_must_be(monkeypatch):
    made = Console(file=io.StringIO(), width=30)
    monkeypatch.setattr(console, "out", made)
    print_table(table(ROW))
    assert "digits-vp-64k" in made.file.getvalue()
    assert "value: " not in made.file.getvalue()


def run(*arguments, cwd, encoding=None, **options):
    """The command itself, in a process."""
    environment = os.environ | ({"PYTHONIOENCODING": encoding} if encoding else {})
    command = [sys.executable, "-m", "harness.cli", *arguments]
    pipes = {"stdout": subprocess.PIPE} | options
    return subprocess.run(command, cwd=cwd, env=environment, stderr=subprocess.PIPE, timeout=240, **pipes)


@pytest.mark.parametrize("encoding", ["cp1252"])
def test_letters_that_the_output_has_not(tmp_path, encoding):
    (tmp_path / "tiny.yaml").write_text(tiny(series="ρ = 7"))
    done = run("plan", "tiny.yaml", "--device", "cpu", cwd=tmp_path, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u03c1 = 7" in done.stdout


def test_standard_output_that_is_closed(tmp_path):
    """A file that is opened must not get its number."""
    script = f"{sys.executable} -m harness.cli ls executors >&-"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, timeout=240)
    assert (done.returncode, done.stderr) == (0, b"")


def no_file_grows():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


FULL = [("output.txt", no_file_grows, "File too large")]
if Path("/dev/full").exists():  # Linux alone has a file that is always full; a limit on files is everywhere
    FULL.append(("/dev/full", None, "No space left on device"))


@pytest.mark.parametrize("arguments", [("ls", "executors"), ("--help",)])
@pytest.mark.parametrize(("output", "limit", "reason"), FULL, ids=[output for output, *_ in FULL])
def test_standard_output_that_is_full(tmp_path, arguments, output, limit, reason):
    with (tmp_path / output).open("w") as full:
        done = run(*arguments, cwd=tmp_path, stdout=full, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.decode() == f"error: the output cannot be written: {reason}\n"


def test_standard_output_that_nobody_reads(tmp_path):
    script = f"{sys.executable} -m harness.cli ls executors | true"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, timeout=240)
    assert done.stderr == b""


def test_a_terminal_that_is_closed_ends_a_run_as_ctrl_c_does(tmp_path):
    (tmp_path / "long.yaml").write_text(
        tiny().replace("nfe: [3]", "nfe: [4]").replace("reference: 16", "reference: 90000")
    )
    command = [sys.executable, "-m", "harness.cli", "run", "long.yaml", "--executor", "inline", "--device", "cpu"]
    heard = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup  # noqa: E731
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        assert "1 trials, 0 of them done" in process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert told.splitlines()[-1].startswith("error: interrupted")


class TestCSV:
    @pytest.mark.parametrize("place", ["no/such/folder/x.csv", "x.csv"])
    def test_folders_are_made(self, harness, tmp_path, place):
        harness("run", "tiny.yaml", "--device", "cpu")
        done = harness("show", "--csv", place)
        assert (done.exit_code, done.stdout) == (0, f"{place}\n")
        assert (tmp_path / place).read_text().startswith("panel,")

    def test_a_place_that_cannot_be_written(self, harness, tmp_path):
        harness("run", "tiny.yaml", "--device", "cpu")
        (tmp_path / "folder").mkdir()
        for place in ("folder", "tiny.yaml/x.csv"):
            done = harness("show", "--csv", place)
            assert done.exit_code == 2
            assert re.fullmatch(rf"error: {place}: cannot write there \(.*\); give another --csv\n", done.stderr)

    def test_a_spreadsheet_runs_no_cell(self, harness, tmp_path):
        (tmp_path / "named.yaml").write_text(tiny(series="=HYPERLINK(1)", denoiser='"@SUM(1)"'))
        harness("run", "named.yaml", "--device", "cpu")
        text = harness("show", "named", "--csv", "-").stdout
        assert "\n'@SUM(1),'=HYPERLINK(1)," in text


def test_channels_that_a_png_has_not(harness, tmp_path):
    source = "{kind: gaussian, std: 0.5, shape: [%d, 4, 6]}"
    for channels in (2, 4, 5):
        done = harness("sample", source % channels, "-o", "sheet.png", "--seeds", "0-2", "--device", "cpu")
        assert done.exit_code == 0, done.output
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert (sheet.mode, sheet.size) == ("L", (8 * (6 * channels + 1) - 1, 4))
        done = harness("sample", source % channels, "-o", "folder", "--seeds", "0-2", "--device", "cpu")
        assert done.exit_code == 2
        assert f"a PNG file holds 1 or 3 channels and these images have {channels}" in done.stderr
    assert not (tmp_path / "folder").exists()


class TestProgressWithoutATerminal:
    @pytest.fixture
    def log(self, monkeypatch):
        monkeypatch.setattr(console, "LOOK_SECONDS", 0.005)
        return Console(file=io.StringIO(), width=40, markup=False, emoji=False)

    @staticmethod
    def wait_for(log, count):
        deadline = time.monotonic() + 30
        while len(log.file.getvalue().splitlines()) < count and time.monotonic() < deadline:
            time.sleep(0.002)
        return log.file.getvalue().splitlines()

    def test_the_start_and_tenths_of_a_run(self, log):
        with RunProgress(log, "fig2") as progress:
            progress.started(6, 2, 1000)
            assert self.wait_for(log, 1) == ["fig2 · 6 trials, 2 of them done; 1,000 network evaluations to compute"]
            time.sleep(0.05)
            for evaluations in (10, 10, 90, 20):
                progress.chunk(evaluations)
                time.sleep(0.05)
            lines = self.wait_for(log, 3)
        assert len(lines) == 3  # the first progress, and past a tenth
        assert re.match(r"fig2 · 2/6 trials · 1 % .*· about \d+ (s|min) left", lines[1])
        assert lines[2].startswith("fig2 · 2/6 trials · 11 %")

    def test_a_minute_without_progress(self, log, monkeypatch):
        monkeypatch.setattr(console, "LINE_SECONDS", 0.02)
        with CountBar(log, "images") as bar:
            bar.at(3, 50)
            assert self.wait_for(log, 2)[:2] == ["images · 3/50"] * 2

    def test_nothing_is_said_of_what_is_done_at_once(self, log):
        with LiveBar(log, TextColumn("{task.description}")) as bar:
            bar.progress.add_task("x", total=3, completed=3)
            time.sleep(0.05)
        assert log.file.getvalue() == ""

    def test_a_run_that_computes_nothing_says_nothing(self, log):
        with RunProgress(log, "fig2") as progress:
            progress.started(6, 6, 0)
        assert log.file.getvalue() == ""


def test_the_end_of_a_run_says_why_trials_failed_and_how_to_go_on(harness, monkeypatch):
    from harness.core.errors import SamplingError

    def broken(*_, **__):
        raise SamplingError("the state is not finite", 3)

    monkeypatch.setattr("harness.sampling.sample.sample", broken)
    for _ in range(2):  # the second run computes nothing, and says the same
        done = harness("run", "tiny.yaml", "--device", "cpu")
        assert done.exit_code == 1
        assert (
            done.stderr.splitlines()[-1] == "tiny: 1 failed: the state is not finite; --retry-failed computes it again"
        )
        assert done.stdout.startswith("tiny: 0 of 1 trials done, 1 failed; 0 chunks")
    assert "step 4: the state is not finite" in harness("show", "tiny").stdout
    (row,) = csv.DictReader(io.StringIO(harness("show", "tiny", "--csv", "-").stdout))
    assert float(row["step"]) == 4


def test_reasons_at_the_end_of_a_run():
    failures = [FailureCount(f"reason {number}", number == 0, 9 - number) for number in range(7)]
    lines = failure_lines(Summary(42, 0, 42, 0, 0, 1.0, tuple(failures)))
    assert lines[0] == "9 failed: reason 0; the same command tries again"
    assert lines[1] == "8 failed: reason 1; --retry-failed computes it again"
    assert lines[5:] == ["7 failed for other reasons; `harness show` lists them"]


@pytest.mark.parametrize(("asked", "error"), [(True, typer.Exit), (False, ValueError)])
def test_an_interruption_that_a_library_turned_into_an_error_is_one(monkeypatch, asked, error):
    monkeypatch.setattr(console.Interruption, "was_asked", asked)

    def command():
        raise ValueError("Error serializing to JSON: KeyboardInterrupt")

    with pytest.raises(error) as raised:
        console.guarded(command)()
    assert not asked or raised.value.exit_code == 130
