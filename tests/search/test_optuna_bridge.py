"""Suggestions follow from the study alone: not from the speed of trials, nor from how often it was stopped."""

import ast
import re
from pathlib import Path

import pytest

from harness.core.errors import RunError
from harness.search.optuna_bridge import Suggester, value_of
from harness.search.plan import METHODS, SearchRequest, plan_search
from harness.store.studies import DONE, FAILED, PRUNED, RUNNING

NUMBERS = """
title: Numbers
nfe: 9
sampler:
  discretization:
    kind: edm
    rho: {low: 2, high: 12, values: [2, 5, 8, 12]}
    sigma_max: {low: 20, high: 80, log: true, values: [20, 40, 80]}
    sigma_min: {low: 0.002, high: 0.1, log: true, values: [0.002, 0.05]}
enqueue:
  - {name: Heun, role: baseline, sampler: {discretization: edm}}
  - {name: Euler, sampler: {solver: euler, discretization: edm}}
"""
CHOICES = NUMBERS.replace(
    "sampler:\n", "sampler:\n  solver: {choices: [heun, {kind: dpm_2, r: {values: [0.4, 0.8]}}]}\n", 1
)
SPACES = {"numbers": NUMBERS, "choices": CHOICES}
CASES = [(method, space) for method in METHODS for space in SPACES if (method, space) != ("cmaes", "choices")]


def search_of(folder, method, space, **asked):
    path = folder / f"{space}.yaml"
    path.write_text(SPACES[space])
    return plan_search(SearchRequest(target=str(path), method=method, metric="end-point-error", samples=64, **asked))


def begun(search, number, suggester, rows):
    """The row of a trial as it begins."""
    enqueued = search.enqueued
    origin = enqueued[number].setting.name if number < len(enqueued) else "suggested"
    point = enqueued[number].point if number < len(enqueued) else suggester.ask(rows, number)
    hidden = point is None or (search.points is not None and number < len(enqueued))
    return {
        "number": number,
        "status": RUNNING,
        "origin": origin,
        "params": None if hidden else point.coordinates,
        "settings": None if point is None else point.settings,
        "nfe": 9,
        "rival": None,
        "rungs": [],
        "value": None,
    }


def settled(row):
    """What becomes of a trial: a bowl in its numbers; every fifth fails, every fourth is pruned."""
    settings = row["settings"] or {"rho": 7.0, "sigma_max": 80.0}
    value = (settings["rho"] - 5) ** 2 + abs(settings["sigma_max"] - 40) / 40 + ("dpm_2" in settings.values())
    number = row["number"]
    if number % 5 == 4:
        return {**row, "status": FAILED}
    if number % 4 == 3:
        rung = {"n": 16, "value": 2 * value, "difference": {"estimate": value - 3}}
        return {**row, "status": PRUNED, "rival": 0, "rungs": [rung], "value": 2 * value}
    return {**row, "status": DONE, "value": value}


def study(search, count, stops=(), early=False):
    """A study of so many trials, in processes that end where `stops` says; rows settle early, or as late as may be."""
    rows, suggester, ahead = {}, Suggester(search), search.spec["ahead"]
    for number in range(count):
        if number in stops:
            suggester = Suggester(search)
        last = number - 1 if early else number - ahead
        for known in range(max(last + 1, 0)):
            if rows[known]["status"] == RUNNING:
                rows[known] = settled(rows[known])
        rows[number] = begun(search, number, suggester, rows)
        if number < len(search.enqueued):
            suggester.enqueue(rows, number)
    return [row["params"] for row in rows.values()]


@pytest.mark.parametrize(("method", "space"), CASES)
def test_the_same_study_suggests_the_same(method, space, tmp_path):
    search = search_of(tmp_path, method, space)
    count = 18 if method == "gp" else 26
    late = study(search, count)
    assert study(search, count, early=True) == late  # the speed of trials does not matter
    assert study(search, count, stops=(3, 9, 17)) == late  # nor does stopping
    assert study(search, count, stops=range(count), early=True) == late


@pytest.mark.parametrize("method", ["tpe", "grid", "random", "qmc"])
def test_another_seed_suggests_otherwise(method, tmp_path):
    one, other = (study(search_of(tmp_path, method, "choices", seed=seed), 12) for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize("space", SPACES)
def test_a_grid_visits_every_point_once(space, tmp_path):
    search = search_of(tmp_path, "grid", space)
    points = len(search.points)
    found = study(search, len(search.enqueued) + points, stops=(9,))[len(search.enqueued) :]
    assert sorted(params["point"] for params in found) == list(range(points))
    assert points == {"numbers": 24, "choices": 24 * 3}[space]


@pytest.mark.parametrize("method", ["random", "qmc", "tpe"])
def test_the_first_suggestions_differ(method, tmp_path):
    """Also of methods that learn their space from the first finished trial."""
    found = study(search_of(tmp_path, method, "choices"), 14)[2:]
    assert len({str(params) for params in found}) == len(found)
    assert len({params["solver"] for params in found}) == 2


def test_tpe_comes_to_prefer_the_good(tmp_path):
    search = search_of(tmp_path, "tpe", "numbers")
    found = [params["rho"] for params in study(search, 50) if params]
    assert sum(abs(rho - 5) < 1.5 for rho in found[-15:]) > sum(abs(rho - 5) < 1.5 for rho in found[1:16])


def test_a_pruned_trial_is_told_by_its_rival_and_the_difference():
    rows = {0: {"status": DONE, "value": 2.0}}
    pruned = {"status": PRUNED, "rival": 0, "value": 9.0, "rungs": [{"n": 16, "difference": {"estimate": 0.5}}]}
    assert value_of(rows[0], rows) == 2.0
    assert value_of(pruned, rows) == 2.5
    assert value_of(pruned | {"rival": None}, rows) is None
    assert value_of(pruned | {"rungs": [{"n": 16, "difference": None}]}, rows) is None
    assert value_of({"status": FAILED, "value": None}, rows) is None


def test_what_is_told_of_a_pruned_trial_is_that_estimate(tmp_path):
    search = search_of(tmp_path, "tpe", "numbers")
    suggester, rows = Suggester(search), {}
    for number in range(9):
        for known in range(max(number - 3, 0)):
            rows[known] = settled(rows[known]) if rows[known]["status"] == RUNNING else rows[known]
        rows[number] = begun(search, number, suggester, rows)
        if number < 2:
            suggester.enqueue(rows, number)
    told = suggester.study.get_trials(deepcopy=False)[suggester.numbers[3]]
    assert rows[3]["status"] == PRUNED
    assert told.value == pytest.approx(rows[0]["value"] + rows[3]["rungs"][-1]["difference"]["estimate"])


def test_a_study_of_other_suggestions_is_not_gone_on_with(tmp_path):
    search = search_of(tmp_path, "qmc", "numbers")
    rows, suggester = {}, Suggester(search)
    for number in range(4):
        rows[number] = begun(search, number, suggester, rows)
        if number < 2:
            suggester.enqueue(rows, number)
    rows[3] = {**rows[3], "params": {**rows[3]["params"], "rho": 3.25}}
    with pytest.raises(RunError, match=r"trial 3 of this study would be suggested otherwise now; .*--study"):
        Suggester(search).ask(rows, 4)


def test_two_objectives(tmp_path):
    search = search_of(tmp_path, "nsga2", "numbers", pareto=True)
    found = study(search, 24)
    assert study(search, 24, stops=(7, 20), early=True) == found
    assert len({params["nfe"] for params in found if params}) > 1


def private_uses(source):
    """Private names that a module which imports Optuna uses of others: in its imports, and as attributes."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [[getattr(node, "module", None) or "", *(name.name for name in node.names)] for node in imports]
    used = [".".join(names) for names in modules if any(name.split(".")[0] == "optuna" for name in names)]
    if not used:
        return []
    attributes = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    found = [name for name in [*used, *attributes] if any(part.startswith("_") for part in name.split("."))]
    public = ("_replace", "_asdict", "_fields", "_make")  # of named tuples
    found = [name for name in found if name not in public and not (name.startswith("__") and name.endswith("__"))]
    return [*found, *(word for word in words if word.startswith("tpe:"))]


def test_nothing_private_of_optuna_is_used():
    """Its private names may change with any release."""
    root = Path(__file__).parents[2]
    for folder in ("harness", "tests", "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            source = path.read_text()
            assert not re.search(r"study\._storage\b|\btrial\._trial_id\b|[\"']tpe:relative", source), path
            assert "optuna" not in source or private_uses(source) == [], path


@pytest.mark.parametrize("line", ["optuna._warnings.x()", "study._study_id", "f().trial._validate()", "x = 'tpe:0'"])
def test_private_names_are_recognised(line):
    assert len(private_uses(f"import optuna\n{line}")) == 1
    assert private_uses("from optuna.trial._frozen import y") != []
    assert private_uses(line) == []
    assert private_uses("import optuna\nself._x = optuna.Study.__name__") == []
