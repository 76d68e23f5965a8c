"""Networks that a user's Python makes: from YAML to results, in worker processes, with permission only."""

import json

import pytest
import torch
from typer.testing import CliRunner

import harness
from harness.cli.main import app
from harness.core.errors import InputError
from harness.denoisers.load import describe, load_denoiser
from harness.denoisers.own import check_own
from harness.experiments.plan import plan

NETS = '''
import torch

ABAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def make_noise(std=0.5):
    def network(x, t):
        a = ABAR.to(x)[t].reshape(-1, 1, 1, 1)
        return (1 - a).sqrt() * x / (a * std**2 + 1 - a)

    return network


class Velocity(torch.nn.Module):
    def __init__(self, std):
        super().__init__()
        self.std = torch.nn.Parameter(torch.tensor(std))

    def forward(self, x, t):
        t, v = t.reshape(-1, 1, 1, 1), self.std**2
        return x * (t - (1 - t) * v) / ((1 - t) ** 2 * v + t**2)


def make_velocity(std=0.5):
    return Velocity(std)


def make_mean(weights):
    value = float(weights[0].read_text())
    return lambda x, t: x * 0 + value


def make_batch_mean():
    return lambda x, t: x.mean() + x * 0


def make_wide():
    return lambda x, t: x.repeat(1, 2, 1, 1)


def make_one_argument():
    return lambda x: x


def make_error():
    raise RuntimeError("no such weights")


def make_number():
    return 3


def make_failing():
    def network(x, t):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    return network


def make_distilled():
    """A consistency function of data on two points: where the ODE ends, not the mean of what x may be."""
    return lambda x, t: torch.where(x >= 0, 1.0, -1.0).to(x)



NOT_A_FACTORY = 3
'''

NOISE = {
    "kind": "python",
    "factory": "nets_of_mine.py:make_noise",
    "predicts": "noise",
    "betas": "linear",
    "shape": [1, 2, 2],
}
FLOW = {"kind": "python", "factory": "nets_of_mine:make_velocity", "predicts": "flow", "shape": [1, 2, 2]}

GRID = f"""
title: Own networks
metrics: end-point-error
samples: 8
nfe: [7, 15]
denoisers:
  eps: {{source: {json.dumps(NOISE)}}}
  flow: {{source: {json.dumps(FLOW)}}}
series:
  - {{name: DPM++ 2M, sampler: {{solver: dpmpp_2m}}}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_SETTINGS", str(tmp_path / "settings.yaml"))
    monkeypatch.setattr("harness.core.code._imported", {})
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    monkeypatch.delitem(__import__("sys").modules, "nets_of_mine", raising=False)
    (tmp_path / "nets_of_mine.py").write_text(NETS)
    (tmp_path / "own.yaml").write_text(GRID)
    yield tmp_path
    __import__("sys").modules.pop("nets_of_mine", None)


def command(*words):
    return CliRunner().invoke(app, list(words))


def test_both_are_the_gaussians_denoiser():
    exact = load_denoiser({"kind": "gaussian", "std": 0.5, "shape": [1, 2, 2]})
    x = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for spec in (NOISE, FLOW):
        denoiser = load_denoiser(spec, dtype="float64", allow_code=True)
        sigma = denoiser.round_sigma(torch.tensor(1.3, dtype=torch.float64))
        assert torch.allclose(denoiser(x, sigma), exact(x, sigma), atol=1e-12)
        harness.check_denoiser(denoiser)


def test_a_grid_runs_in_worker_processes_and_resumes(folder):
    assert command("plan", "own.yaml").exit_code == 0  # without permission: it runs no code
    refused = command("run", "own.yaml")
    assert refused.exit_code == 2 and "--allow-code" in refused.output and not (folder / "results" / "files").exists()
    ran = command("run", "own.yaml", "--allow-code")
    assert ran.exit_code == 0 and "4 of 4 trials done, 0 failed" in ran.output
    again = command("run", "own.yaml")  # nothing is missing, so no code is run
    assert again.exit_code == 0 and "0 chunks and 0 network evaluations" in again.output
    assert command("report", "own").exit_code == 0
    table = harness.results(grid="own")
    flow = table[table["panel"] == "flow"].set_index("nfe")["value"]
    assert flow[15] < flow[7]


def test_a_changed_line_is_another_trial(folder):
    before = [item.trial.fingerprint for item in plan("own.yaml").items]
    (folder / "nets_of_mine.py").write_text(NETS + "# one line more\n")
    after = [item.trial.fingerprint for item in plan("own.yaml").items]
    assert set(before).isdisjoint(after)


def test_a_search_and_a_sheet():
    spec = json.dumps(FLOW)
    words = ("search", "--target", "deterministic", "--denoiser", spec, "--metric", "end-point-error", "--nfe", "7")
    more = ("--budget", "2", "--samples", "16", "--top", "1", "--executor", "inline")
    refused = command(*words, *more)
    assert refused.exit_code == 2 and "--allow-code" in refused.output
    assert command(*words, *more, "--allow-code").exit_code == 0
    sheet = ("sample", spec, "-o", "sheet.png", "--seeds", "0-3")
    assert command(*sheet).exit_code == 2
    drawn = command(*sheet, "--allow-code")
    assert drawn.exit_code == 0, drawn.output


def test_a_grid_cannot_permit_itself(folder):
    (folder / "own.yaml").write_text(GRID + "allow_code: true\n")
    told = command("run", "own.yaml")
    assert told.exit_code == 2 and "allow_code" in told.output


def test_weights_are_part_of_the_identity_and_given_to_the_factory(folder):
    spec = NOISE | {"factory": "nets_of_mine:make_mean", "predicts": "image", "weights": "mean.txt"}
    del spec["betas"]
    (folder / "mean.txt").write_text("0.5")
    before = describe(spec).identity
    assert float(load_denoiser(spec, allow_code=True)(torch.zeros(1, 1, 2, 2), torch.tensor(1.0)).mean()) == 0.5
    (folder / "mean.txt").write_text("0.25")
    assert describe(spec).identity != before
    (folder / "moved.txt").write_text("0.5")
    assert describe(spec | {"weights": ["moved.txt"]}).identity == before


def test_values_that_change_the_numbers_are_another_identity():
    known = describe(NOISE).identity
    for change in ({"args": {"std": 0.6}}, {"betas": "scaled_linear"}, {"cost": 2}, {"predicts": "v"}):
        assert describe(NOISE | change).identity != known
    assert describe(NOISE | {"betas": {"schedule": "linear"}}).identity == known


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("make_batch_mean", "breaks a promise of denoisers: a row must not depend on the other rows"),
        ("make_wide", "gives a tensor of the shape of x"),
        ("make_one_argument", r"called as f\(x, t\)"),
        ("make_error", "cannot make its network: RuntimeError: no such weights"),
        ("make_failing", "fails when it is called: RuntimeError: mat1 and mat2"),
        ("make_distilled", "consistency"),
        ("NOT_A_FACTORY", "is no function that makes a network; it is a int"),
        ("make_number", r"returns int; a factory returns a module or a function, called as f\(x, t\) or f\(x, t, cond"),
        ("nothing_of_this_name", "has no 'nothing_of_this_name'"),
    ],
)
def test_networks_that_are_none(factory, told):
    spec = {"kind": "python", "factory": f"nets_of_mine:{factory}", "predicts": "image", "shape": [1, 2, 2]}
    from harness.core.code import code_allowed

    with code_allowed(), pytest.raises(InputError, match=told):
        check_own(spec, "cpu")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"predicts": "epsilon"}, "unknown kind 'epsilon'"),
        ({"factory": "missing.py:make"}, "no such file"),
        ({"betas": [0.02, 0.01]}, "fall"),
        ({"betas": {"schedule": "linear", "start": 0.02, "end": 0.0001}}, "do not fall"),
        ({"betas": {"schedule": "squaredcos", "end": 0.01}}, "of its own"),
        ({"classes": "index"}, "give label_dim"),
        ({"weights": "nowhere.pt"}, "cannot read the file"),
        ({"time_scale": 2}, "time_scale"),
        ({"speed": 1}, "speed"),
    ],
)
def test_specs_that_say_too_little(change, told):
    with pytest.raises(InputError, match=told):
        describe(NOISE | change)


def test_forced_runs_ask_first(folder):
    assert command("run", "own.yaml", "--allow-code").exit_code == 0
    assert command("run", "own.yaml", "--force").exit_code == 2
    assert (harness.results(grid="own")["status"] == "done").all()  # nothing was forgotten


def test_networks_of_ones_own_can_be_guided():
    guided = {"kind": "autoguidance", "denoiser": FLOW, "guide": FLOW | {"args": {"variance": 0.3}}, "weight": 1.2}
    denoiser = load_denoiser(guided | {"guide": FLOW | {"args": {"std": 0.6}}}, allow_code=True)
    assert denoiser(torch.ones(2, 1, 2, 2), torch.tensor(1.0)).shape == (2, 1, 2, 2)
    with pytest.raises(InputError, match="not guided itself"):
        describe({"kind": "autoguidance", "denoiser": guided, "guide": FLOW})
    with pytest.raises(InputError, match="unknown kind 'pythn'") as told:
        describe(guided | {"guide": {"kind": "pythn"}})
    assert "\n" not in str(told.value)


def test_levels_are_found_on_networks_that_were_checked(folder):
    failing = NOISE | {"factory": "nets_of_mine:make_failing", "predicts": "image"}
    del failing["betas"]
    grid = {
        "title": "G",
        "metrics": "end-point-error",
        "samples": 4,
        "steps": [4],
        "denoisers": {"f": {"source": failing}},
    }
    grid["series"] = [{"name": "found", "sampler": {"discretization": "optimized"}}]
    with pytest.raises(InputError, match="fails when it is called"):
        harness.run(grid, allow_code=True, executor="inline")


def test_clipping_needs_data_of_bytes(folder):
    grid = {"title": "G", "metrics": "end-point-error", "samples": 4, "steps": [4]}
    grid |= {"denoisers": {"f": {"source": FLOW | {"data_range": [0, 8]}}}}
    with pytest.raises(InputError, match="clip_denoised clips D"):
        plan(grid | {"series": [{"name": "clipped", "sampler": {"clip_denoised": True}}]})


@pytest.mark.parametrize("args", [{"std": float("inf")}, {"stds": [{"low": float("nan")}]}])
def test_arguments_that_json_has_not_are_refused_in_one_line(args):
    with pytest.raises(InputError, match=r"args: .*not JSON compliant") as error:
        describe(NOISE | {"args": args})
    assert "\n" not in str(error.value)


def test_an_untrained_network_may_say_so():
    from harness.core.code import code_allowed

    spec = {"kind": "python", "factory": "nets_of_mine:make_distilled", "predicts": "image", "shape": [1, 2, 2]}
    with code_allowed():
        check_own(spec | {"check": "interface"}, "cpu")
    assert describe(spec | {"check": "interface"}).identity == describe(spec).identity
    assert "check" not in json.loads(describe(spec).identity)


def test_what_a_spec_says_of_the_denoiser():
    denoiser = load_denoiser(FLOW | {"cost": 2, "data_range": [0, 8]}, allow_code=True)
    assert (denoiser.cost, denoiser.data_range) == (2, (0.0, 8.0))
    described = describe(FLOW | {"cost": 2, "data_range": [0, 8]})
    assert (described.cost, described.data_range) == (2, (0.0, 8.0))
