"""The page of claims, the answer of a grid as a table, and figures of many curves."""

import re

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import InputError
from harness.report.claims import judged_claims
from harness.report.curves import panels
from harness.report.data import load
from harness.report.figures import quality, svg
from harness.report.figures.quality import leading
from harness.report.pages.claims import claim_table, render_claims, unrun, write_claims
from harness.report.pages.grid import render
from harness.report.pages.index import write_reports
from harness.report.pages.metrics import GridReport, metrics
from harness.report.tables.answer import answer_table
from tests.report import synthetic
from tests.report.test_page import EVIL, words

FASTER = {"kind": "faster", "metric": "fd-digits", "series": "Our choices", "than": "Original choices"}
LOWER = {"kind": "lower", "metric": "fd-digits", "series": "Heun and time steps", "than": ["Our choices"], "at": [13]}
CLAIMS = [
    {"statement": "Ours is faster.", "source": "Section 3", "published": "7.3 times", "tests": [FASTER]},
    {"statement": "Their schedule is better.", "source": "Nowhere", "tests": [LOWER | {"denoisers": ["digits-vp"]}]},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A grid with claims, finished; not to be written to."""
    path = tmp_path_factory.mktemp("claims") / "store.sqlite"
    with synthetic.fill(path, synthetic.plan(claims=CLAIMS), break_one=False) as opened:
        yield opened


def test_every_claim_is_judged_on_every_network_that_it_names(store):
    faster, better = judged_claims(store)
    assert [each.panel for each in better.judgements] == [synthetic.PANELS[0][1]]
    assert better.judgements[0].verdict == "does not hold"
    titles = [title for _, title, _ in synthetic.PANELS]
    assert [each.panel for each in faster.judgements] == titles
    verdicts = dict(zip(titles, [each.verdict for each in faster.judgements], strict=True))
    assert [verdict for title, verdict in verdicts.items() if "ADM" not in title] == ["holds", "holds"]
    (adm,) = [each for each in faster.judgements if "ADM" in each.panel]
    assert adm.verdict == "undecided" and adm.asked[0].finding.why == "Our choices: has no trials on this denoiser"


def test_verdicts_are_traced_to_rows(store):
    for judged in judged_claims(store):
        for judgement in judged.judgements:
            for asked in judgement.asked:
                rows = store.results(list(asked.finding.trials)) if asked.finding.trials else []
                assert len(rows) == len(asked.finding.trials)
                assert (asked.finding.verdict == "undecided") == bool(asked.finding.why)


def test_missing_trials_are_undecided(make_store):
    store = make_store(the_plan=synthetic.plan(claims=CLAIMS), skip=range(40))
    faster, _ = judged_claims(store)
    assert faster.judgements[0].verdict == "undecided"
    assert "not done" in faster.judgements[0].asked[0].finding.why


def test_the_page(store, tmp_path):
    html = render_claims(judged_claims(store), unrun(store))
    said = words(html)
    for expected in ("Ours is faster.", "Published: 7.3 times.", "harness run fig2", "does not hold", "Section 3"):
        assert expected in said
    assert "Our choices needs fewer evaluations than Original choices to within 3 % of its best fd-digits." in said
    assert "harness run claims/mixture" in said  # comes with the package and was not run
    assert 'href="fig2.html"' in html and "https:" not in html
    out = write_claims(judged_claims(store), tmp_path / "reports" / "claims.html")
    assert out.read_text().startswith("<!DOCTYPE html>")


def test_words_of_a_grid_are_escaped(make_store):
    claims = [CLAIMS[0] | {"statement": EVIL, "published": EVIL, "source": EVIL}]
    html = render_claims(judged_claims(make_store(the_plan=synthetic.plan(claims=claims))))
    assert EVIL not in html and "&lt;script&gt;" in html


def test_the_table_is_there_to_take_away(store):
    records = claim_table(judged_claims(store)[0]).records()
    assert [record["Verdict"] for record in records][:2] == ["holds", "holds"]
    assert all(re.match(r"[\d.]+ times \([\d.]+ to [\d.∞]+, 90 %\)", record["Measured"]) for record in records[:2])


def test_a_store_without_claims(make_store):
    store = make_store()
    assert judged_claims(store) == []
    done = CliRunner().invoke(app, ["claims", "--store", store.name])
    assert done.exit_code == 2 and "no grid with claims was run into this store" in done.stderr
    with pytest.raises(InputError, match="no grid 'other' was run into this store"):
        judged_claims(store, ["other"])


def test_the_command(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["claims", "--store", store.name], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "Ours is faster." in done.stdout and "does not hold" in done.stdout
    assert done.stdout.splitlines()[-1] == "reports/claims.html"
    assert (tmp_path / "reports" / "claims.html").exists()


def test_the_index_leads_to_the_claims(store, make_store, tmp_path):
    written = write_reports(store, tmp_path / "one").files
    assert [path.name for path in written] == ["fig2.html", "claims.html", "index.html"]
    assert 'href="claims.html"' in written[-1].read_text()
    written = write_reports(make_store(), tmp_path / "two").files
    assert [path.name for path in written] == ["fig2.html", "index.html"]
    assert "claims.html" not in written[-1].read_text()


def test_a_page_begins_with_the_answer(store):
    html = render(store, "fig2")
    assert html.index("Evaluations and speed-up by network") < html.index("<p ")
    table = answer_table({"FD-digits": panels(load(store, "fig2")[0])})
    first = table.records()[0]
    assert first["Network"] == synthetic.PANELS[0][1] and first["Verdict"] == "faster"
    assert first["Speed-up"] == "≥ 6.5×"
    assert "Baseline: Original choices. Ours: " in table.caption
    assert not any("group" in record for record in table.records())


def test_several_distances_answer_in_one_table(store):
    drawn = panels(load(store, "fig2")[0])
    records = answer_table({"FD-digits": drawn[:2], "FD-digits of 192 images": drawn[2:]}).records()
    assert [record["group"] for record in records] == ["FD-digits", "FD-digits", "FD-digits of 192 images"]
    assert answer_table({}) is None


def test_what_may_be_zero_has_no_speed_up(make_store):
    plan = synthetic.plan()
    store = make_store(the_plan=plan, skip=range(len(plan["items"])))
    for item in plan["items"]:
        row = synthetic.row(item)
        wild = [value + (-1) ** index * 3 for index, value in enumerate(row["replicates"])]
        store.put_result(row | {"replicates": wild})
    for record in answer_table({"FD-digits": panels(load(store, "fig2")[0])}).records():
        assert (record["Speed-up"], record["Verdict"]) == ("–", "undecided (the best may be 0)")


def test_a_grid_without_a_baseline_has_no_answer_table(make_store):
    plan = synthetic.plan()
    plan["series"] = [entry | {"role": None} for entry in plan["series"]]
    assert answer_table({"FD-digits": panels(load(make_store(the_plan=plan), "fig2")[0])}) is None


def test_of_many_curves_the_best_are_drawn_in_full(store):
    data = load(store, "fig2")[0]
    panel = panels(data)[0]
    few = leading(panel, lower_is_better=True)
    assert few == {curve.name for curve in panel.curves}
    many = panel._replace(
        curves=[each._replace(name=f"{each.name} {copy}", lowest=None) for copy in range(3) for each in panel.curves],
        baseline=None,
        ours=None,
    )
    named = leading(many, lower_is_better=True)
    assert len(many.curves) > 6 and len(named) == 3
    assert all(name.startswith("Our choices") for name in named)
    looks = {curve.name: next(iter(_looks(data).values())) for curve in many.curves}
    drawn = svg.inline(quality.plot(data, many, quality.common_frame(data, [many]), looks), "x")
    for curve in many.curves:
        assert f"<title>{curve.name}</title>" in drawn  # what a browser shows to whoever points at the line
        assert (f">{curve.name}</text>" in drawn) == (curve.name in named)


def test_a_page_of_very_many_curves_names_the_best_and_folds_the_rest(make_store):
    """Copies of the paper's choices under other names: 26 series, of which all but the leading are grey."""
    plan = synthetic.plan()
    plan["panels"] = plan["panels"][:1]
    plan["items"] = [item for item in plan["items"] if item["panel"] == plan["panels"][0]["name"]]
    ours = [item for item in plan["items"] if item["series"] == "Our choices"]
    for copy in range(22):
        name = f"copy {copy}"
        plan["series"].append({"name": name, "note": None, "role": None, "paper": None})
        plan["items"] += [item | {"series": name} for item in ours]
    report = GridReport(make_store(the_plan=plan), "fig2")
    (metric,) = report.metrics
    panel = metric.panels[0]
    named = set().union(*(leading(each, lower_is_better=True) for each in metric.panels))
    assert set(report.legend) == named and len(named) < 10
    assert len({metric.looks[name].colour for name in named}) >= min(len(named), 6)
    section = next(iter(metrics(report))).html
    assert section.count("<li>") < 16
    others = len({curve.name for curve in metric.curves} - named)
    assert f"{others} other curves; each says its name when pointed at" in section
    drawn = svg.inline(quality.plot(metric.data, panel, looks=metric.looks), "x")
    assert f"; and {len(panel.curves) - len(leading(panel, lower_is_better=True))} other curves." in drawn
    height = float(drawn.split('viewBox="0 0 ')[1].split('"')[0].split()[1])
    assert height < 500


def _looks(data):
    from harness.report.figures.style import styles

    return styles(data.plan["series"])
