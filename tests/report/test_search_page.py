"""The page of a search: its words and tables against what the store holds."""

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
from html import unescape

import numpy as np
import pytest

from harness import Sampler
from harness.core.errors import InputError
from harness.core.yaml import loads
from harness.denoisers.load import parse
from harness.metrics.statistics.jackknife import Replicates, compare, corrected
from harness.report.holdout import holdout_results
from harness.report.pages.index import search_file_name, write_reports
from harness.report.pages.search import render_search, write_search_report
from harness.report.study import load_search
from harness.report.text import choices
from harness.report.text.numbers import large, ratio, signed, significant, span
from harness.store.database import Store
from harness.store.studies import Studies
from tests.report import search_store
from tests.report.test_page import EVIL, Page, words


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with search_store.whole_search(tmp_path_factory.mktemp("search") / "store.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def html(store):
    return render_search(store, "one")


def facts(store):
    """The finals once, with their rows, and the slots."""
    studies = Studies(store)
    finals = {final["fingerprint"]: final for final in studies.find("one")["finals"]}
    rows = {row["fingerprint"]: row for row in store.results(list(finals)) if row["first_seed"] == search_store.FRESH}
    return finals, rows, studies.slots("one")


def gap(rows, one, other):
    return compare(*(replicates_of(rows[key]) for key in (one, other)), at_infinity=True)


def replicates_of(row):
    sizes = np.array([search_store.CHUNK] * len(row["blocks"]))
    return Replicates(row["value"], np.array(row["replicates"]), sizes)


def test_it_is_written_whole_and_the_same_rows_give_the_same_bytes(store, html, tmp_path):
    out = tmp_path / "reports" / "search_one.html"
    assert write_search_report(store, "one", out) == out
    assert out.read_text(encoding="utf-8") == html
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the report"):
        write_search_report(store, "one", tmp_path / "file" / "x.html")


def test_an_unknown_study_names_the_known_ones(store, tmp_path):
    with pytest.raises(InputError, match=r"there is no study 'two'; it has: 'one'"):
        render_search(store, "two")
    with Store(str(tmp_path / "empty.sqlite")) as empty, pytest.raises(InputError, match="none yet"):
        render_search(empty, "two")


def test_nothing_is_fetched_and_the_script_is_the_allowed_one(html):
    page = Page(html)
    assert "http://" not in html and "https://" not in html
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    script = html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")
    assert [attrs["data-copies"] for attrs in page.all("button") if "data-copies" in attrs] == ["yaml-1"]


def test_ids_are_unique_and_references_resolve(html):
    page = Page(html)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in page.all("use")} <= set(ids)
    assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= set(ids)


def test_the_summary_tells_the_best_on_fresh_seeds(store, html):
    finals, rows, _ = facts(store)
    at = {key: corrected(replicates_of(row)) for key, row in rows.items()}
    best = min(rows, key=lambda key: at[key].estimate)
    text, row, label = words(html), rows[best], finals[best]["label"]
    value, interval = significant(at[best].estimate), span(at[best].low, at[best].high)
    assert (
        f"Of 7 settings measured again on fresh seeds, {label} has the lowest FD-digits: {value} at infinite N "
        f"({interval}), {significant(row['value'])} at N = {row['n']}," in text
    )
    for role, name in (("baseline", "the baseline “Deterministic”"), ("paper", "“Paper, CIFAR-10 VP”")):
        other = next(key for key, final in finals.items() if final["role"] == role)
        found = gap(rows, best, other)
        ends = span(found.difference.low, found.difference.high, signed)
        told = f"({significant(rows[other]['value'])}) that is a difference of {signed(found.difference.estimate)}"
        assert f"Against {name} {told} ({ends}): better" in text
        assert found.verdict == "a better"


def test_the_ranking_changed_and_the_page_says_by_how_much(store, html):
    finals, rows, _ = facts(store)
    keys = [key for key in finals if finals[key]["search"]]
    by_search = sorted(keys, key=lambda key: finals[key]["search"]["value"])
    by_fresh = sorted(keys, key=lambda key: rows[key]["value"])
    assert by_search != by_fresh and by_search[0] != by_fresh[0], "the made-up store has to have this"
    changed = sum(by_search.index(key) != by_fresh.index(key) for key in keys)
    first = by_search[0]
    places = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"]
    text, label = words(html), finals[first]["label"]
    assert (
        f"The ranking changed on fresh seeds: {changed} of 7 settings have another place, and {label}, which the "
        f"search put first of them, is {places[by_fresh.index(first)]}." in text
    )
    before, after = finals[first]["search"], rows[first]
    moved = after["value"] - before["value"]
    reach = math.hypot((before["high"] - before["low"]) / 2, (after["high"] - after["low"]) / 2)
    assert (
        f"Its value went from {significant(before['value'])} on the search seeds to {significant(after['value'])} on "
        f"fresh ones: {signed(moved)} ± {significant(reach, 2)}, "
        f"{significant(100 * moved / before['value'], 2)} % worse, which other seeds alone could do." in text
    )
    assert 0 < moved < reach
    tops = [key for key in keys if finals[key]["role"] == "top"]
    mean = np.mean([rows[key]["value"] - finals[key]["search"]["value"] for key in tops])
    assert f"The 5 best by search-time values moved by {signed(float(mean))} on average." in text
    other = next(key for key, final in finals.items() if final["role"] == "baseline")
    shift = rows[other]["value"] - finals[other]["search"]["value"]
    assert (
        f"“Deterministic”, which was not chosen for its value, moved by {signed(shift)} between the same seeds" in text
    )
    assert "still chosen among 7" in text and "N is 640 on both sides" in text


def test_the_table_of_finals(store, html):
    finals, rows, slots = facts(store)
    table = html.split('class="costs finals"')[1].split("</table>")[0].split("<tbody>")[1]
    lines = [words(line) for line in table.split("</tr>") if "<td" in line]
    by_fresh = sorted(rows, key=lambda key: rows[key]["value"])
    by_search = sorted(finals, key=lambda key: finals[key]["search"]["value"])
    done = sum(slot["status"] == "done" and slot["twin"] is None for slot in slots)
    known = [next(key for key in finals if finals[key]["role"] == role) for role in ("baseline", "paper")]
    assert len(lines) == 7
    for line, key in zip(lines, by_fresh, strict=True):
        final, row = finals[key], rows[key]
        parts = [final["label"], "127", significant(final["search"]["value"]), significant(row["value"])]
        parts += [span(final["search"]["low"], final["search"]["high"]), span(row["low"], row["high"])]
        parts += [signed(row["value"] - final["search"]["value"])]
        parts += [f"{by_search.index(key) + 1} → {by_fresh.index(key) + 1}"]
        parts += [f"place {final['rank']} of {done}"] if final["rank"] else []
        for other in known:
            if other != key:
                found = gap(rows, key, other)
                verdict = {"a better": "better", "b better": "worse", "undecided": "not told apart"}[found.verdict]
                ends = span(found.difference.low, found.difference.high, signed)
                parts.append(f"{signed(found.difference.estimate)} {ends} {verdict}")
        for part in parts:
            assert part in line, (part, line)


def test_trials_and_costs_add_up(store, html):
    _, rows, slots = facts(store)
    own = [slot for slot in slots if slot["twin"] is None]
    counts = [sum(slot["status"] == status for slot in own) for status in ("done", "pruned", "failed")]
    text = words(html)
    told = f"{len(slots)} trials were started: {counts[0]} done, {counts[1]} pruned, {counts[2]} failed and 1 repeat"
    assert f"{told} of earlier settings" in text
    spent = sum(slot["evaluations"] for slot in slots)
    ended = [slot for slot in own if slot["status"] == "pruned"]
    full = spent + sum(127 * (640 - slot["rungs"][-1]["n"]) for slot in ended)
    fresh = sum(row["evaluations"] for row in rows.values())
    assert (
        f"The search took {large(spent)} network evaluations; the same trials, each at full N (640 images), would have "
        f"taken {large(full)}, {ratio(full / spent)} times as many. Measuring on fresh seeds took {large(fresh)} more"
        in text
    )
    assert f"Search: {spent:,}; its trials at full N: {full:,}; fresh seeds: {fresh:,}." in text
    assert "FD-digits is not FID" in text and "provisional" not in text


def test_every_slot_is_listed(html):
    assert len(re.findall(r'<tr class="(?:slot|failed)">', html)) == 61
    text = words(html)
    assert "non-finite value in x (step 8)" in text and "repeat of 5" in text
    assert "worse than No. … by … to … at … images" in text


def test_the_yaml_is_the_best_sampler(store, html, tmp_path):
    finals, rows, _ = facts(store)
    best = min(rows, key=lambda key: rows[key]["value"])
    block = re.search(r'<code id="yaml-1">(.*?)</code>', html, re.S)[1]
    assert Sampler.model_validate(loads(unescape(block)).data["sampler"]) == Sampler.model_validate(
        finals[best]["trial"]["sampler"]
    )


@pytest.mark.parametrize(
    "sampler",
    [
        {},
        {"solver": {"kind": "rk2", "alpha": 0.5}, "noise_device": "cuda", "steps": 5},
        {"solver": "rk45"},
        {"solver": "dpmpp_2m", "discretization": "vp", "schedule": "vp", "scaling": "vp", "afs": True},
        {"stochasticity": {"kind": "churn", "S_churn": 1e-5, "S_tmax": math.inf}, "clip_denoised": True},
        {"discretization": {"kind": "edm", "sigma_min": 1e-7, "sigma_max": 5e6}},
        {
            "stochasticity": {
                "kind": "restart",
                "intervals": [{"t_min": 0.1, "t_max": 2.0, "K": 2}],
            }
        },
    ],
)
def test_yaml_goes_both_ways(sampler):
    made = Sampler.model_validate(sampler)
    text = choices.sampler_yaml({"sampler": made.model_dump(mode="json")})
    assert Sampler.model_validate(loads(text).data["sampler"]) == made


PATHS = [
    "sampler.method",
    "sampler.method.in time.solver",
    "sampler.method.in time.solver.rk2.alpha",
    "sampler.stochasticity.gamma",
    "denoiser.weight",
    "nfe",
]


def test_a_setting_outside_of_the_space_is_told_by_what_is_searched():
    """Paths are those of the whole space: `sampler` and names of choices stand before an axis."""
    made = search_store.trial(None)
    assert choices.setting_line(None, made, PATHS) == "heun, deterministic"
    guided = made | {"denoiser": {"kind": "cfg", "denoiser": "digits-adm", "weight": 1.5, "sigma_hi": "inf"}}
    assert choices.setting_line(None, guided, ["denoiser.weight", "denoiser.sigma_hi"]) == "weight 1.5, sigma_hi inf"
    assert choices.setting_line({"weight": 2.0}, guided, PATHS) == "weight 2"


def test_guidance_that_was_searched_is_there_to_copy(make_search):
    made = search_store.searched(24)
    finals = search_store.conclude(made, 3)
    guidance = {"kind": "cfg", "denoiser": "digits-adm", "weight": 1.5, "sigma_lo": 0.0, "sigma_hi": "inf"}
    for each in (*made, *finals):
        each["trial"] = each["trial"] | {"denoiser": guidance}
    names = {each["fingerprint"] for each in finals}
    own = [each for each in made if each["twin"] is None and each["fingerprint"] in names]
    rows = [search_store.fresh_row(each, search_store.true_value(each["settings"])) for each in own]
    space = [*search_store.PARAMETERS, search_store.PARAMETERS[0] | {"name": "weight", "path": "denoiser.weight"}]
    store = make_search(search_store.study(record={"parameters": space}, finals=finals), made, rows)
    source = re.search(r"<code>(source: .*?)</code>", render_search(store, "one"), re.S)[1]
    read = parse(loads(unescape(source)).data["source"])
    assert (read.weight, read.sigma_lo, read.sigma_hi) == (1.5, 0.0, math.inf)
    assert choices.source_yaml(finals[0]["trial"], ["sampler.stochasticity.gamma"]) == ""


def test_a_place_is_one_among_trials_at_full_n(make_search):
    """The rank of a setting along the whole ranking counts pruned ones too, so it is no such place."""
    made = search_store.searched()
    finals = search_store.conclude(made, 2, 4)
    for each in finals:
        each["rank"] = each["rank"] and each["rank"] + 50 * (each["role"] == "spread")
    found = holdout_results(load_search(make_search(search_store.study(finals=finals), made), "one"))
    assert [each.place for each in found if each.roles == ("top",)] == [1, 2]
    assert [each.place for each in found if each.roles == ("spread",)] == [None] * 4


def test_a_search_that_evaluations_or_the_grid_ended_is_over(make_search):
    made = search_store.searched(24)
    budget = {"trials": 500, "evaluations": sum(each["evaluations"] for each in made) + 10}
    for changes, over in (
        ({"budget": budget}, True),
        ({"budget": budget | {"evaluations": 10**9}}, False),
        ({"budget": budget | {"evaluations": None}, "record": {"points": 23}}, True),
        ({"budget": budget, "finals": None}, False),
    ):
        row = search_store.study(**({"finals": []} | changes))
        assert (load_search(make_search(row, made), "one").provisional == []) == over


def test_fields_left_out_are_at_the_codes_defaults():
    assert all(getattr(Sampler(), name) == value for name, value in choices.DEFAULTS.items())


def test_names_and_reasons_are_text(make_search):
    made = search_store.searched(24)
    finals = search_store.conclude(made, 3)
    parameters = [entry | {"name": entry["name"] + EVIL} for entry in search_store.PARAMETERS]
    for each in made:
        each["origin"] += EVIL
        each["reason"] = EVIL
        if each["settings"]:
            each["settings"] = {name + EVIL: value for name, value in each["settings"].items()}
    for final in finals:
        final["label"] += EVIL + "\x07$x_1$"
        final["settings"] = {EVIL: EVIL}
    record = {"title": EVIL, "about": EVIL, "denoiser": EVIL, "parameters": parameters, "card": {EVIL: EVIL}}
    record["metric"] = record["objective"] = search_store.SEARCH_METRIC | {"title": EVIL, "about": EVIL}
    rows = [search_store.fresh_row(final, 2.0) for final in finals]
    name = f"../{EVIL}"
    row = search_store.study(name=name, finals=finals, record=record, spec={"target": EVIL, "method": EVIL})
    store = make_search(row, made, rows)
    html = render_search(store, name)
    assert html.count("<script") == 1
    assert Page(html).text.count(EVIL) > 100
    file = search_file_name(name)
    assert re.fullmatch(r"search_[A-Za-z0-9._-]+\.html", file) and file != search_file_name(EVIL)


def test_a_study_without_slots(make_search):
    text = words(render_search(make_search(search_store.study(budget={"trials": 50, "evaluations": None}), []), "one"))
    assert "No trial is done yet" in text and "0 of 50 trials were started: 0 done." in text
    assert (
        "These numbers are provisional: 0 of 50 trials were begun and nothing was chosen for fresh seeds yet." in text
    )
    assert "No trial was pruned, and none failed." in text


def test_an_unfinished_study_tells_what_leads(make_search):
    made = search_store.searched(24)[:9]
    made.append(search_store.slot(9, search_store.suggestions(1, 5)[0]))
    store = make_search(search_store.study(budget={"trials": 40, "evaluations": None}), made)
    text = words(render_search(store, "one"))
    best = min((each for each in made if each["status"] == "done"), key=lambda each: each["value"])
    lead = f"On the seeds that the search chose by, No. {best['number']} has the lowest FD-digits so far"
    assert f"{lead}: {significant(best['value'])}" in text
    assert "it will be less good on fresh seeds" in text
    assert "10 of 40 trials were begun, 1 trial is not settled and nothing was chosen for fresh seeds yet" in text
    assert "Too few for importances: 8 trials have a value at 128 images, and 10 are needed." in text
    assert "Search-time and fresh seeds" not in text


def test_fresh_values_that_are_missing_or_failed(make_search):
    made = search_store.searched(24)
    finals = search_store.conclude(made, 3)
    empty = dict.fromkeys(("value", "low", "high", "replicates", "blocks"))
    rows = [
        search_store.fresh_row(finals[0], 1.8),
        search_store.fresh_row(finals[1], 1.8) | empty | {"status": "failed"},
    ]
    text = words(render_search(make_search(search_store.study(finals=finals), made, rows), "one"))
    assert "provisional: 3 of 5 settings to be measured on fresh seeds are missing." in text
    assert f"On fresh seeds {finals[1]['label']} failed." in text
    assert "There is no fresh value of the baseline “Deterministic” to compare with." in text
    assert f"On fresh seeds, {finals[0]['label']} has FD-digits" in text


def test_rows_of_other_seeds_or_numbers_are_not_used(make_search):
    made = search_store.searched(24)
    finals = search_store.conclude(made, 2)
    rows = [search_store.fresh_row(finals[0], 1.0, first_seed=5), search_store.fresh_row(finals[0], 1.0, n=320)]
    rows += [search_store.fresh_row(final, 2.0 + index / 10) for index, final in enumerate(finals)]
    rows[-1]["blocks"] = [block for block in rows[-1]["blocks"] if block != rows[-1]["blocks"][3]]
    text = words(render_search(make_search(search_store.study(finals=finals), made, rows), "one"))
    assert significant(rows[2]["value"]) in text and significant(rows[0]["value"]) not in text
    assert "Against “Paper, CIFAR-10 VP”" in text and "a difference that cannot be judged" in text


def test_the_known_setting_may_be_the_best(make_search):
    made = search_store.searched(24)
    finals = search_store.conclude(made, 3)
    rows = [search_store.fresh_row(final, 1.2 if final["role"] == "baseline" else 2.0) for final in finals]
    html = render_search(make_search(search_store.study(finals=finals), made, rows), "one")
    text = words(html)
    assert "“Deterministic” has the lowest FD-digits" in text
    assert "That setting was known before: the search found none that is better on fresh seeds." in text
    assert 'id="yaml-2"' in html and "best of what the search found" in text


def test_higher_is_better_where_the_metric_says_so(make_search):
    made = search_store.searched(24)
    metric = search_store.SEARCH_METRIC | {
        "better": "higher",
        "is_distance": False,
        "is_share": True,
        "title": "Recall",
    }
    finals = search_store.conclude(made, 3)
    rows = [search_store.fresh_row(final, 3.0 if final["role"] == "paper" else 2.0) for final in finals]
    store = make_search(search_store.study(finals=finals, record={"metric": metric, "objective": metric}), made, rows)
    text = words(render_search(store, "one"))
    assert "“Paper, CIFAR-10 VP” has the highest Recall" in text
    assert re.search(
        r"Against the baseline “Deterministic” \(.*?\) that is a difference of \+[\d.]+ \(.*?\): better", text
    )
    assert "is not FID" not in text


def test_another_number_of_images_on_fresh_seeds(make_search):
    made = search_store.searched(24)
    finals = search_store.conclude(made, 3)
    rows = [search_store.fresh_row(final, 2.0, n=1280) for final in finals]
    metric = search_store.SEARCH_METRIC | {"n": 1280}
    text = words(
        render_search(make_search(search_store.study(finals=finals, record={"metric": metric}), made, rows), "one")
    )
    assert "N was 640 in the search and is 1,280 on fresh seeds, so the values of the two sides do not compare" in text
    assert "Its value went from" not in text


def test_the_index_lists_searches(store, tmp_path):
    written = write_reports(store, tmp_path / "reports").files
    assert [path.name for path in written] == ["search_one.html", "index.html"]
    index = Page(written[-1].read_text())
    assert {attrs["href"] for attrs in index.all("a")} == {"search_one.html"}
    assert "Stochastic sampling: a search on digits-vp" in index.text and "trials were started" in index.text
    ids = [attrs["id"] for _, attrs in index.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert search_file_name("one", ["search_one"]) != "search_one.html"


def test_no_torch(store, tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from harness.store.database import Store\n"
        "from harness.report.pages.search import write_search_report\n"
        f"with Store({store.engine.url.database!r}, create=False) as opened:\n"
        f"    write_search_report(opened, 'one', Path({str(tmp_path / 'one.html')!r}))\n"
        "heavy = {'torch', 'matplotlib.backends.backend_tkagg'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
    assert json.dumps(render_search(store, "one")) == json.dumps((tmp_path / "one.html").read_text(encoding="utf-8"))
