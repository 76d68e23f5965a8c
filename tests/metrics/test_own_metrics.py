"""Metrics that are functions of the user's: found without running them, tried before a run, known by their content."""

import hashlib
import io
import json
import os
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

import harness
from harness.core.code import code_allowed
from harness.core.errors import InputError, SamplingError
from harness.datasets.image_bytes import from_bytes, to_bytes
from harness.denoisers.load import describe, load_denoiser
from harness.execution.executors.inline import InlineExecutor
from harness.execution.measurements import measurements
from harness.execution.run import run
from harness.execution.seed_ranges import SeedRange
from harness.execution.verify import verify
from harness.execution.worker import ChunkFailure, ChunkTask, run_task
from harness.experiments.plan import plan
from harness.metrics import METRICS, Score
from harness.metrics.base import SamplingJob
from harness.metrics.image_function import _made
from harness.report.data import load
from harness.sampling.sampler import Sampler
from harness.search.plan import SearchRequest, plan_search
from harness.store.database import Store
from tests.denoisers.test_guidance import Classes
from tests.plugins import ROOT

CODE = """
import torch
from numbers_of_test import SHIFT


class Contrast:
    def __init__(self, power=1.0):
        self.power = power

    def __call__(self, images):
        assert images.dtype == torch.float32
        return images.flatten(1).std(1) ** self.power + SHIFT


def raising(**args):
    raise ValueError("no weights here")


def wide():
    return lambda images: images.flatten(1)


def failing():
    return lambda images: images.no_such_thing


def undefined():
    return lambda images: images.flatten(1)[:, 0].log() * torch.nan


def number():
    return 3.0


def asked():
    return lambda images, condition: images.flatten(1).mean(1) if condition is None else condition.argmax(1)


def values():
    return lambda images: images.flatten(1).mean(1).numpy()


def weighted(weights=(), bias=0.0):
    total = sum(float(path.read_text()) for path in weights) + bias
    return lambda images, condition=None: images.flatten(1).mean(1) * 0 + total
"""
GRID = """
title: Of functions
samples: 12
chunk: 8
metrics: [{metric}]
denoisers: {{data: {{source: {{kind: gaussian, std: 0.5, shape: [1, 2, 2]}}}}}}
steps: [3]
series:
  - {{name: Heun, sampler: {{}}}}
"""
CONTRAST = (
    "{kind: python, factory: 'functions_of_test.py:Contrast', args: {power: 2.0}, label: contrast, better: higher}"
)
DATA = {"kind": "gaussian", "std": 0.5, "shape": [1, 2, 2]}
SAMPLER = Sampler(steps=3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Functions in a folder of their own, which is worked in; no settings of the user, nothing imported before."""
    monkeypatch.setenv("HARNESS_SETTINGS", str(tmp_path / "settings.yaml"))
    monkeypatch.setattr("harness.core.code._imported", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "functions_of_test.py").write_text(CODE)
    (tmp_path / "numbers_of_test.py").write_text("SHIFT = 0.0\n")
    _made.cache_clear()
    yield tmp_path
    for name in ("functions_of_test", "numbers_of_test"):
        sys.modules.pop(name, None)


@pytest.fixture
def planned(folder):
    def make(metric=CONTRAST):
        (folder / "own.yaml").write_text(GRID.format(metric=metric))
        return plan(folder / "own.yaml")

    return make


@pytest.fixture
def store(folder):
    with Store(str(folder / "store.sqlite")) as opened:
        yield opened


def compute(planned, store):
    with code_allowed():
        return run(planned, store, device="cpu", executor=InlineExecutor)


def python(thing, **fields):
    return METRICS.read({"kind": "python", "factory": f"functions_of_test.py:{thing}", **fields})


def test_the_number_is_the_mean_of_the_function(planned, store):
    assert compute(planned(), store).failed == 0
    (row,) = store.results()
    images = harness.sample(load_denoiser(DATA), SAMPLER, range(12)).images
    seen = ((127.5 * images + 128).clamp(0, 255).floor() / 127.5 - 1).flatten(1).std(1) ** 2
    assert row["value"] == pytest.approx(seen.mean().item(), rel=1e-5)
    assert row["low"] < row["value"] < row["high"]
    assert (row["metric"], row["reference"], row["n"]) == ("contrast", "none", 12)
    assert row["provenance"]["display"] | {"title": "contrast", "better": "higher"} == row["provenance"]["display"]
    assert compute(planned(), store).chunks == 0
    assert [one.problem for one in verify(store)] == [""]
    (data,) = load(store, "own")
    assert (data.title, data.lower_is_better, data.by_factors) == ("contrast", False, False)


def test_complete_results_need_no_permission(planned, store, folder):
    compute(planned(), store)
    assert run(planned(), store, device="cpu", executor=InlineExecutor).chunks == 0
    with pytest.raises(
        InputError, match="is Python code, which is run only with your permission: read it, then add --allow"
    ):
        run(planned(), store, device="cpu", executor=InlineExecutor, force=True)
    (folder / "functions_of_test.py").unlink()
    assert load(store, "own")[0].trials[0].done
    assert "no such file" in next(iter(verify(store))).problem


def test_a_changed_line_or_argument_is_another_metric(folder):
    first = python("Contrast", args={"power": 2.0})
    assert first.identity.startswith("python:1:")
    others = [python("Contrast"), python("values"), python("Contrast", args={"power": 2.0}, values="float")]
    assert len({one.identity for one in (first, *others)}) == 4
    assert python("Contrast", args={"power": 2.0}, label="other", better="higher").identity == first.identity
    before = first.identity
    (folder / "numbers_of_test.py").write_text("SHIFT = 1.0\n")  # what the file imports of the user's
    assert first.identity != before
    assert len({first, python("Contrast"), python("Contrast", args={"power": 2.0})}) == 2


def test_an_identity_without_weights_is_as_before_the_field():
    metric = python("Contrast", args={"power": 2.0})
    content = metric.program.content()
    assert set(content) == {"code", "distributions", "object", "args"}
    text = json.dumps({**content, "values": None, "plugin": metric.plugin}, sort_keys=True, separators=(",", ":"))
    assert metric.identity == f"python:1:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    assert "weights" not in metric.model_dump_json()
    assert python("Contrast", args={"power": 2.0}, weights=[]) == metric


def test_weights_are_part_of_the_identity_and_given_to_the_factory(folder):
    (folder / "a.txt").write_text("0.5")
    (folder / "b.txt").write_text("0.25")
    job = SamplingJob(load_denoiser(DATA), SAMPLER, [0, 1], batch=2)
    one, both = python("weighted", weights="a.txt"), python("weighted", weights=["a.txt", "b.txt"], args={"bias": 1})
    score = METRICS.read({"kind": "score", "factory": "functions_of_test.py:weighted", "weights": "b.txt"})
    with code_allowed():
        assert one.observe(job).values.tolist() == [0.5] * 2
        assert both.observe(job).values.tolist() == [1.75] * 2
        assert score.observe(job).values.tolist() == [0.25] * 2
        assert python("weighted").observe(job).values.tolist() == [0.0] * 2
        without = python("values", weights="a.txt")  # a factory without such a parameter
        assert torch.equal(without.observe(job).values, python("values").observe(job).values)
        assert without.identity != python("values").identity
        before, of_score = one.identity, score.identity
        (folder / "a.txt").write_text("0.75")
        (folder / "b.txt").write_text("2.0")
        assert one.identity != before
        assert score.identity != of_score
        assert one.observe(job).values.tolist() == [0.75] * 2  # made anew
    (folder / "moved.txt").write_text("0.5")
    assert python("weighted", weights=["moved.txt"]).identity == before
    assert METRICS.read_json(both.model_dump_json()) == both
    assert METRICS.read(both.model_dump(mode="json")).identity == both.identity


def test_weights_in_a_grid(planned, store, folder):
    metric = "{kind: python, factory: 'functions_of_test.py:weighted', weights: w.txt}"
    with pytest.raises(InputError, match=r"w.txt: cannot read the file"):
        planned(metric)
    (folder / "w.txt").write_text("0.5")
    compute(planned(metric), store)
    assert compute(planned(metric), store).chunks == 0
    (folder / "w.txt").write_text("0.25")
    compute(planned(metric), store)
    assert sorted(row["value"] for row in store.results()) == [0.25, 0.5]
    with pytest.raises(InputError, match="`weights` is for a `factory`; leave it out"):
        planned(f"{{kind: score, path: clip.pt, sha256: '{'0' * 64}', weights: w.txt}}")


def test_a_change_during_a_run_is_told(planned, folder):
    (measurement,) = measurements(planned())
    (item,) = measurement.trials.values()
    with code_allowed():
        task = ChunkTask.of(item.trial, measurement, 4)._replace(seeds=(SeedRange(0, 3),))
        (folder / "functions_of_test.py").write_text(CODE + "#\n")
        done = run_task(task, "cpu")
    assert isinstance(done, ChunkFailure)
    assert done.is_transient
    assert "the code of metric 'contrast' is not what it was when the run began" in done.reason
    without = run_task(task._replace(allow_code=False, code=""), "cpu")
    assert "run only with your permission" in without.reason


def test_values_are_bytes_or_floats():
    far = {"kind": "gaussian", "mean": 30.0, "std": 0.1, "shape": [1, 2, 2]}
    job = SamplingJob(load_denoiser(far), SAMPLER, [0, 1, 2], batch=2)
    images = harness.sample(job.denoiser, SAMPLER, [0, 1, 2]).images.flatten(1).mean(1)
    with code_allowed():
        assert python("values").observe(job).values.tolist() == [1.0] * 3  # clipped, as in a picture
        floats = python("values", values="float").observe(job).values
        assert torch.allclose(floats, images, atol=1e-6)
        own = job._replace(denoiser=load_denoiser(far | {"data_range": [29, 31]}))
        assert torch.equal(python("values").observe(own).values, floats)
    with pytest.raises(
        InputError, match=r"`values: bytes` means images in .-1, 1., and these are floats, values from 2 to"
    ):
        python("values", values="bytes").for_range((2.0, 4.0))


def test_a_score_sees_the_condition():
    job = SamplingJob(Classes((1, 2, 2)), Sampler(steps=2), list(range(6)), batch=4)
    score = METRICS.read({"kind": "score", "factory": "functions_of_test:asked"})
    assert (score.name, score.better) == ("score-functions_of_test", "higher")
    with code_allowed():
        assert score.observe(job._replace(labels=1)).values.tolist() == [1.0] * 6
        drawn = score.observe(job).values
        assert set(drawn.tolist()) == {0.0, 1.0}
        assert torch.equal(drawn[3:], score.observe(job._replace(seeds=[3, 4, 5])).values)  # a class a seed
        without = harness.sample(job.denoiser, job.sampler, job.seeds, "unconditional")
        assert without.condition is None
        brightness = from_bytes(to_bytes(without.images)).flatten(1).mean(1)
        assert torch.equal(score.observe(job._replace(labels="unconditional")).values, brightness.double())
        score.probe(describe(DATA)._replace(label_dim=3), "cpu")
        score.probe(describe(DATA), "cpu")


class Similar(nn.Module):
    """A score in TorchScript: how bright an image is, and which class was asked for."""

    def forward(self, images: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        bright = images.flatten(1).mean(1)
        return bright if condition is None else bright + condition.argmax(1)


class OnlyImages(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).mean(1)


def scripted(path, module):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), buffer)
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def test_a_torchscript_file_is_a_score_by_its_hash(planned, store, folder):
    sha256 = scripted(folder / "clip.v2.pt", Similar())
    grid = planned(f"{{kind: score, path: clip.v2.pt, sha256: {sha256}, better: lower}}")
    assert run(grid, store, device="cpu", executor=InlineExecutor).failed == 0  # a file of a known hash needs no flag
    (row,) = store.results()
    assert (row["metric"], row["provenance"]["display"]["better"]) == ("score-clip", "lower")
    job = SamplingJob(Classes((1, 2, 2)), Sampler(steps=2), [0, 1], labels=1)
    images = harness.sample(job.denoiser, job.sampler, job.seeds, 1).images
    brightness = from_bytes(to_bytes(images)).flatten(1).mean(1)
    assert torch.equal(Score(path="clip.v2.pt", sha256=sha256).observe(job).values, (brightness + 1).double())
    with pytest.raises(InputError, match=f"clip.v2.pt: SHA-256 is {sha256}, not {'0' * 64}; it is another file"):
        planned(f"{{kind: score, path: clip.v2.pt, sha256: '{'0' * 64}'}}")
    with pytest.raises(InputError, match=f"none is run without its `sha256`; this file's is {sha256}"):
        planned("{kind: score, path: clip.v2.pt}")
    with pytest.raises(InputError, match=r"gone.pt: cannot read the file"):
        planned(f"{{kind: score, path: gone.pt, sha256: {sha256}}}")
    only = scripted(folder / "only.pt", OnlyImages())
    with pytest.raises(InputError, match="'score-only' failed on a batch of images") as error:
        run(planned(f"{{kind: score, path: only.pt, sha256: {only}}}"), store, device="cpu", executor=InlineExecutor)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("factory: 'gone.py:make'", "gone.py: no such file; check the path"),
        ("factory: 'no_module_of_test:make'", "there is no module 'no_module_of_test' here"),
        ("factory: 'functions_of_test.py'", "names no code; write module:object"),
        ("factory: 'a:b', args: {x: .nan}", "Out of range float values are not JSON compliant"),
        ("factory: 'a:b', better: larger", "'lower' or 'higher'"),
        ("args: {}", "factory"),
    ],
)
def test_what_a_plan_says(planned, fields, told):
    with pytest.raises(InputError, match=told) as error:
        planned(f"{{kind: python, {fields}}}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("factory: 'functions_of_test.py:gone'", "functions_of_test has no 'gone'"),
        (
            "factory: 'functions_of_test.py:raising', args: {a: 1}",
            "'functions_of_test.py:raising' cannot make its function of images with args {.a.: 1}: ValueError: no",
        ),
        ("factory: 'functions_of_test.py:Contrast', args: {scale: 1}", "unexpected keyword argument 'scale'"),
        (
            "factory: 'functions_of_test.py:number'",
            "returns float; a factory returns a module or a function, called as f.images. or f",
        ),
        (
            "factory: 'functions_of_test.py:wide'",
            "'python-wide' should give one number an image, .2.; we got float32 .2, 4",
        ),
        ("factory: 'functions_of_test.py:failing'", "'python-failing' failed on a batch of images .AttributeError"),
    ],
)
def test_what_is_said_before_anything_is_computed(planned, store, fields, told):
    with pytest.raises(InputError, match=told) as error:
        compute(planned(f"{{kind: python, {fields}}}"), store)
    assert "\n" not in str(error.value)
    assert store.results() == []


def test_numbers_that_are_not_finite_make_a_failed_row(planned, store):
    assert compute(planned("{kind: python, factory: 'functions_of_test.py:undefined'}"), store).failed == 1
    (row,) = store.results()
    assert (row["status"], row["reason"]) == ("failed", "12 of 12 values of python-undefined are not finite")
    with code_allowed(), pytest.raises(SamplingError, match="4 of 4 values"):
        python("undefined").observe(SamplingJob(load_denoiser(DATA), SAMPLER, [0, 1, 2, 3]))


def test_two_functions_of_one_name_need_labels(planned):
    one, other = (f"{{kind: python, factory: 'functions_of_test.py:Contrast', args: {{power: {p}}}}}" for p in (1, 2))
    with pytest.raises(InputError, match="two metrics go by 'python-Contrast'; give one of them a `label`"):
        planned(f"{one}, {other}")


def test_a_search_optimizes_a_function():
    asked = {"kind": "python", "factory": "functions_of_test.py:Contrast", "better": "higher"}
    search = plan_search(SearchRequest("deterministic", DATA, metric=asked, nfe=9))
    assert (search.objective.better, search.objective.name) == ("higher", "python-Contrast")
    again = METRICS.read(search.spec["metric"])
    assert again == search.metric
    assert again.identity == search.metric.identity


def test_in_worker_processes_and_from_the_command_line(planned, folder):
    planned()
    guard = "raise SystemExit('code was run')\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def command(*words):
        return subprocess.run(
            [sys.executable, "-m", "harness.cli", *words],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    (folder / "functions_of_test.py").write_text(guard + CODE)
    refused = command("run", "own.yaml", "--device", "cpu")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "add --allow-code" in refused.stderr
    (folder / "functions_of_test.py").write_text(CODE)
    done = command("run", "own.yaml", "--device", "cpu", "--allow-code")
    assert "1 of 1 trials done, 0 failed" in done.stdout, done.stdout + done.stderr
    (folder / "functions_of_test.py").write_text(guard + CODE)
    written = command("report", "own", "-o", "page.html")
    assert written.returncode == 0, written.stderr
    assert "contrast" in (folder / "page.html").read_text()
