"""Planning a search: what follows from what is asked, and every mistake before anything is run."""

import re
from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.search import plan as planning
from harness.search.plan import METHODS, SearchRequest, plan_search

GAUSSIAN = {"kind": "gaussian", "std": 0.5, "shape": [1, 4, 4]}
SMALL = """
title: Small
nfe: 9
sampler:
  discretization: {kind: edm, rho: {low: 3, high: 12, values: [5, 7, 9]}}
  solver: {choices: [heun, euler]}
enqueue:
  - {name: Heun, role: baseline, sampler: {solver: heun, discretization: edm}}
"""


@pytest.fixture
def small(tmp_path):
    return write(tmp_path, SMALL)


def write(folder, text, name="small.yaml"):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_the_line_in_the_title_works_as_it_stands():
    found = plan_search(SearchRequest())
    assert found.name == "stochastic_digits-vp_nfe127"
    assert (found.spec["denoiser"], found.spec["metric"]["kind"], found.nfe) == ("digits-vp", "fd-digits", 127)
    assert (found.samples, found.block, found.rungs) == (512, 32, (128, 256, 512))
    assert found.notes == ()


def test_the_same_question_has_the_same_spec():
    import json

    one, other = (plan_search(SearchRequest(target="deterministic")).spec for _ in range(2))
    assert one == other == json.loads(json.dumps(one))


def test_the_example_in_the_documents(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    example = re.search(r"```yaml\n(title: My solvers.*?)```", text, re.DOTALL).group(1)
    found = plan_search(SearchRequest(target=write(tmp_path, example, "mine.yaml"), method="grid"))
    assert found.name == "mine_digits-vp_nfe35_grid"
    assert found.notes == ()
    assert [start.point is not None for start in found.enqueued] == [False, False]
    churned = 1 + 2 * 3 * 3 * 3 * 3  # gamma 0 is one sampler whatever the window
    assert len(found.points) <= 3 * 3 * 3 * 9 + 3 * 5
    assert len(found.points) > churned // 2


def test_grid_points_are_different_samplers(small):
    found = plan_search(SearchRequest(target=small, method="grid"))
    assert [point.settings for point in found.points] == [
        {"rho": rho, "solver": solver}
        for rho in (5.0, 7.0, 9.0)
        for solver in ("heun", "euler")
        if (rho, solver) != (7.0, "heun")
    ]


def test_a_grid_that_is_too_large(small, monkeypatch):
    monkeypatch.setattr(planning, "MOST_POINTS", 5)
    with pytest.raises(
        InputError, match=r"more than 5 points; declare fewer `values`, or .* --method random --on-grid"
    ):
        plan_search(SearchRequest(target=small, method="grid"))


def test_known_settings_that_do_not_fit_are_left_out_with_a_note(tmp_path):
    unipc = "  - {name: UniPC, sampler: {solver: unipc, discretization: edm}}\n"
    found = plan_search(SearchRequest(target=write(tmp_path, SMALL + unipc), nfe=1))
    assert found.notes == ("'UniPC' is left out: solver 'unipc' needs at least 2 evaluations; nfe 1 is too few",)
    assert len(found.enqueued) == 1


def test_choices_that_a_budget_does_not_allow_have_a_note(tmp_path):
    text = SMALL.replace("[heun, euler]", "[heun, unipc]")
    (note,) = plan_search(SearchRequest(target=write(tmp_path, text), nfe=1)).notes
    assert note.startswith("'unipc' of 'solver' makes no sampler here: solver 'unipc' needs at least 2")


def test_multistep_with_churn_is_refused_where_nothing_else_is_left(tmp_path):
    text = SMALL.replace("[heun, euler]", "[heun, dpmpp_2m]") + "\n"
    text = text.replace("enqueue:", "  stochasticity: {kind: churn, S_churn: {low: 1, high: 9}}\nenqueue:")
    with pytest.raises(InputError, match=r"small\.yaml:\d+: .*'dpmpp_2m' makes no sampler: .*keeps earlier points"):
        plan_search(SearchRequest(target=write(tmp_path, text)))


BAD = [
    ({"method": "anneal"}, r"--method anneal: unknown; known: tpe, grid, random"),
    ({"pruner": "hyperband"}, r"--pruner hyperband: unknown; known: paired, halving, none"),
    ({"nfe": 0}, r"--nfe must be at least 1; we got 0"),
    ({"samples": 1}, r"--samples must be at least 2; we got 1"),
    ({"samples": 3}, r"over 4 blocks of seeds at least, and N is 3; raise --samples, or use --pruner none"),
    ({"ahead": 0}, r"--ahead must be at least 1"),
    ({"top": 0}, r"--top must be at least 1"),
    ({"study": "a/b"}, r"--study takes letters"),
    ({"metric": "fid"}, r"--metric fid: reference: this key is required and missing"),
    ({"metric": "fdd"}, r"--metric fdd: unknown kind 'fdd'"),
    ({"metric": {"kind": "fd-digits", "ranges": 3}}, r"--metric fd-digits: `ranges` is about the trials of a grid"),
    ({"metric": {"kind": "fd-digits", "series": ["a"]}}, r"--metric fd-digits: `series` is about the trials of a grid"),
    ({"proxy": {"kind": "curvature", "denoisers": ["a"]}}, r"--proxy curvature: `denoisers` is about the trials"),
    ({"proxy": "cheap"}, r"--proxy cheap: unknown kind 'cheap'"),
    ({"denoiser": "digits-xx"}, r"digits-xx"),
    ({"rungs": (256, 128, 512)}, r"--rungs rise to N = 512, each once; we got 256, 128, 512"),
    ({"rungs": (128, 256)}, r"--rungs rise to N = 512"),
    ({"rungs": (100, 512)}, r"--rungs are whole blocks of 32 seeds; we got 100"),
    ({"rungs": (64, 512), "pruner": "paired"}, r"nothing below 4 blocks, that is 128 seeds; we got a rung at 64"),
    ({"rungs": (128, 512), "pruner": "none"}, r"--pruner none looks at a trial at its end only; leave --rungs out"),
    (
        {"target": "stochastic", "proxy": "end-point-error"},
        r"no sampler fits this space: .* compares with a converged trajectory, .*'churn' has none",
    ),
    ({"target": "levels", "pareto": True}, r"free levels are as many as the budget has steps"),
    ({"target": "deterministic", "method": "cmaes"}, r"cmaes searches numbers, and this space has choices at method"),
    ({"method": "cmaes", "pareto": True}, r"cmaes has one objective; use nsga2 or tpe with --pareto"),
    ({"pareto": True, "nfe": 5}, r"--pareto searches budgets from 5 evaluations up; raise --nfe 5"),
    ({"labels": 3, "denoiser": GAUSSIAN, "metric": "end-point-error"}, r"--label: class 3 .* no classes"),
    (
        {"denoiser": GAUSSIAN, "dtype": "float32", "metric": "end-point-error"},
        r"this denoiser computes in float64 only",
    ),
    ({"target": "full", "denoiser": GAUSSIAN}, r"no sampler fits this space"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda value: str(value)[:40])
def test_mistakes(changes, message):
    with pytest.raises(InputError, match=message):
        plan_search(SearchRequest(**changes))


def test_an_nfe_that_no_solver_can_meet(tmp_path):
    text = SMALL.replace("[heun, euler]", "[unipc, {kind: lms, order: 3}]")
    with pytest.raises(InputError, match=r"no sampler fits this space: .* none makes one at NFE 1, .*at least 2"):
        plan_search(SearchRequest(target=write(tmp_path, text), nfe=1))


def test_on_grid_needs_values(tmp_path):
    text = SMALL.replace(", values: [5, 7, 9]", "")
    with pytest.raises(InputError, match=r"small\.yaml:5: .*'rho' has no declared `values`"):
        plan_search(SearchRequest(target=write(tmp_path, text), method="grid"))


def test_budgets_of_two_objectives(small):
    found = plan_search(SearchRequest(target=small, nfe=35, pareto=True))
    assert found.is_pareto
    (node,) = [one.node for one in found.space.parameters if one.name == "nfe"]
    assert (node.low, node.high, node.whole) == (5, 35, True)
    assert node.values == (6, 9, 13, 18, 25, 35)
    assert found.enqueued[0].point.settings["nfe"] == 35


@pytest.mark.parametrize("method", [method for method in METHODS if method != "cmaes"])  # which takes no choices
def test_names_of_studies_tell_methods_apart(method, small):
    name = plan_search(SearchRequest(target=small, method=method)).name
    assert name == "small_digits-vp_nfe9" + ("" if method == "tpe" else f"_{method}")


def test_fresh_seeds_are_none_of_the_search():
    with pytest.raises(InputError, match="--samples is at most 1000000, where the fresh seeds"):
        plan_search(SearchRequest(samples=1_000_001))
