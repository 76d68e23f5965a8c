"""Conditions beside classes: files of them, one a seed, through samplers, grids and worker processes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import harness
from harness.cli.main import app
from harness.core.errors import InputError
from harness.denoisers.conventions import Image, wrap
from harness.experiments.plan import plan
from harness.sampling.conditions import read_conditions
from harness.sampling.sampler import Sampler

NETS = '''
def make():
    """Data near the mean that a condition says: exact for y ~ N(c, 1/4)."""

    def network(x, sigma, condition):
        s = sigma.reshape(-1, 1, 1, 1) ** 2
        if isinstance(condition, list):
            values = x.new_tensor([float(len(text)) / 10 for text in condition])
        elif isinstance(condition, dict):
            values = condition["mean"] + condition["shift"].sum(1)
        else:
            values = x.new_zeros(len(x)) if condition is None else condition
        c = values.to(x).reshape(-1, 1, 1, 1)
        return (c * s + x * 0.25) / (0.25 + s)

    return network
'''
SPEC = {"kind": "python", "factory": "cond_net:make", "predicts": "image", "shape": [1, 2, 2], "conditional": True}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.core.code._imported", {})
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "cond_net.py").write_text(NETS)
    yield tmp_path
    __import__("sys").modules.pop("cond_net", None)


@pytest.fixture
def denoiser():
    names = {}
    exec(NETS, names)
    return wrap(names["make"](), Image(), shape=(1, 2, 2), conditional=True, dtype=torch.float64)


def write(path):
    means = np.array([-2.0, 0.0, 3.0])
    if path == "means.npz":
        np.savez(path, mean=means, shift=np.zeros((3, 2)))
    elif path == "means.npy":
        np.save(path, means)
    elif path == "prompts.txt":
        Path(path).write_text("a\nbarn\n")
    else:
        Path(path).write_text('{"prompt": "a"}\n"barn"\n')
    return path


@pytest.mark.parametrize("path", ["means.npy", "means.npz", "prompts.jsonl", "prompts.txt"])
def test_each_seed_has_its_own_condition(denoiser, path):
    conditions = read_conditions(write(path))
    out = harness.sample(denoiser, Sampler(steps=12), seeds=range(6), labels=conditions).images
    values = torch.tensor([0.1, 0.4] if "prompts" in path else [-2.0, 0.0, 3.0], dtype=torch.float64).repeat(3)[:6]
    plain = harness.sample(denoiser, Sampler(steps=12), seeds=range(6)).images
    assert torch.allclose(
        out - plain, values.reshape(-1, 1, 1, 1).expand_as(out), atol=0.03
    )  # sigma_max is not infinite
    alone = harness.sample(denoiser, Sampler(steps=12), seeds=[4], labels=conditions).images
    padded = harness.sample(denoiser, Sampler(steps=12), seeds=range(6), labels=conditions, batch=4).images
    assert torch.equal(alone[0], out[4]) and torch.equal(padded, out)


def test_rows_of_adaptive_solvers_keep_their_conditions(denoiser):
    conditions = read_conditions(write("means.npz"))
    sampler = Sampler.model_validate({"solver": {"kind": "rk45", "rtol": 1e-4}})
    out = harness.sample(denoiser, sampler, seeds=range(5), labels=conditions).images
    one = harness.sample(denoiser, sampler, seeds=[2], labels=conditions).images
    assert torch.allclose(out[2], one[0], atol=1e-9)


def test_a_grid_with_conditions(folder):
    write("means.npz")
    own = {"source": SPEC, "conditions": "means.npz"}
    grid = {"title": "C", "metrics": "end-point-error", "samples": 8, "nfe": [7], "series": [{"name": "Heun"}]}
    (folder / "c.yaml").write_text(json.dumps(grid | {"denoisers": {"mine": own}}))
    planned = plan("c.yaml")
    assert planned.notes == [
        "'means.npz' holds 3 conditions for 8 seeds: they are used in turn, again and again. (mine · Heun, NFE 7)"
    ]
    ran = CliRunner().invoke(app, ["run", "c.yaml", "--allow-code"])
    assert ran.exit_code == 0 and "1 of 1 trials done, 0 failed" in ran.output
    before = planned.items[0].trial
    (folder / "elsewhere.npz").write_bytes((folder / "means.npz").read_bytes())
    (folder / "c.yaml").write_text(json.dumps(grid | {"denoisers": {"mine": own | {"conditions": "elsewhere.npz"}}}))
    assert plan("c.yaml").items[0].trial.fingerprint == before.fingerprint
    again = CliRunner().invoke(app, ["run", "c.yaml", "--allow-code"])
    assert "0 chunks and 0 network evaluations" in again.output
    np.savez("elsewhere.npz", mean=np.zeros(3), shift=np.zeros((3, 2)))
    assert plan("c.yaml").items[0].trial.fingerprint != before.fingerprint
    assert CliRunner().invoke(app, ["report", "c"]).exit_code == 0


def test_a_search_and_a_sheet():
    write("prompts.jsonl")
    words = ("search", "--target", "deterministic", "--denoiser", json.dumps(SPEC), "--metric", "end-point-error")
    more = ("--nfe", "7", "--budget", "2", "--samples", "16", "--top", "1", "--executor", "inline", "--allow-code")
    done = CliRunner().invoke(app, [*words, *more, "--conditions", "prompts.jsonl"])
    assert done.exit_code == 0, done.output
    sheet = ("sample", json.dumps(SPEC), "-o", "s.png", "--seeds", "0-3", "--allow-code")
    assert CliRunner().invoke(app, [*sheet, "--conditions", "prompts.jsonl"]).exit_code == 0
    both = CliRunner().invoke(app, [*sheet, "--conditions", "prompts.jsonl", "--label", "1"])
    assert both.exit_code == 2


@pytest.mark.parametrize(
    ("panel", "told"),
    [
        ({"source": SPEC}, "takes conditions; give a file"),
        ({"source": SPEC, "conditions": "nowhere.npz"}, "cannot read the file"),
        ({"source": SPEC, "conditions": "means.npz", "labels": 1}, "conditions take their place"),
        ({"source": "ideal", "conditions": "means.npz"}, "this denoiser takes none"),
        ({"source": SPEC | {"label_dim": 2}, "conditions": "means.npz"}, "no classes"),
    ],
)
def test_what_does_not_fit_is_refused_while_planning(folder, panel, told):
    write("means.npz")
    grid = {"title": "C", "metrics": "end-point-error", "samples": 4, "nfe": [7], "series": [{"name": "Heun"}]}
    with pytest.raises(InputError, match=told):
        plan(grid | {"denoisers": {"mine": panel}})


def test_conditions_are_for_denoisers_that_take_them(denoiser):
    conditions = read_conditions(write("means.npz"))
    with pytest.raises(InputError, match="takes no conditions"):
        harness.sample(harness.load_denoiser("ideal"), Sampler(steps=2), seeds=[0], labels=conditions)
    sheet = ("sample", json.dumps(SPEC), "-o", "s.png", "--seeds", "0-3", "--allow-code")
    told = CliRunner().invoke(app, list(sheet))
    assert told.exit_code == 2 and "takes conditions" in told.output
    none = CliRunner().invoke(app, [*sheet, "--label", "unconditional"])
    assert none.exit_code == 0
    few = CliRunner().invoke(app, [*sheet, "--conditions", "means.npz"])
    assert few.exit_code == 0 and "3 conditions for 4 seeds" in few.output


def test_an_object_takes_conditions(denoiser, folder):
    write("means.npz")
    grid = {"title": "C", "metrics": "end-point-error", "samples": 8, "nfe": [7], "series": [{"name": "Heun"}]}
    grid["denoisers"] = {"mine": {"conditions": "means.npz"}}
    table = harness.run(grid, denoisers={"mine": denoiser})
    assert list(table["status"]) == ["done"] and table["labels"].iloc[0].startswith("conditions ")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("c.jsonl", b"{broken\n", "c.jsonl:1: not JSON"),
        ("c.jsonl", b'"a"\n3\n', 'c.jsonl:2: a line is a text or {"prompt"'),
        ("c.jsonl", b"\n", "no conditions"),
        ("c.txt", b"\xff\xfe", "not UTF-8"),
        ("c.npy", b"no array", "cannot read the arrays"),
        ("c.csv", b"a\n", "conditions are .jsonl"),
    ],
)
def test_files_that_are_none(folder, name, content, told):
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_conditions(name)


def test_arrays_of_one_length(folder):
    np.savez("c.npz", a=np.zeros((3, 2)), b=np.zeros((4, 2)))
    with pytest.raises(InputError, match="a 3, b 4"):
        read_conditions("c.npz")
    np.save("o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        read_conditions("o.npy")


def test_fractions_come_in_the_dtype_of_the_denoiser_and_whole_numbers_as_they_are():
    seen = {}

    def network(x, sigma, condition):
        seen.update(condition if isinstance(condition, dict) else {"": condition})
        return x

    np.savez("c.npz", half=np.ones(3, np.float16), double=np.ones((3, 2)), tokens=np.arange(3, dtype=np.int32))
    np.save("c.npy", np.ones(3))
    for name in ("c.npz", "c.npy"):
        made = wrap(network, Image(), shape=(1, 2, 2), conditional=True)
        harness.sample(made, Sampler(steps=2), seeds=range(3), labels=read_conditions(name))
    assert {name: value.dtype for name, value in seen.items()} == {
        **dict.fromkeys(("half", "double", ""), torch.float32),
        "tokens": torch.int32,
    }


@pytest.mark.parametrize("dtype", [">f4", ">i8", "<f8", ">u2"])
def test_any_byte_order(dtype):
    np.save("c.npy", np.arange(5).astype(dtype))
    assert read_conditions("c.npy").of(range(5)).tolist() == [0, 1, 2, 3, 4]


def test_numbers_that_torch_has_not():
    np.save("c.npy", np.ones(3, np.longdouble))
    with pytest.raises(InputError, match="at most 64 bits"):
        read_conditions("c.npy")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_line_feeds_end_a_line(folder, end):
    texts = ["one\u2028two", "a\x0cb\x85c", "last"]
    (folder / "c.txt").write_bytes(end.join([*texts, ""]).encode())
    (folder / "c.jsonl").write_bytes(end.join(f'{{"prompt": "{text}"}}' for text in ("one\u2028two", "last")).encode())
    assert read_conditions("c.txt").of(range(3)) == texts
    assert read_conditions("c.jsonl").of(range(2)) == [texts[0], texts[2]]
