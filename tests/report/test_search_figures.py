"""A search's figures: what they draw, and what they refuse to."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from harness.report.figures import history, pareto_front, proxy, slices, svg
from harness.report.figures.contour import contour
from harness.report.figures.importance import Importance, importance
from harness.report.figures.proxy import spearman
from harness.report.holdout import holdout_results
from harness.report.pages.search import render_search
from harness.report.study import load_search, parameters
from harness.report.tables.search import front_table, pruned_table
from harness.report.text.choices import setting_line, setting_text
from harness.report.text.search_summary import cost
from tests.report import search_store
from tests.report.test_page import words

NOTHING = Importance([])
CHOICES = {"low": None, "high": None, "log": False, "values": None}
MIXED = [
    {"name": "solver", "path": "solver", "kind": "choice", "choices": ["euler", "heun", "dpm_2"]} | CHOICES,
    {"name": "steps", "path": "steps", "kind": "number", "low": 4, "high": 80, "log": True, "choices": None},
    {"name": "noise", "path": "stochasticity", "kind": "choice", "choices": ["deterministic", "churn"]} | CHOICES,
    search_store.PARAMETERS[0],
]


def mixed_value(settings):
    value = 1.6 + (100 if settings["solver"] == "euler" else 40) / settings["steps"]
    return value + (3 * (settings["gamma"] - 0.2) ** 2 - 0.05 if "gamma" in settings else 0)


def mixed(count=50):
    """Slots of a search over choices, steps and a parameter that is there with one of the choices only."""
    rng, made = np.random.default_rng(1), []
    for number in range(count):
        settings = {"solver": ["euler", "heun", "dpm_2"][rng.integers(3)], "steps": int(rng.integers(4, 80))}
        settings["noise"] = ["deterministic", "churn"][rng.integers(2)]
        if settings["noise"] == "churn":
            settings["gamma"] = float(rng.uniform(0, 0.41))
        nfe = settings["steps"] if settings["solver"] == "euler" else 2 * settings["steps"] - 1
        made.append(search_store.slot(number, settings, steps=settings["steps"], nfe=nfe))
        made[-1]["fingerprint"] = f"{number:08x}" + made[-1]["fingerprint"][8:]
    search_store.run(made, mixed_value, prune=False)
    return made


def opened(make_search, made, **changes):
    return load_search(make_search(search_store.study(**changes), made), "one")


def test_a_pruned_slot_stands_at_its_rivals_value_plus_the_paired_difference(make_search):
    made = search_store.searched()
    search = opened(make_search, made)
    pruned = [each for each in made if each["status"] == "pruned" and each["twin"] is None]
    assert len(pruned) > 5
    for each in pruned:
        rival, gap = made[each["rival"]]["rungs"][-1]["value"], each["rungs"][-1]["difference"]
        found = history.estimate(search, search.by_number[each["number"]])
        assert found == tuple(rival + gap[name] for name in ("estimate", "low", "high"))
        assert found.value != each["value"]
    assert history.estimate(search, search.by_number[0]) is None
    pruned[0]["rival"] = None
    search = opened(make_search, made)
    assert history.left_aside(search)[0] == 1
    assert "1 pruned trial has no such difference and is not drawn" in words(
        render_search(make_search(search_store.study(), made), "one")
    )


@pytest.mark.parametrize(("better", "choose"), [("lower", min), ("higher", max)])
def test_the_running_best_is_of_values_at_full_n(make_search, better, choose):
    made = search_store.searched()
    metric = search_store.SEARCH_METRIC | {"better": better}
    search = opened(make_search, made, record={"objective": metric, "metric": metric})
    steps = history.running_best(search)
    values = {each["number"]: each["value"] for each in made if each["status"] == "done" and each["twin"] is None}
    for number, value in steps:
        assert value == values[number] == choose(each for other, each in values.items() if other <= number)
    assert steps[-1][1] == choose(values.values())


def test_the_history_is_none_while_nothing_is_done(make_search):
    assert history.plot(opened(make_search, [])) is None
    broken = search_store.slot(0, search_store.PAPER, status="failed", reason="no")
    assert history.plot(opened(make_search, [broken])) is None


def test_far_values_stand_at_the_edge(make_search):
    made = search_store.searched(24)
    made[3]["rungs"][-1]["value"] = made[3]["value"] = 4000.0
    made[3]["status"] = "done"
    made[3]["rungs"][-1]["n"] = 640
    search = opened(make_search, made)
    assert history.left_aside(search)[1] == 1
    assert "beyond the axis" in [entry.words for entry in history.legend(search)]
    assert [line.get_marker() for line in history.plot(search).get_lines()].count("^") == 1


def test_importances_find_what_matters(make_search):
    made = [search_store.slot(index, each) for index, each in enumerate(search_store.suggestions(80))]

    def only_gamma(settings):
        return 2 + 30 * (settings["gamma"] - 0.2) ** 2 + 0.3 * abs(settings["S_noise"] - 1.004)

    search_store.run(made, only_gamma, prune=False)
    search = opened(make_search, made)
    found = importance(search)
    assert found.shares[0].name == "gamma" and found.shares[0].share > 0.6
    assert 0.8 < sum(share.share for share in found.shares) < 1  # the rest is of combinations
    assert all(share.is_common and share.trials == 80 for share in found.shares)
    assert "over 80 trials, all measured on the same 128 images" in found.about
    assert importance(search) == found


def test_importances_are_refused_in_words(make_search):
    made = search_store.searched(60)
    assert "Too few for importances: 7 trials have" in importance(opened(make_search, made[1:8])).refused
    one = {"parameters": search_store.PARAMETERS[:1]}
    assert "one parameter" in importance(opened(make_search, made, record=one)).refused
    for each in made:
        each["settings"] = search_store.PAPER
    assert "do not vary enough" in importance(opened(make_search, made)).refused


def test_conditional_parameters_have_shares_of_their_own(make_search):
    made = mixed()
    search = opened(make_search, made, record={"parameters": MIXED}, spec={"pareto": True, "nfe": None})
    found = importance(search)
    assert found.shares[0].name == "steps"
    gamma = next(share for share in found.shares if share.name == "gamma")
    assert not gamma.is_common and gamma.trials == sum("gamma" in each["settings"] for each in made)
    assert 0.5 < sum(share.share for share in found.shares if share.is_common) < 1
    panels = slices.panels(search, parameters(search))
    assert [axis.name for axis, _ in panels] == ["solver", "steps", "noise", "gamma"]
    assert panels[3][1] == f"stochasticity.gamma; active in {gamma.trials} trials"
    assert "over steps and gamma" in contour(search, found).about


def test_settings_that_are_no_numbers_or_outside_are_not_lost(make_search):
    made = search_store.searched()
    made[3]["settings"] = made[3]["settings"] | {"S_tmax": "inf"}
    made[4]["settings"] = made[4]["settings"] | {"gamma": 0.9}
    search = opened(make_search, made)
    tmax = parameters(search)[2]
    assert tmax.of(search.by_number[3]) is None
    assert not importance(search).refused
    assert len(slices.panels(search, parameters(search))) == 4
    for axis in parameters(search):
        assert "<svg" in svg.inline(slices.plot(search, axis), "p")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda number: {"S_tmax": 1.0, "gamma": 0.1}, "1 trial with both, and 8 are needed"),
        (lambda number: {"S_tmax": 2.0 ** (number / 10), "gamma": number / 200}, "all trials lie on one line"),
    ],
)
def test_no_map_where_nothing_lies_between(make_search, change, why):
    made = [search_store.slot(index, each) for index, each in enumerate(search_store.suggestions(30))]
    search_store.run(made, prune=False)
    for each in made:
        each["settings"] = {"S_tmax": 1.0} | change(each["number"])
    parameters = [search_store.PARAMETERS[0], search_store.PARAMETERS[2]]
    found = contour(opened(make_search, made, record={"parameters": parameters}), NOTHING)
    assert why in found.refused and not found.trials


def test_the_front_is_what_none_beats_in_both(make_search):
    made = mixed()
    top = sorted(made, key=lambda each: each["value"])[:4]
    named = [search_store.final(each, "top", f"No. {each['number']}", rank) for rank, each in enumerate(top, 1)]
    rows = [search_store.fresh_row(each, mixed_value(each["settings"])) for each in top]
    row = search_store.study(record={"parameters": MIXED}, spec={"pareto": True, "nfe": None}, finals=named)
    store = make_search(row, made, rows)
    search = load_search(store, "one")
    front = pareto_front.front(search)
    best = [trial.number for trial in front]
    for each in made:
        beaten = any(
            other["nfe"] <= each["nfe"] and other["value"] <= each["value"] and other is not each for other in made
        )
        assert (each["number"] in best) == (not beaten)
    lines = front_table(search, front, holdout_results(search), "h").records()
    assert [line["Trial"] for line in lines] == [f"No. {number}" for number in best]
    assert lines[-1]["FD-digits, fresh seeds"] != "–" and lines[0]["FD-digits, fresh seeds"] == "–"
    page = words(render_search(store, "one"))
    assert "Value against cost" in page and "Settings have different NFE" in page
    assert "Value against cost" not in words(render_search(make_search(search_store.study(), made), "one"))


def test_the_proxys_rank_correlation(make_search):
    made = search_store.searched()
    named = search_store.conclude(made, 5, 8)
    by_name = {each["fingerprint"]: each for each in made}
    rows = [search_store.fresh_row(by_name[key], search_store.true_value(by_name[key]["settings"])) for key in by_name]
    record = {"objective": search_store.OBJECTIVE}
    store = make_search(search_store.study(record=record, finals=named), made, rows)
    search = load_search(store, "one")
    chosen = [each for each in named if each["role"] in ("top", "spread")]
    fresh = {row["fingerprint"]: row["value"] for row in rows}
    pairs = [(each["search"]["value"], fresh[each["fingerprint"]]) for each in chosen]
    expected = spearmanr(*zip(*pairs, strict=True)).statistic
    found = spearman(*(list(side) for side in zip(*pairs, strict=True)))
    assert found.r == pytest.approx(expected) and found.n == 13
    reach = 1.959964 * math.sqrt((1 + expected**2 / 2) / 10)
    assert found.low == pytest.approx(math.tanh(math.atanh(expected) - reach), abs=1e-5)
    told = proxy.agreement(search, holdout_results(search))
    assert "Over 13 settings" in told and f"is {expected:.2f} (95 % interval" in told and "Fisher’s z" in told
    page = words(render_search(store, "one"))
    assert "Does the proxy rank as the metric does?" in page and "two scales, so only the ranks compare" in page
    assert "Its value went from" not in page


def test_too_few_for_a_correlation(make_search):
    assert spearman([1.0, 2, 3], [1.0, 2, 3]) is None
    assert spearman([1.0, 1, 1, 1], [1.0, 2, 3, 4]) is None
    perfect = spearman([1.0, 2, 3, 4], [1.0, 2, 3, 9])
    assert perfect.r == 1 and math.isnan(perfect.low)
    made = search_store.searched(24)
    named = search_store.conclude(made, 2)
    row = search_store.study(record={"objective": search_store.OBJECTIVE}, finals=named)
    assert "0 settings that it chose have both" in words(render_search(make_search(row, made), "one"))
    assert "Does the proxy rank" not in words(render_search(make_search(search_store.study(), made), "one"))


def test_what_pruning_saved(make_search):
    made = search_store.searched()
    search = opened(make_search, made)
    rows = pruned_table(search, "h").records()
    for n in (128, 320):
        ended = [each for each in made if each["status"] == "pruned" and each["rungs"][-1]["n"] == n]
        ended = [each for each in ended if each["twin"] is None]
        row = next(row for row in rows if row["after images"] == str(n))
        assert row["trials"] == str(len(ended))
        assert row["evaluations spent"] == f"{len(ended) * 127 * n:,}"
        assert row["evaluations saved"] == f"{len(ended) * 127 * (640 - n):,}"
    assert list(rows[-1].values())[:3] == ["failed", "–", "non-finite value in x"]
    assert rows[-1]["evaluations saved"] == "–"
    assert cost(search).fresh.evaluations == 0


def test_a_search_with_one_rung_prunes_nothing(make_search):
    made = [search_store.slot(index, each) for index, each in enumerate(search_store.suggestions(12))]
    search_store.run(made, rungs=[640])
    page = words(render_search(make_search(search_store.study(spec={"rungs": [640], "pruner": "none"}), made), "one"))
    assert "Every trial has 640 images." in page
    assert "No trial was pruned, and none failed." in page


def test_settings_in_words():
    assert (
        setting_text(0.0131793) == "0.013179"
        and setting_text(-2.0) == "−2"
        and setting_text(True) == "true"
        and setting_text("heun") == "heun"
    )
    assert setting_text({"kind": "churn", "S_churn": 3.0}) == "churn (S_churn 3)"
    trial = {"sampler": {"solver": {"kind": "rk2", "alpha": 1.0}, "steps": 18}}
    assert setting_line(None, trial, ["solver", "steps", "stochasticity.gamma"]) == "heun, steps 18"
