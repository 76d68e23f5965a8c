"""`harness export` and `harness import-scheduler` on the command line."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.sampling.sampler import Sampler

GRID = """
title: One
metrics: [fd-digits]
samples: 16
nfe: [5]
denoisers: {digits-edm: {}}
series: [{name: Heun, sampler: {solver: heun}}]
"""
CONFIG = {"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True, "beta_schedule": "scaled_linear"}


@pytest.fixture
def harness(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_a_sampler_in_yaml(harness):
    done = harness("export", "{solver: heun, steps: 5}", "--denoiser", "digits-edm", "--to", "sigmas")
    assert done.exit_code == 0, done.output
    sigmas = json.loads(done.stdout)["sigmas"]
    assert len(sigmas) == 6
    assert sigmas[0] == 80
    assert sigmas[-1] == 0


@pytest.mark.parametrize("to", ["sigmas", "diffusers", "k-diffusion", "comfyui", "python"])
def test_a_file_to_a_file(harness, tmp_path, to):
    (tmp_path / "mine.yaml").write_text("solver: dpmpp_2m\nsteps: 6\n")
    done = harness("export", "mine.yaml", "--denoiser", "digits-vp", "--to", to, "-o", "out/mine.txt")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == "out/mine.txt"
    text = (tmp_path / "out" / "mine.txt").read_text()
    json.loads(text) if to in ("sigmas", "comfyui") else compile(text, to, "exec")


def test_a_trial_of_the_store(harness, tmp_path):
    (tmp_path / "one.yaml").write_text(GRID)
    assert harness("run", "one.yaml").exit_code == 0
    done = harness("export", "one:digits-edm:Heun@5")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert len(told["sigmas"]) == 4
    assert Sampler.model_validate(told["sampler"]).solver.kind == "rk2"
    rows = csv.DictReader(io.StringIO(harness("show", "one", "--csv", "-").stdout))
    fingerprint = next(rows)["fingerprint"]
    assert harness("export", fingerprint[:10]).stdout == done.stdout
    wide = harness("export", fingerprint[:10], "--denoiser", "ideal")
    assert wide.exit_code == 0, wide.output


def test_the_levels_of_a_denoiser_that_rounds(harness):
    """The levels are those that the network was trained at, without its weights being read."""
    import harness as package

    done = harness("export", "{solver: ddim, steps: 4}", "--denoiser", "digits-adm")
    wanted = Sampler.model_validate({"solver": "ddim", "steps": 4}).sigmas(package.load_denoiser("digits-adm"))
    assert json.loads(done.stdout)["sigmas"][:-1] == wanted.tolist()


BAD = [
    (["{solver: heun}"], "add --denoiser"),
    (["{solver: heun}", "--denoiser", "digits-edm", "--to", "a1111"], "--to takes one of"),
    (["{solver: hoin}", "--denoiser", "digits-edm"], "SAMPLER:1: solver: unknown kind 'hoin'"),
    (["{solver: rk45}", "--denoiser", "digits-edm", "--to", "python"], "chooses its steps as it goes"),
    (["{stochasticity: {kind: churn, S_churn: 9}}", "--denoiser", "digits-edm", "--to", "diffusers"], "the nearest"),
    (["{steps: 3}", "--denoiser", "nobody"], "nobody"),
    (["abcdef"], "no store yet"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[str(at) for at in range(len(BAD))])
def test_what_cannot_be_exported_is_told_in_a_line(harness, words, said):
    done = harness("export", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_scheduler_becomes_a_sampler(harness, tmp_path):
    (tmp_path / "scheduler_config.json").write_text(json.dumps(CONFIG))
    done = harness("import-scheduler", "scheduler_config.json", "--steps", 12, "-o", "sd.yaml")
    assert done.exit_code == 0, done.output
    assert harness("import-scheduler", ".", "--steps", 12).stdout == (tmp_path / "sd.yaml").read_text()
    back = harness("export", "sd.yaml", "--denoiser", "digits-edm")
    assert len(json.loads(back.stdout)["sigmas"]) == 13


def test_a_scheduler_without_a_counterpart(harness, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"_class_name": "PNDMScheduler", "skip_prk_steps": True}))
    done = harness("import-scheduler", "c.json")
    assert done.exit_code == 2
    assert "skip_prk_steps" in done.stderr
    nearest = harness("import-scheduler", "c.json", "--nearest")
    assert nearest.exit_code == 0
    assert "skip_prk_steps" in nearest.stderr
    assert nearest.stdout.startswith("solver: {kind: ipndm")
