"""Targets: those that come with the package hold samplers alone, the paper's settings among them; wrong files."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import harness
from harness.cli.main import app
from harness.core import yaml
from harness.core.errors import InputError
from harness.sampling.stochasticity.churn import Churn
from harness.search.plan import SearchRequest, plan_search
from harness.search.targets import load_target, target_names
from harness.search.validate import RandomChooser

WRONG = sorted((Path(__file__).parent / "wrong").glob("*.yaml"))
SIZES = {"stochastic": 7161, "deterministic": 2278, "levels": 243, "guidance": 168, "full": 5226}
"""Points of each target's declared grid, as docs/search.md states them."""


@pytest.fixture(scope="module", params=target_names())
def planned(request):
    return plan_search(SearchRequest(target=request.param))


def test_the_targets():
    assert set(target_names()) == set(SIZES)


def test_every_point_makes_a_sampler_within_the_budget(planned):
    spent = set()
    for seed in range(60):
        setting = planned.candidate(planned.space.draw(RandomChooser(seed)))
        spent.add(setting.nfe)
        assert planned.nfe - 4 < setting.nfe <= planned.nfe  # one more step would take too many
        noise = setting.trial.sampler.stochasticity
        assert not isinstance(noise, Churn) or noise.S_tmin <= noise.S_tmax
        sigmas = getattr(setting.trial.sampler.discretization, "sigmas", (2, 1))
        assert list(sigmas) == sorted(set(sigmas), reverse=True)
    assert planned.nfe in spent


def test_the_declared_grid_has_as_many_points_as_documented(planned):
    name = planned.spec["target"]
    assert sum(1 for _ in planned.space.grid()) == SIZES[name]
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    assert f"{SIZES[name]:,}" in text


def test_known_settings_are_in_the_space_and_allowed(planned):
    assert planned.notes == ()
    assert len(planned.enqueued) == len(planned.target.enqueue)
    outside = [start.setting.name for start in planned.enqueued if start.point is None]
    assert outside in ([], ["Deterministic"], ["RK2 with alpha 1.1 (Karras et al. 2022, Appendix D.2)"])
    assert planned.enqueued[0].setting.role == "baseline"


@pytest.mark.parametrize("name", ["stochastic", "full"])
def test_the_papers_settings_are_those_of_its_table_5(name):
    families = {"cifar10_vp": "vp", "cifar10_ve": "ve", "imagenet64_adm": "iddpm", "imagenet64_edm": "edm"}
    _, target, _ = load_target(name)
    found = {
        known.families[0]: {key: value for key, value in known.sampler["stochasticity"].items() if key != "kind"}
        for known in target.enqueue
        if known.role == "paper"
    }
    table = yaml.load(Path(harness.__file__).with_name("core") / "published.yaml").data["table5"]
    assert found == {family: table[key] for key, family in families.items()}


def test_the_baseline_is_the_papers_sampler(planned):
    from harness.sampling.sampler import Sampler

    sampler = planned.enqueued[0].candidate.trial.sampler
    assert sampler.model_copy(update={"steps": 18}) == Sampler()


def test_guidance_takes_a_denoiser_with_classes():
    assert plan_search(SearchRequest(target="guidance")).spec["denoiser"] == "digits-adm"
    with pytest.raises(InputError, match=r"needs a class-conditional denoiser.*such as --denoiser digits-adm"):
        plan_search(SearchRequest(target="guidance", denoiser={"kind": "gaussian", "shape": [1, 8, 8]}))
    with pytest.raises(InputError, match=r"--label: classifier-free guidance leads towards a class; leave labels out"):
        plan_search(SearchRequest(target="guidance", labels="unconditional"))


def test_an_unknown_target_names_those_there_are(tmp_path):
    with pytest.raises(InputError, match=r"unknown target 'x'; known: deterministic, full, guidance, levels, stoch"):
        load_target("x")
    with pytest.raises(InputError, match="unknown target"):
        load_target(str(tmp_path / "missing.yaml"))


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_one_clear_message(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line, message = re.match(r"# line (\d+): (.*)", path.read_text().splitlines()[0]).groups()
    done = CliRunner().invoke(app, ["search", "--target", str(path)])
    assert done.exit_code == 2
    assert f"{path}:{line}: " in done.stderr.replace("\n", "")
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.output + done.stderr
    assert not list(tmp_path.iterdir())


def test_there_are_wrong_files():
    assert len(WRONG) >= 12
