"""Whole studies over a made-up metric: budgets, resuming, order of arrival, failures, and the winner's curse."""

import html
import re

import pytest

from harness.cli.search_terminal import result_lines
from harness.core.errors import InputError, RunError
from harness.execution.scheduler import Completed
from harness.execution.worker import ChunkFailure
from harness.report.pages.search import render_search
from harness.search import holdout
from harness.search import loop as searching
from harness.store.database import Store
from harness.store.studies import DONE, FAILED, PRUNED, Studies
from tests.search.runs import check
from tests.search.synthetic import SPACE, SyntheticMetric, conduct, install, planned

KEPT = ("number", "status", "origin", "params", "settings", "fingerprint", "nfe", "twin", "rival", "rungs", "value")


def told(rows):
    return [{key: row[key] for key in KEPT} for _, row in sorted(rows.items())]


@pytest.fixture
def metric(monkeypatch):
    found = SyntheticMetric()
    install(monkeypatch, found)
    return found


def test_fresh_seeds_change_the_ranking(metric, tmp_path):
    """The best on the search's seeds owes something to luck, and another setting is better on fresh ones."""
    search = planned(tmp_path, method="random", pruner="none", top=5)
    outcome = conduct(search, tmp_path, 40)
    with Store(str(tmp_path / "store.sqlite")) as store:
        row = Studies(store).find(search.name)
        tops = [final for final in row["finals"] if final["role"] == "top"]
        results = {found["fingerprint"]: found for found in store.results() if found["first_seed"] == 1_000_000}
        lines = result_lines(search, outcome, store)
        page = html.unescape(render_search(store, search.name))
    assert [final["rank"] for final in tops] == [1, 2, 3, 4, 5]
    during = [final["search"]["value"] for final in tops]
    after = [results[final["fingerprint"]]["value"] for final in tops]
    assert during == sorted(during)
    assert after != sorted(after)
    best = min(range(5), key=lambda at: after[at])
    assert best != 0
    assert after[0] - during[0] > 0  # the winner looked better than it is
    assert any(f"best on fresh seeds: {tops[best]['label']}" in line for line in lines)
    assert any("against Heun" in line for line in lines)
    assert f"Of 6 settings measured again on fresh seeds, {tops[best]['label']} has the lowest" in page
    assert re.search(
        rf"The ranking changed on fresh seeds: \d of 6 settings have another place, and {tops[0]['label']}", page
    )
    moved = re.search(r"Its value went from ([−\d.]+) on the search seeds to ([−\d.]+) on fresh ones", page)
    assert [float(number.replace("−", "-")) for number in moved.groups()] == pytest.approx(
        [during[0], after[0]], rel=0.01
    )


@pytest.mark.parametrize(
    "pruner", ["paired", *(pytest.param(name, marks=pytest.mark.slow) for name in ("halving", "none"))]
)
def test_the_order_in_which_trials_end_changes_nothing(pruner, metric, tmp_path, monkeypatch):
    search = planned(tmp_path, pruner=pruner)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = conduct(search, tmp_path / "a", 25)
    install(monkeypatch, metric, reverse=True)
    assert told(conduct(search, tmp_path / "b", 25).rows) == told(first.rows)
    statuses = {row["status"] for row in first.rows.values()}
    assert statuses == ({DONE} if pruner == "none" else {DONE, PRUNED})


def test_a_study_goes_on_where_it_ended(metric, tmp_path):
    search = planned(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = conduct(search, tmp_path / "a", 24)
    for budget in (7, 15, 24):
        parts = conduct(search, tmp_path / "b", budget)
        assert len(parts.rows) == budget
    assert told(parts.rows) == told(whole.rows)
    assert parts.evaluations == whole.evaluations
    metric.sampled.clear()
    again = conduct(search, tmp_path / "b", 24)
    assert (metric.sampled, told(again.rows)) == ([], told(whole.rows))


def test_a_budget_below_what_was_spent_runs_nothing(metric, tmp_path):
    search = planned(tmp_path)
    conduct(search, tmp_path, 10)
    metric.sampled.clear()
    outcome = conduct(search, tmp_path, 5)
    assert outcome.note == "the budget of 5 trials is below the 10 that this study has begun; nothing was run"
    assert (metric.sampled, len(outcome.rows)) == ([], 10)
    outcome = conduct(search, tmp_path, evals=10)
    assert "the budget of 10 evaluations is below the" in outcome.note


def test_evaluations_are_a_budget(metric, tmp_path):
    outcome = conduct(planned(tmp_path), tmp_path, evals=5000)
    assert 5000 - 2 * 9 * 64 < outcome.evaluations <= 5000


def test_another_search_under_the_name_is_refused(metric, tmp_path):
    conduct(planned(tmp_path, study="mine"), tmp_path, 6)
    for other, what in (
        (planned(tmp_path, SPACE.replace("high: 12", "high: 14"), study="mine"), "space is"),
        (planned(tmp_path, study="mine", denoiser="digits-ve"), "denoiser is digits-vp there and digits-ve here"),
        (planned(tmp_path, study="mine", samples=32), "samples is 64 there and 32 here"),
    ):
        with pytest.raises(InputError, match=f"study 'mine' is another search: .*{what}"):
            conduct(other, tmp_path, 9)
    with Store(str(tmp_path / "store.sqlite")) as store:
        assert len(Studies(store).slots("mine")) == 6


def test_failed_trials_count_and_the_search_goes_on(monkeypatch, tmp_path):
    install(monkeypatch, SyntheticMetric(fails=lambda sampler: sampler.discretization.rho > 8))
    rows = conduct(planned(tmp_path, method="random"), tmp_path, 20).rows
    failed = [row for row in rows.values() if row["status"] == FAILED]
    assert failed
    assert len(rows) == 20
    assert all((row["reason"], row["step"]) == ("the state is not finite", 3) for row in failed)


def test_a_failure_of_the_machine_stops_a_search_and_leaves_no_trace(monkeypatch, tmp_path):
    """Later trials would be chosen by what says nothing of this one; with the machine mended the study goes on."""
    with monkeypatch.context() as broken:
        install(broken, SyntheticMetric())
        gone = [Completed(1, ChunkFailure("the worker process died", is_transient=True))]
        broken.setattr(searching.SeedBlocks, "lacking", lambda *_: gone)
        with pytest.raises(RunError, match=r"^trial no. 1: the worker process died; mend that and give"):
            conduct(planned(tmp_path, method="random"), tmp_path, 20)
    with Store(str(tmp_path / "store.sqlite")) as store:
        (name,) = Studies(store).names()
        assert FAILED not in {row["status"] for row in Studies(store).slots(name)}
    install(monkeypatch, SyntheticMetric())
    rows = conduct(planned(tmp_path, method="random"), tmp_path, 20).rows
    assert len(rows) == 20 and FAILED not in {row["status"] for row in rows.values()}


def test_repeats_cost_nothing(metric, tmp_path):
    rows = conduct(planned(tmp_path, method="random", on_grid=True), tmp_path, 60).rows
    twins = [row for row in rows.values() if row["twin"] is not None]
    assert twins  # 60 draws from 33 points
    for row in twins:
        first = rows[row["twin"]]
        assert first["twin"] is None
        assert (row["value"], row["status"], row["evaluations"]) == (first["value"], first["status"], 0)


def test_a_grid_is_searched_once(metric, tmp_path):
    search = planned(tmp_path, method="grid", pruner="none")
    rows = conduct(search, tmp_path).rows
    assert len(rows) == len(search.points) + 1 == 33
    assert len({row["fingerprint"] for row in rows.values()}) == 33
    best = min(rows.values(), key=lambda row: row["value"])
    assert 2 < best["settings"]["rho"] < 9
    assert told(conduct(search, tmp_path, 500).rows) == told(rows)


def test_pruning_saves_evaluations(metric, tmp_path):
    cost = {}
    for pruner in ("none", "halving"):
        (tmp_path / pruner).mkdir()
        cost[pruner] = conduct(planned(tmp_path, pruner=pruner), tmp_path / pruner, 40).evaluations
    assert cost["none"] == 40 * 9 * 64
    assert cost["halving"] < 0.75 * cost["none"]


def test_finals_are_the_best_and_the_baseline(metric, tmp_path):
    search = planned(tmp_path, top=2)
    rows = conduct(search, tmp_path, 12).rows
    chosen = holdout.finals(search, rows)
    assert [one["role"] for one in chosen] == ["top", "top", "baseline"]
    assert chosen[2]["label"] == "Heun"


def test_points_that_make_no_sampler_are_failed_trials(metric, tmp_path):
    """In the store, in Optuna's tables, and the search goes on; the folder's name is none of Optuna's business."""
    space = SPACE.replace("rho:", "sigma_min: {low: 1, high: 60, log: true}\n    rho:")
    folder = tmp_path / "{of braces}"
    folder.mkdir()
    rows = conduct(planned(tmp_path, space, method="random"), folder, 30).rows
    failed = [row for row in rows.values() if row["status"] == FAILED]
    assert 0 < len(failed) < 30
    assert all("sigma_min" in row["reason"] and row["finished_at"] for row in failed)
    with Store(str(folder / "store.sqlite")) as store:
        check(store, 30, "synthetic_digits-vp_nfe9_random")


def test_a_budget_of_evaluations_ends_where_nothing_more_is_to_be_found(metric, tmp_path, monkeypatch):
    """33 points are soon drawn, and repeats cost nothing."""
    monkeypatch.setattr(searching, "FREE", 10)
    search = planned(tmp_path, method="random", on_grid=True, pruner="none", ahead=1)
    rows = conduct(search, tmp_path, evals=10**9).rows
    assert all(row["twin"] is not None for row in list(rows.values())[-10:])
    assert rows[len(rows) - 11]["twin"] is None
    assert told(conduct(search, tmp_path, evals=10**9).rows) == told(rows)


def test_a_budget_that_no_trial_fits_is_refused(metric, tmp_path):
    with pytest.raises(InputError, match=r"--evals 575 is too few for one trial, which may take 576 \(NFE 9 times 64"):
        conduct(planned(tmp_path), tmp_path, evals=575)
    with Store(str(tmp_path / "store.sqlite")) as store:
        assert Studies(store).names() == []
    assert len(conduct(planned(tmp_path), tmp_path, evals=576).rows) == 1
