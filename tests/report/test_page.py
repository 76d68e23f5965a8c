import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import harness
from harness.core.errors import InputError
from harness.report.pages.grid import render, write_report
from tests.report import synthetic

EVIL = "<script>alert('x')</script>"


class Page(HTMLParser):
    """What a browser would find: tags with attributes, ids, and the text outside scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.words, self.inside = [], "", "", None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += data
            self.words += data + " "

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def words(html):
    """The text with a blank between any two elements."""
    return re.sub(r"\s+", " ", Page(html).words)


@pytest.fixture(scope="module")
def html(store):
    return render(store, "fig2")


def test_the_file_is_written_whole(store, tmp_path):
    out = tmp_path / "reports" / "fig2.html"
    assert write_report(store, "fig2", out) == out
    assert out.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [path.name for path in out.parent.iterdir()] == ["fig2.html"]


def test_a_place_that_cannot_be_written(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the report"):
        write_report(store, "fig2", tmp_path / "file" / "fig2.html")
    with pytest.raises(InputError, match="no grid 'other'"):
        write_report(store, "other", tmp_path / "other.html")


def test_the_same_rows_give_the_same_page(store, html):
    assert render(store, "fig2") == html


def test_nothing_is_fetched(html):
    assert "http://" not in html
    assert "https://" not in html
    page = Page(html)
    for _, attrs in page.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert attrs.get(name, "data:").startswith(("data:", "#"))
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_references_resolve(html):
    page = Page(html)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in page.all("use")} <= set(ids)
    assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= set(ids)


def test_the_summary_tells_the_finding(html):
    text = words(html)
    assert "within 3 % of its own best FD-digits?" in text
    vp = r"“Our choices” takes \d+ where “Original choices” takes 1024 or more, at least \S+ times fewer"
    assert re.search(vp, text)
    assert "(the baseline’s curve ends too soon for more)" in text
    assert "takes 1024 or more, a factor of 4.0 (the seeds allow any factor), which is undecided" in text
    assert (
        "The paper reports, by FID, 7.3 times (CIFAR-10, VP), 300 times (CIFAR-10, VE) and 3.2 times (ImageNet-64, ADM)"
        in text
    )
    assert "79 of 80 trials are done, 1 failed. Each is judged by 512 images, from seeds 0 to 511" in text
    assert "FD-digits is not FID" in text
    assert "provisional" not in text


def test_the_summary_says_what_a_rule_lacks(make_store):
    plan = synthetic.plan()
    few = [item for item in plan["items"] if item["nfe"] in (5, 8, 9, 16)]  # two of each curve
    text = words(render(make_store(the_plan=plan | {"items": few}), "fig2"))
    assert "On VP, DDPM++ style there is no answer , since the rule needs 3 points, and there are 2" in text


def test_every_section_is_there(html):
    page, text = Page(html), words(html)
    titles = [
        "Quality against cost",
        "Cost and speed-up",
        "Samples",
        "Every trial",
        "How it was measured",
        "Provenance",
    ]
    assert all(title in text for title in titles)
    assert len([attrs for attrs in page.all("svg") if attrs.get("role") == "img"]) == 3
    assert len(re.findall(r'<tr class="(?:done|failed|missing)">', html)) == 80
    assert "versions.torch 2.13.0" in text
    assert "name: fig2" in text  # the YAML
    assert "non-finite value in x" in text
    for image in page.all("img"):
        assert image["alt"]
        assert image["src"].startswith("data:image/png;base64,")


def test_names_and_errors_are_text(make_store):
    plan = synthetic.plan(title=EVIL, description=EVIL, source=f"a: 1\n</pre>{EVIL}", metric_title=f"FD {EVIL}")
    for entry in plan["series"]:
        entry["name"] += EVIL
        entry["note"] = EVIL
    for item in plan["items"]:
        item["series"] += EVIL
        item["sampler"]["solver"]["kind"] = EVIL
    for panel in plan["panels"]:
        panel |= {"title": f'"{EVIL}', "card": {EVIL: EVIL}}
    items = {item["fingerprint"]: item for item in plan["items"]}
    store = make_store(the_plan=plan, skip=range(80))
    for index, item in enumerate(items.values()):
        plainly = item | {"series": item["series"].removesuffix(EVIL)}
        store.put_result(synthetic.failed(plainly, EVIL, 1) if index == 3 else synthetic.row(plainly))
        store.put_image(item["fingerprint"], 0, 64, synthetic.mosaic(index))
    html = render(store, "fig2")
    page = Page(html)
    assert len(page.all("script")) == 1
    assert html.count("<script") == 1
    assert f"Our choices{EVIL}" in page.text
    assert page.text.count(EVIL) > 100


def test_an_unfinished_run(make_store):
    text = words(render(make_store(skip=range(70, 75)), "fig2"))
    assert "74 of 80 trials are done, 1 failed, 5 missing" in text
    assert "provisional" in text
    assert "ADM style, Heun and time steps: 5 of 10, at NFE 5, 9, 13, 17 and 23" in text
    assert "5 of 10 trials done" in text


def test_nothing_done_yet(make_store):
    html = render(make_store(skip=range(80), floor=False), "fig2")
    assert "No trial is done yet" in html
    assert "0 of 80 trials are done, 80 missing" in html
    assert "times fewer" not in html


def test_only_failures(make_store):
    store = make_store(skip=range(80), images=False)
    for item in synthetic.items():
        store.put_result(synthetic.failed(item, "out of memory", None))
    text = words(render(store, "fig2"))
    assert "0 of 80 trials are done, 80 failed" in text
    assert "out of memory" in text


def test_rows_left_out_are_told(make_store):
    store = make_store()
    store.put_result(synthetic.row(synthetic.items()[0], n=256))
    assert "1 row with N 256 instead of 512" in words(render(store, "fig2"))


def test_without_a_floor(make_store):
    html = render(make_store(floor=False), "fig2")
    assert "No number of FD-digits: the store holds none; `harness run` of the grid adds it." in words(html)
    assert "a perfect sampler, 90 % of draws" not in html


def test_what_a_perfect_sampler_gets(make_store):
    said = words(render(make_store(), "fig2"))
    assert "512 draws, with replacement, from all images of the reference" in said
    assert "1.62 on average, 1.45 to 1.83 in 90 % of 20 such sets. Whoever" in said


def test_without_the_paper_or_a_baseline(make_store):
    plan = synthetic.plan()
    plan["series"] = [entry | {"role": None, "paper": None} for entry in plan["series"]]
    plan["panels"] = [entry | {"paper": None} for entry in plan["panels"]]
    html = render(make_store(the_plan=plan), "fig2")
    text = words(html)
    assert re.search(r"The lowest FD-digits: on VP, DDPM\+\+ style 2\.\d\d \(.*\), by “", text)
    assert "the paper reports" not in text
    assert "the same in the paper" not in text
    assert "The paper, by FID" not in text
    assert "CIFAR" not in text


def test_the_nearest_mosaic_stands_in(make_store):
    plan = synthetic.plan()
    kept = {item["fingerprint"] for item in plan["items"] if item["nfe"] in (5, 8, 255, 1024)}
    for item in plan["items"]:
        item["mosaic"] = item["fingerprint"] in kept
    text = words(render(make_store(the_plan=plan), "fig2"))
    assert re.search(r"Our choices NFE 255 · FD-digits [\d.]+ nearest to NFE \d+ that was kept", text)
    assert "more at other NFE" in text


def test_images_that_are_no_png_are_not_shown(make_store):
    store = make_store(images=False)
    for item in synthetic.items():
        store.put_image(item["fingerprint"], 0, 64, b"<svg onload=alert(1)>")
    assert not Page(render(store, "fig2")).all("img")


def test_many_series_and_one_point_each(make_store):
    names = [f"S_churn {value}" for value in range(14)]
    item = synthetic.items()[0]
    items = [item | {"series": name, "fingerprint": synthetic.fingerprint(name), "mosaic": False} for name in names]
    plan = synthetic.plan(
        items=items, series=[{"name": name, "note": None, "role": None, "paper": None} for name in names]
    )
    store = make_store(the_plan=plan, skip=range(80))
    for one in items:
        store.put_result(synthetic.row(one | {"series": "Our choices"}))
    assert "14 of 14 trials are done" in words(render(store, "fig2"))


def test_no_torch(store, tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from harness.store.database import Store\n"
        "from harness.report.pages.grid import write_report\n"
        "from harness.report.data import trial_results\n"
        "from harness.cli.tables import results_table\n"
        f"with Store({store.engine.url.database!r}, create=False) as opened:\n"
        f"    write_report(opened, 'fig2', Path({str(tmp_path / 'fig2.html')!r}))\n"
        "    results_table(trial_results(opened, 'fig2'))\n"
        "heavy = {'torch', 'sklearn', 'optuna', 'matplotlib.backends.backend_tkagg'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
    assert (tmp_path / "fig2.html").stat().st_size > 100_000


def test_a_section_is_one_file_and_one_word(store, tmp_path):
    """In a copy of the package: a module with a function of its own name, and that name in `SECTIONS`."""
    shutil.copytree(Path(harness.__file__).parent, tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    pages = tmp_path / "harness" / "report" / "pages"
    (pages / "slowest.py").write_text(
        "from markupsafe import Markup\n"
        "from harness.report.pages.page import PageSection\n"
        "def slowest(report):\n"
        "    trial = max(report.every[0].trials, key=lambda trial: trial.seconds)\n"
        "    yield PageSection(Markup('<h2>Slowest trial</h2><p>{}</p>').format(trial.fingerprint))\n"
    )
    grid = pages / "grid.py"
    grid.write_text(grid.read_text().replace('"trials", "unfinished"', '"trials", "slowest", "unfinished"'))
    code = (
        "from harness.store.database import Store\n"
        "from harness.report.pages.grid import render\n"
        f"with Store({store.engine.url.database!r}, create=False) as opened:\n"
        "    print(render(opened, 'fig2'))\n"
    )
    options = {"env": os.environ | {"PYTHONPATH": str(tmp_path)}, "cwd": tmp_path}
    done = subprocess.run([sys.executable, "-c", code], **options, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    text = words(done.stdout)
    slowest = synthetic.items()[9]["fingerprint"]  # 1024 steps of the first panel
    assert f"Slowest trial {slowest} Failed, missing and left out" in text
