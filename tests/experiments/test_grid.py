"""From YAML to trials: axes, overrides, budgets, and NFE counted by running."""

import math

import pytest

from harness.core.errors import InputError
from harness.experiments.grid import load_grid
from harness.experiments.grid_files import find_grid, grid_names
from harness.experiments.nfe import count_nfe, steps_for
from harness.experiments.plan import check_before_training, plan
from harness.experiments.trained_networks import needed_trainings
from harness.sampling.discretizations.base import Range
from harness.sampling.sampler import Sampler

GRID = """
title: A grid
samples: 16
nfe: [5, 12]
mosaics: 12
denoisers:
  a: {source: {kind: gaussian, mean: 0.1}, title: First, paper: cifar10_vp}
  b: {source: {kind: gaussian, mean: 0.2}}
series:
  - name: base
    role: baseline
    sampler: {solver: euler}
    per_denoiser:
      a: {discretization: vp, schedule: vp}
      b: {discretization: {kind: ve, sigma_max: 50.0}}
  - name: ours
    role: ours
    only: [b]
"""


@pytest.fixture
def planned(tmp_path):
    def make(text, **options):
        path = tmp_path / "grid.yaml"
        path.write_text(text)
        return plan(path, **options)

    return make


def test_every_combination_becomes_a_trial(planned):
    found = planned(GRID)
    names = [(item.panel, item.series, item.nfe, item.trial.sampler.steps) for item in found.items]
    assert names == [
        ("a", "base", 5, 5), ("a", "base", 12, 12), ("b", "base", 5, 5), ("b", "base", 12, 12),
        ("b", "ours", 5, 3), ("b", "ours", 11, 6),
    ]  # fmt: skip
    assert [item.mosaic for item in found.items] == [False, True] * 3
    a, b = found.items[0].trial.sampler, found.items[2].trial.sampler
    assert (a.discretization.kind, a.schedule.kind) == ("vp", "vp")
    assert (b.discretization.sigma_max, b.schedule.kind) == (50.0, "linear")
    assert len({item.trial.fingerprint for item in found.items}) == 6


def test_samples_may_be_given(planned):
    assert planned(GRID, samples=99).grid.samples == 99
    with pytest.raises(InputError, match="at least 2"):
        planned(GRID, samples=1)


def test_a_list_in_a_sampler_is_an_axis(planned):
    text = """
title: Axes
steps: 8
denoisers: [ideal]
series:
  - name: churn
    sampler:
      solver: [euler, {kind: rk2, alpha: 0.5}]
      stochasticity: {kind: churn, S_churn: [0, 2.5], S_tmax: 1}
"""
    found = planned(text)
    assert [note["name"] for note in found.series] == [
        "churn, solver euler, S_churn 0",
        "churn, solver euler, S_churn 2.5",
        "churn, solver rk2 alpha 0.5, S_churn 0",
        "churn, solver rk2 alpha 0.5, S_churn 2.5",
    ]
    assert [item.trial.sampler.stochasticity.S_churn for item in found.items] == [0, 2.5, 0, 2.5]


SAME_NAMES = {
    "of two series": """
  - {name: Heun, sampler: {discretization: {kind: edm, rho: [3, 5]}}}
  - {name: "Heun, rho 5", sampler: {solver: euler}}""",
    "of two series on two denoisers": """
  - {name: Heun, only: [a], sampler: {discretization: {kind: edm, rho: [3, 5]}}}
  - {name: "Heun, rho 5", only: [b], sampler: {solver: euler}}""",
    "by budgets": """
  - {name: Heun, nfe: [3, 5], sampler: {stochasticity: {kind: churn, S_churn: 5}}}
  - {name: "Heun, NFE 5", sampler: {solver: euler, stochasticity: {kind: churn, S_churn: 6}}}""",
    "of values that are written alike": """
  - {name: Heun, sampler: {solver: [heun, {kind: heun}]}}""",
}


@pytest.mark.parametrize("series", SAME_NAMES.values(), ids=list(SAME_NAMES))
def test_two_curves_of_one_name_are_refused(planned, series):
    along = "x: stochasticity.S_churn" if "churn" in series else ""
    text = f"title: Names\nsamples: 4\nnfe: 9\n{along}\n"
    text += "denoisers:\n  a: {source: {kind: gaussian}}\n  b: {source: {kind: gaussian, mean: 0.2}}\nseries:" + series
    with pytest.raises(InputError, match=r"grid\.yaml:\d+: .*two curves would be called 'Heun.*'; rename a series"):
        planned(text)


def test_a_curve_has_one_name_on_every_denoiser(planned):
    """Also where the denoisers have other lists."""
    found = planned(
        "title: Names\nnfe: 5\ndenoisers:\n  a: {source: {kind: gaussian}}\n"
        "  b: {source: {kind: gaussian, mean: 0.2}}\nseries:\n  - name: Heun\n    per_denoiser:\n"
        "      a: {discretization: {kind: edm, rho: [3, 5]}}\n"
        "      b: {discretization: {kind: edm, rho: [5, 7]}}\n"
    )
    assert [item.series for item in found.items] == ["Heun, rho 3", "Heun, rho 5", "Heun, rho 5", "Heun, rho 7"]


def test_a_list_with_a_wrong_value_names_its_line(planned):
    text = (
        "title: t\nsteps: 4\ndenoisers: [ideal]\nseries:\n  - name: s\n    sampler:\n      schedule: [linear, cosine]\n"
    )
    with pytest.raises(InputError, match=r"grid\.yaml:7: series\.0\.sampler\.schedule: unknown kind 'cosine'"):
        planned(text)


def test_without_a_budget_the_samplers_own_steps_stand(planned):
    text = "title: t\ndenoisers: [ideal]\nseries:\n  - name: s\n    sampler: {steps: 7}\n  - name: d\n    nfe: 9\n"
    assert [(item.trial.sampler.steps, item.nfe) for item in planned(text).items] == [(7, 13), (5, 9)]


MINE = [path for name, path in grid_names().items() if not name.startswith("official/")]
TRAINED_FIRST = [path for path in MINE if load_grid(path)[0].training]


@pytest.mark.parametrize("path", TRAINED_FIRST, ids=lambda path: path.stem)
def test_grids_whose_networks_are_trained_first_are_whole(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = check_before_training(path)
    assert len(needed_trainings(table)) == len(table.rows) * len(table.columns) * 3
    with pytest.raises(InputError, match="trainings are not done yet"):
        plan(path)


@pytest.mark.parametrize("path", [path for path in MINE if path not in TRAINED_FIRST], ids=lambda path: path.stem)
def test_the_grids_that_come_with_the_package_can_be_planned(path):
    found = plan(path)
    assert found.items
    assert all(found.asked_of(metric) for metric in found.grid.metrics)
    assert found.grid.description


def test_the_figure_two_grid_is_the_papers():
    found = plan(find_grid("fig2_all_curves"))
    assert find_grid("grids/fig2_all_curves.yaml").name == "fig2_all_curves.yaml"
    first = {item.panel: item.trial.sampler for item in found.items if item.series == "Original choices"}
    axes = {name: (s.solver.kind, s.discretization.kind, s.schedule.kind, s.scaling.kind) for name, s in first.items()}
    assert axes == {
        "digits-vp-64k": ("euler", "vp", "vp", "vp"),
        "digits-ve-64k": ("euler", "ve", "ve", "none"),
        "digits-adm-64k": ("euler", "iddpm", "linear", "none"),
    }
    demo = {item.trial.fingerprint for item in plan(find_grid("fig2_deterministic")).items if item.panel != "digits-vp"}
    assert demo <= {item.trial.fingerprint for item in found.items}


def test_names_of_grids_are_different_without_their_folders():
    stems = [path.stem for path in grid_names().values()]
    assert len(set(stems)) == len(stems)
    assert find_grid("mixture") == find_grid("claims/mixture") == grid_names()["claims/mixture"]


@pytest.mark.parametrize(("solver", "nfe"), [("euler", 18), ("heun", 35)])
def test_nfe_is_counted(solver, nfe):
    assert count_nfe(Sampler.model_validate({"solver": solver}), 0.0, math.inf) == nfe


@pytest.mark.parametrize("solver", ["euler", "heun", {"kind": "rk2", "alpha": 0.5}])
@pytest.mark.parametrize("nfe", [1, 2, 3, 8, 35, 100])
def test_budgets_are_filled_and_never_exceeded(solver, nfe):
    chosen = steps_for(nfe, Sampler.model_validate({"solver": solver}), 0.0, math.inf)
    one_more = chosen.model_copy(update={"steps": chosen.steps + 1})
    assert count_nfe(chosen, 0.0, math.inf) <= nfe < count_nfe(one_more, 0.0, math.inf)


def test_a_denoiser_that_costs_two():
    chosen = steps_for(10, Sampler(), 0.0, math.inf, cost=2)
    assert chosen.steps == 3  # 5 evaluations, each counted twice
    with pytest.raises(InputError, match="at least 2"):
        steps_for(1, Sampler(), 0.0, math.inf, cost=2)


def test_a_budget_stops_at_the_last_level():
    sampler = Sampler.model_validate({"solver": "euler", "discretization": {"kind": "iddpm", "M": 20}})
    assert steps_for(500, sampler, 0.0, math.inf).steps < 21


def test_a_second_stage_that_needs_short_steps():
    """With alpha above 1, few steps are refused and more are not."""
    sampler = Sampler.model_validate({"solver": {"kind": "rk2", "alpha": 1.3}})
    assert steps_for(63, sampler, 0.0, math.inf).steps == 32
    with pytest.raises(InputError, match="step 1 of 2: the solver evaluates at t = -"):
        steps_for(11, sampler, 0.0, math.inf)


CURVES = """
title: Curves along something
nfe: [5, 9]
x: {x}
denoisers: [ideal]
series:
  - name: churned
    sampler: {{stochasticity: {{kind: churn, S_churn: [0, 5], S_noise: [1.0, 1.01]}}}}
  - name: plain
"""


def test_a_list_on_the_horizontal_axis_is_the_points_of_a_curve(planned):
    found = planned(CURVES.format(x="stochasticity.S_churn"))
    names = list(dict.fromkeys(item.series for item in found.items))
    assert names == [
        "churned, S_noise 1.0, NFE 5",
        "churned, S_noise 1.0, NFE 9",
        "churned, S_noise 1.01, NFE 5",
        "churned, S_noise 1.01, NFE 9",
        "plain, NFE 5",
        "plain, NFE 9",
    ]
    assert [item.x for item in found.items if item.series == names[1]] == [0.0, 5.0]
    assert {item.x for item in found.items if item.base == "plain"} == {None}
    assert {item.base for item in found.items} == {"churned", "plain"}


def test_against_nfe_lists_are_curves_of_their_own(planned):
    found = planned(CURVES.format(x="nfe"))
    assert len({item.series for item in found.items}) == 5
    assert {item.x for item in found.items} == {None}


def test_an_axis_that_no_sampler_has(planned):
    with pytest.raises(InputError, match=r"grid\.yaml:4: x: no sampler of this grid has a number at 'solver\.rho'"):
        planned(CURVES.format(x="solver.rho"))


ADAPTIVE = """
title: Tolerances
nfe: [5, 9]
denoisers: [ideal]
series:
  - name: heun
  - name: rk45
    along: solver.rtol
    sampler: {solver: {kind: rk45, rtol: [0.1, 0.01, 0.001]}}
"""


def test_tolerances_are_the_points_of_one_curve(planned):
    found = planned(ADAPTIVE)
    chosen = [item for item in found.items if item.series == "rk45"]
    assert [item.trial.sampler.solver.rtol for item in chosen] == [0.1, 0.01, 0.001]
    assert [item.trial.sampler.steps for item in chosen] == [2, 2, 2]
    assert [item.nfe for item in chosen] == sorted(item.nfe for item in chosen)
    with pytest.raises(InputError, match=r"series.1.along: 'solver.atol': the sampler has no list there"):
        planned(ADAPTIVE.replace("solver.rtol", "solver.atol"))


def test_metrics_may_be_a_word_a_mapping_or_a_list(planned):
    base = "title: t\nnfe: 5\ndenoisers: [ideal]\nseries: [{name: s}]\nmetrics: "
    kinds = {
        "fd-digits": ["fd-digits"],
        "{kind: curvature, points: 16}": ["curvature"],
        "[fd-digits, end-point-error]": ["fd-digits", "end-point-error"],
    }
    for text, names in kinds.items():
        assert [metric.name for metric in planned(base + text).grid.metrics] == names
    for text, message in (
        ("[]", "at least 1"),
        ("fud", "unknown kind 'fud'"),
        ("fid", "reference: this key is required"),
        ("{kind: curvature, series: [x]}", "metrics.series: metric 'curvature' names 'x'; this grid has: s"),
        ("{kind: curvature, denoisers: [x]}", "metrics.denoisers: metric 'curvature' names 'x'; this grid has: ideal"),
        ("{kind: curvature, pints: 16}", "unknown key"),
    ):
        with pytest.raises(InputError, match=message):
            planned(base + text)


def test_guidance_counts_where_it_is_on(planned):
    text = """
title: t
steps: 10
denoisers:
  guided: {source: {kind: cfg, denoiser: digits-adm, weight: 2, sigma_lo: 0.1, sigma_hi: 5}}
  plain: {source: digits-adm}
series: [{name: s, sampler: {solver: euler}}]
"""
    guided, plain = planned(text).items
    inside = sum(0.1 < sigma <= 5 for sigma in plain.trial.sampler.discretization(10, Range(0.00642, 80.0)).tolist())
    assert (plain.nfe, guided.nfe) == (10, 10 + inside)
    budget = planned(text.replace("steps: 10", "nfe: 15")).items
    assert budget[0].nfe <= 15 < budget[1].nfe + 1


def test_samples_by_metric(tmp_path):
    """The field's 50,000 for FID, fewer where pairs are looked at, and what the grid says before all that."""

    from harness.metrics import FID, KID, EndPointError, FrechetDigits
    from harness.metrics.features.configs import Pixels

    fid, kid = FID(reference="r"), KID(reference="r")
    assert [metric.default_samples(None) for metric in (fid, kid, FrechetDigits(), EndPointError())] == [
        50_000,
        10_000,
        640,
        64,
    ]
    assert FID(reference="r", extractor=Pixels()).default_samples(None) == 640
    assert [metric.default_samples(20_000) for metric in (fid, kid, FrechetDigits())] == [20_000, 10_000, 20_000]
    assert KID(reference="r", samples=30_000).default_samples(100) == 30_000
