"""Installed packages add solvers, discretizations, metrics and executors by entry points; a bad one is a warning."""

import json
import re

import pytest

from harness.core.plugins import PluginError, require_plugins
from harness.execution.worker import ChunkTask, run_task
from tests.plugins import LEVELS, ROOT, Site

KUTTA, CONTRAST = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)

GRID = """
title: Of plugins
samples: 8
metrics: {kind: end-point-error, reference: 16}
denoisers: {data: {source: {kind: gaussian, std: 0.5, shape: [1, 2, 2]}}}
steps: [4]
series:
  - {name: Theirs, sampler: {solver: kutta3, discretization: square_roots}}
  - {name: Ours, sampler: {}}
"""

EXECUTOR = """
from harness.execution.executors.inline import InlineExecutor


class Counted(InlineExecutor):
    '''Runs tasks here and says so.'''

    def submit(self, fn, /, *args, **kwargs):
        print("COUNTED")
        return super().submit(fn, *args, **kwargs)
"""

FINGERPRINT = """
from harness.experiments.trial import Trial
from harness.sampling.sampler import Sampler
for solver in ("heun", "kutta3"):
    sampler = Sampler.model_validate({"solver": solver})
    trial = Trial(denoiser="x", weights="sha256:0", sampler=sampler)
    print(trial.fingerprint)
    assert Trial.model_validate_json(trial.model_dump_json()) == trial
"""


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "site")
    site.install("kutta-solver", KUTTA, {"solvers": {"kutta3": "Kutta3"}}, "1.2")
    site.install("more-levels", LEVELS, {"discretizations": {"square_roots": "SquareRoots"}})
    return site


def test_they_are_listed_with_where_they_come_from(site):
    solvers, levels, wrong = site.harness(
        ["ls", "solvers"],
        ["ls", "discretizations"],
        ["sample", "ideal", "-o", "x.png", "--sampler", "{solver: kutta4}"],
    )
    assert re.search(r"kutta3 +\[kutta-solver 1\.2\] Kutta's method, order 3", solvers.stdout), solvers.stderr
    assert solvers.stderr == ""
    assert re.search(r"square_roots +\[more-levels 1\.0\] Equal steps in the square root", levels.stdout)
    assert levels.stdout.count("[") == 1  # the others are built in
    assert wrong.returncode == 2
    assert "unknown kind 'kutta4'; allowed: 'euler'" in wrong.stderr
    assert "'kutta3'" in wrong.stderr


def test_a_grid_runs_with_them_and_its_results_stay_readable_without(site, tmp_path):
    (tmp_path / "theirs.yaml").write_text(GRID)
    run, store, page = ["run", "theirs.yaml", "--device", "cpu"], ["--store", "s.sqlite"], tmp_path / "page.html"
    (done,) = site.harness([*run, *store], cwd=tmp_path)
    assert "2 of 2 trials done, 0 failed" in done.stdout, done.stdout + done.stderr
    again, verified = site.harness([*run, *store], ["verify", *store], cwd=tmp_path)
    assert "; 0 chunks and 0 network evaluations" in again.stdout
    assert "2 of 2 results are as stored" in verified.stdout
    written, shown, lacking = site.harness(
        ["report", "theirs", "-o", page, *store], ["show", *store], [*run, *store], cwd=tmp_path, plugins=False
    )
    assert written.returncode == 0, written.stderr
    assert "Theirs" in page.read_text()
    assert shown.returncode == 0, shown.stderr
    assert lacking.returncode == 2
    assert "unknown kind 'kutta3'" in lacking.stderr


def test_a_metric_and_an_executor_of_packages_make_a_result(site, tmp_path):
    site.install("contrasts", CONTRAST, {"metrics": {"contrast": "Contrast"}})
    site.install("counting", EXECUTOR, {"executors": {"counted": "Counted"}})
    grid = GRID.replace("{kind: end-point-error, reference: 16}", "contrast")
    (tmp_path / "theirs.yaml").write_text(grid)
    store, page = ["--store", "s.sqlite"], tmp_path / "page.html"
    run = ["run", "theirs.yaml", "--device", "cpu", *store, "--executor"]
    listed, done, unknown = site.harness(["ls"], [*run, "counted"], [*run, "counter"], cwd=tmp_path)
    assert re.search(r"contrast +\[contrasts 1\.0\] Standard deviation of each", listed.stdout)
    assert re.search(r"counted +\[counting 1\.0\] Runs tasks here", listed.stdout)
    assert "2 of 2 trials done, 0 failed" in done.stdout, done.stdout + done.stderr
    assert "COUNTED" in done.stdout
    (written,) = site.harness(["report", "theirs", "-o", page, *store], cwd=tmp_path, plugins=False)
    assert written.returncode == 0, written.stderr
    assert "median contrast" in page.read_text()
    assert unknown.returncode == 2
    assert "no such executor; there is: processes, inline, counted" in unknown.stderr


def test_version_and_source_of_a_plugin_are_part_of_its_trials_identity(site):
    def fingerprints():
        done = site.run(FINGERPRINT)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    built_in, first = fingerprints()
    site.install("kutta-solver", KUTTA + "# another line\n", {"solvers": {"kutta3": "Kutta3"}}, "1.2")
    other_source = fingerprints()
    (site.folder / "kutta_solver-1.2.dist-info").rename(site.folder / "kutta_solver-1.3.dist-info")
    metadata = site.folder / "kutta_solver-1.3.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2", "1.3"))
    other_version = fingerprints()
    assert {built_in} == {other_source[0], other_version[0]}
    assert len({first, other_source[1], other_version[1]}) == 3


BAD = {
    "raises": ("raise RuntimeError('on import')\n", "raises", "cannot be imported (RuntimeError: on import)"),
    "exits": ("raise SystemExit(3)\n", "exits", "cannot be imported (SystemExit: 3)"),
    "is-no-solver": ("class Mine:\n    pass\n", "Mine", "is no harness.sampling.solvers.base.Solver"),
    "lacks-it": ("", "Nothing", "cannot be imported (AttributeError: "),
    "takes-euler": (KUTTA.replace('"kutta3"', '"euler"'), "Kutta3", "has the kind 'euler', which is built in"),
    "takes-heun": (KUTTA.replace('"kutta3"', '"heun"'), "Kutta3", "has the kind 'heun', which is built in"),
    "zz-again": (KUTTA, "Kutta3", "has the kind 'kutta3', which package kutta-solver 1.2 has too"),
}


def test_a_bad_plugin_is_a_warning_that_names_the_package(site, tmp_path):
    for name, (code, thing, _) in BAD.items():
        site.install(name, code, {"solvers": {"mine": thing}})
    (tmp_path / "theirs.yaml").write_text(GRID)
    run = ["run", "theirs.yaml", "--executor", "inline", "--store", "s.sqlite"]
    listed, done = site.harness(["ls"], run, cwd=tmp_path)
    assert listed.returncode == 0
    for name, (_, _, why) in BAD.items():
        assert f"warning: package {name} 1.0: 'mine' of harness.solvers {why}" in listed.stderr
    assert listed.stderr.count("warning: ") == len(BAD) == len(listed.stderr.splitlines())
    assert re.search(r"kutta3 +\[kutta-solver 1\.2\]", listed.stdout)
    assert re.search(r"  euler +Euler's method", listed.stdout)
    assert "2 of 2 trials done, 0 failed" in done.stdout, done.stdout + done.stderr


def test_no_plugin_is_imported_where_built_in_kinds_do(site, tmp_path):
    site.install("talks", "print('TALKS')\n", {"solvers": {"mine": "x"}, "executors": {"mine": "x"}})
    plan = GRID.replace("kutta3", "heun").replace("square_roots", "edm")
    (tmp_path / "plain.yaml").write_text(plan)
    *silent, listed = site.harness(["--help"], ["plan", "plain.yaml"], ["ls", "grids"], ["ls", "solvers"], cwd=tmp_path)
    for done in silent:
        assert done.returncode == 0, done.stderr
        assert "TALKS" not in done.stdout
    assert "TALKS" in listed.stdout


def test_a_worker_without_the_plugin_is_a_failure_of_the_machine():
    gone = {"module": "kutta_solver", "distribution": "kutta-solver", "version": "1.2", "source": "0"}
    with pytest.raises(PluginError, match=r"this machine lacks package kutta-solver 1\.2, which the work needs"):
        require_plugins([gone])
    with pytest.raises(PluginError, match="kutta-solver"):
        run_task(ChunkTask("{}", (), "{}", 1, False, plugins=(gone,)), "cpu")
    other = {"module": "json", "distribution": "json-plugin", "version": "2.0", "source": "0"}
    with pytest.raises(PluginError, match=r"needs json-plugin 2\.0 as it is where the run began"):
        require_plugins([other])


def test_the_json_of_a_trial_without_plugins_has_no_word_of_them():
    from harness.core.config import plugins_of
    from harness.sampling.sampler import Sampler

    sampler = Sampler.model_validate({"solver": "euler_maruyama", "stochasticity": "langevin"})
    assert plugins_of(sampler) == {}
    assert "plugins" not in json.loads(sampler.model_dump_json())
