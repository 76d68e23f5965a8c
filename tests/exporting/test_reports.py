"""Reports hand their answers to other tools: from a run's own rows, without torch; older rows have no such section."""

import json
import re
import subprocess
import sys

import pytest

from harness.core.errors import InputError
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.execution.run import run
from harness.experiments.nfe import probe_of
from harness.experiments.plan import plan
from harness.exporting.export import export_measured
from harness.report.data import load
from harness.report.pages.grid import render
from harness.report.pages.search import render_search
from harness.report.text.exports import exports
from harness.sampling.sampler import Sampler
from harness.store.database import Store
from tests.report import search_store
from tests.report.test_page import Page

GRID = """
title: Two samplers
metrics: [fd-digits]
samples: 24
chunk: 8
nfe: [5, 9, 13]
denoisers: {exact: {title: A Gaussian, source: {kind: gaussian, mean: 0.1, std: 0.4}}}
series:
  - {name: Euler, role: baseline, sampler: {solver: euler}}
  - {name: Heun, role: ours, sampler: {stochasticity: {kind: churn, S_churn: 3}}}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    (folder / "two.yaml").write_text(GRID)
    store = Store(str(folder / "results" / "harness.sqlite"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXECUTORS, "processes", InlineExecutor)
        run(plan(folder / "two.yaml"), store, device="cpu")
    return store


def test_rows_keep_the_noise_levels(ran):
    for row in ran.results():
        sampler = Sampler.model_validate(row["trial"]["sampler"])
        wanted = sampler.sigmas(probe_of({"kind": "gaussian", "mean": 0.1, "std": 0.4})).tolist()
        assert row["provenance"]["levels"] == {"sigmas": wanted, "rounds": False}


def test_the_answer_of_a_grid_can_be_copied(ran):
    html = render(ran, "two")
    page = Page(html)
    blocks = {attrs["data-copies"] for attrs in page.all("button") if attrs.get("class") == "copy"}
    assert len(blocks) == 2  # of four tools two cannot churn
    assert blocks <= {attrs.get("id") for attrs in page.all("code")}
    assert "The answer in other tools" in page.text
    assert "sample_heun" in page.text
    assert "Diffusers cannot express churn" in page.text
    command = re.search(r"harness export ([0-9a-f]{12}) --to python", page.text)
    assert command
    assert any(row["fingerprint"].startswith(command[1]) for row in ran.results())
    assert not [fact for fact in re.findall(r"<dt>(.*?)</dt>", html) if fact.startswith("levels")]


def test_the_text_is_that_of_the_command(ran):
    data = load(ran, "two")[0]
    trial = data.best(data.trials)
    made = exports("t", "a", trial.fingerprint, trial.sampler, trial.levels)
    text = {tool.tool: tool.text for tool in made.tools}["Noise levels"]
    assert json.loads(text)["sigmas"] == [*trial.levels["sigmas"], 0.0]


PLAIN = """
title: No distance
metrics: [end-point-error]
samples: 4
nfe: [5, 9]
denoisers: {exact: {source: {kind: gaussian, std: 0.4}}}
series: [{name: Heun}]
"""


def test_a_grid_without_a_distance_answers_by_its_first_metric(tmp_path, monkeypatch):
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    (tmp_path / "plain.yaml").write_text(PLAIN)
    store = Store(str(tmp_path / "results" / "harness.sqlite"))
    run(plan(tmp_path / "plain.yaml"), store, device="cpu")
    text = Page(render(store, "plain")).text
    assert "The answer in other tools" in text and "sample_heun" in text
    assert "Heun, NFE 9, End-point error" in text
    assert "--to python" in text


@pytest.mark.parametrize(
    ("sampler", "adaptive"),
    [
        ({"solver": "euler", "discretization": "flow", "schedule": "flow", "scaling": "flow", "steps": 3}, False),
        ({"solver": {"kind": "rk45", "rtol": 0.01}}, True),
    ],
)
def test_no_command_is_shown_that_would_be_refused(sampler, adaptive):
    made = Sampler.model_validate(sampler)
    sigmas = [sigma if sigma < float("inf") else "inf" for sigma in made.sigmas(probe_of("ideal")).tolist()]
    kept = {"sigmas": sigmas, "rounds": False}
    shown = exports("t", "a", "0" * 64, made.model_dump(mode="json"), kept, adaptive)
    assert shown.command == "" and json.loads(shown.tools[0].text)["sigmas"][:-1] == sigmas
    with pytest.raises(InputError):
        export_measured(made, kept, "python", [probe_of("ideal")])


def test_older_rows_have_no_such_section(ran):
    for row in ran.results():
        del row["provenance"]["levels"]
        ran.put_result({name: value for name, value in row.items() if name not in ("id", "finished_at")})
    html = render(ran, "two")
    assert "h-exports" not in html


def test_a_search_that_kept_levels_shows_its_setting(tmp_path):
    store = search_store.whole_search(tmp_path / "harness.sqlite")
    name = search_store.study()["name"]
    assert "h-exports" not in render_search(store, name)
    for row in store.results():
        levels = {"sigmas": [80.0, 1.0, 0.002], "rounds": False}
        changed = row | {"provenance": row["provenance"] | {"levels": levels}}
        store.put_result({key: value for key, value in changed.items() if key not in ("id", "finished_at")})
    html = render_search(store, name)
    assert "The setting in other tools" in html
    assert "ManualSigmas" in html or "cannot express" in html


def test_the_texts_load_no_torch():
    code = (
        "import harness.report.text.exports as e, sys;"
        "s={'solver':{'kind':'rk2','alpha':1.0},'schedule':{'kind':'linear'},'scaling':{'kind':'none'},"
        "'stochasticity':{'kind':'deterministic'},'steps':2};"
        "made=e.exports('t','a','0'*64,s,{'sigmas':[80.0,1.0]});"
        "assert all(tool.text for tool in made.tools), made;"
        "assert not {'torch','numpy','pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
