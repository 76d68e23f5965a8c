"""`harness export` and `harness import-scheduler` on the command line."""

import csv
import io
import json

import pytest
import torch
from typer.testing import CliRunner

from harness.cli.main import app
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.sampling.sampler import Sampler
from tests.denoisers import programs

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


class Given:
    """The exact denoiser of N(0, 1/4) as an object, from 0.01 to 50."""

    shape, label_dim, sigma_min, sigma_max, cost = (1, 2, 2), 0, 0.01, 50.0, 1
    dtype, device = torch.float64, torch.device("cpu")

    def round_sigma(self, sigma):
        return sigma

    def __call__(self, x, sigma, labels=None):
        return x.double() * 0.25 / (0.25 + torch.as_tensor(sigma).double().reshape(-1, 1, 1, 1) ** 2)


class Rounding(Given):
    """It knows the levels 0.01 times powers of 2."""

    def round_sigma(self, sigma):
        return 0.01 * 2.0 ** (sigma / 0.01).log2().round()


OWN = {
    "title": "Own",
    "metrics": "end-point-error",
    "samples": 4,
    "nfe": [9],
    "denoisers": ["mine"],
    "series": [
        {"name": "Heun"},
        {"name": "VP", "sampler": {"solver": "euler", "discretization": "vp", "schedule": "vp"}},
    ],
}


def fingerprints(table):
    return dict(zip(table["series"], table["fingerprint"], strict=True))


@pytest.mark.parametrize("series", ["Heun", "VP"])
@pytest.mark.parametrize("to", ["sigmas", "python"])
def test_a_trial_of_an_object_that_is_gone(harness, series, to):
    import harness as package

    table = package.run(OWN, denoisers={"mine": Given()}, identity="one")
    done = harness("export", fingerprints(table)[series][:12], "--to", to)
    assert done.exit_code == 0, done.output
    sampler = Sampler.model_validate(next(each for each in OWN["series"] if each["name"] == series).get("sampler", {}))
    steps = {"Heun": 5, "VP": 9}[series]
    wanted = package.export(sampler.model_copy(update={"steps": steps}), Given(), to)
    if to == "sigmas":
        assert json.loads(done.stdout)["sigmas"] == json.loads(wanted)["sigmas"]
        return
    texts = {}
    for text in (done.stdout, wanted):
        exec(text, names := {})
        texts[text] = names["sample"](lambda x, sigma: Given()(x, sigma), torch.ones(1, 1, 2, 2, dtype=torch.float64))
    assert torch.allclose(*texts.values(), rtol=1e-12) if len(texts) > 1 else done.stdout == wanted


def test_a_trial_of_an_object_that_rounds(harness):
    """Its levels are kept as it rounds them; how it would round others is not known once it is gone."""
    import harness as package

    table = package.run(OWN, denoisers={"mine": Rounding()}, identity="two")
    fingerprint = fingerprints(table)["Heun"][:12]
    kept = json.loads(harness("export", fingerprint).stdout)["sigmas"]
    assert kept == [*Sampler(steps=5).sigmas(Rounding()).tolist(), 0.0] != [*Sampler(steps=5).sigmas(Given()), 0.0]
    refused = harness("export", fingerprint, "--to", "python")
    assert refused.exit_code == 2 and "give --denoiser, or take --to sigmas" in refused.stderr
    other = harness("export", fingerprint, "--to", "python", "--denoiser", "ideal")
    assert other.exit_code == 0, other.output


def test_a_trial_of_code_that_is_gone(harness, tmp_path):
    (tmp_path / "gone_net.py").write_text("def make():\n    return lambda x, sigma: 0.25 * x\n")
    own = {"kind": "python", "factory": "gone_net.py:make", "predicts": "image", "shape": [1, 2, 2], "sigma_max": 60.0}
    panel = {"mine": {"source": own | {"check": "interface"}}}
    (tmp_path / "own.yaml").write_text(json.dumps(OWN | {"denoisers": panel}))
    assert harness("run", "own.yaml", "--allow-code").exit_code == 0
    for to in ("sigmas", "python"):
        here = harness("export", "own:mine:VP@9", "--to", to)
        (tmp_path / "gone_net.py").rename(tmp_path / "elsewhere")
        gone = harness("export", "own:mine:VP@9", "--to", to)
        (tmp_path / "elsewhere").rename(tmp_path / "gone_net.py")
        assert here.exit_code == gone.exit_code == 0, gone.output
        assert here.stdout == gone.stdout


def test_levels_are_found_with_code_of_ones_own_by_permission(harness, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_SETTINGS", str(tmp_path / "settings.yaml"))
    (tmp_path / "open_net.py").write_text("def make():\n    return lambda x, sigma: 0.25 * x\n")
    own = {"kind": "python", "factory": "open_net.py:make", "predicts": "image", "shape": [1, 2, 2], "sigma_max": 60.0}
    words = (
        "export",
        "{discretization: {kind: optimized, seeds: 4, reference: 16}, steps: 3}",
        "--denoiser",
        json.dumps(own),
    )
    refused = harness(*words)
    assert refused.exit_code == 2 and "add --allow-code" in refused.stderr
    done = harness(*words, "--allow-code")
    assert done.exit_code == 0 and len(json.loads(done.stdout)["sigmas"]) == 4, done.output


def test_programs_that_reach_beyond_tensors_measure_by_permission(harness, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_SETTINGS", str(tmp_path / "settings.yaml"))

    class Features(torch.nn.Module):
        def forward(self, x):
            if x.shape[0] == 0:
                torch.save(x, "nothing")
            return x.mean(3).mean(1)

    path = programs.script(Features(), tmp_path / "features.pt")
    extractor = f"{{kind: torchscript, path: features.pt, sha256: {programs.sha256(path)}, channels: 1}}"
    for words in (("ref", "build", "digits", "-o", "r.npz"), ("eval", "digits", "--ref", "digits")):
        refused = harness(*words, "--extractor", extractor)
        assert refused.exit_code == 2 and "add --allow-code" in refused.stderr
        done = harness(*words, "--extractor", extractor, "--allow-code")
        assert done.exit_code == 0, done.output


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
