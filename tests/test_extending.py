"""One file and one word in a copy of the tree: docs/extending.md's solver and metric, a discretization, an executor."""

import difflib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from tests import programs
from tests.plugins import LEVELS

PACKAGE = Path(harness.__file__).parent
ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "extending.md").read_text()
EXECUTOR = '''
"""An executor of one file."""

from harness.execution.executors.inline import InlineExecutor


class TwinExecutor(InlineExecutor):
    """Runs tasks here, as the one that it is made from."""
'''
TESTS = ("__init__.py", "conftest.py", "problems.py", "sampling/__init__.py", "sampling/orders.py")


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with a file and a word for each; the solver's is the document's."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(PACKAGE, root / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    solver, metric = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    add(root / "harness" / "sampling" / "solvers", "kutta3", solver, after='"solve_ivp"')
    add(root / "harness" / "metrics", "diagnostics.contrast", metric, after='"diagnostics.denoising_error"')
    add(root / "harness" / "sampling" / "discretizations", "square_roots", LEVELS, after='"optimized"')
    add(root / "harness" / "execution" / "executors", "twin", EXECUTOR, after='"inline"')
    for name in ("grids", "pretrained"):
        (root / name).symlink_to(ROOT / name)
    for name in (*TESTS, "sampling/test_orders.py", "sampling/test_batches.py", "sampling/test_convergence.py"):
        (root / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, root / "tests" / name)
    (root / "tests" / "denoisers").symlink_to(ROOT / "tests" / "denoisers")
    (root / "tests" / "golden").symlink_to(ROOT / "tests" / "golden")
    (root / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    return root


def add(folder, name, code, after):
    """A file, and its name as one more word after another in the package's list."""
    (folder / f"{name.replace('.', '/')}.py").write_text(code)
    package = folder / "__init__.py"
    before = package.read_text()
    assert before.count(after) == 1
    package.write_text(before.replace(after, f'{after}, "{name}"'))
    words = [re.findall(r"\w+", text) for text in (before, package.read_text())]
    assert [line for line in difflib.ndiff(*words) if line[0] in "+-"] == [f"+ {word}" for word in name.split(".")]


def commands(root, *words):
    return programs.harness(*words, path=[root], cwd=root)


def test_it_is_listed_and_drawn_with(extended, tmp_path):
    sample = ["sample", "ideal", "-o", tmp_path / "sheet.png", "--seeds", "0-3", "--sampler"]
    listed, drawn, wrong = commands(
        extended,
        ["ls", "solvers"],
        [*sample, "{solver: kutta3, steps: 5}"],
        [*sample, "{solver: {kind: kutta3, order: 4}}"],
    )
    assert re.search(r"kutta3 +Kutta's method, order 3, 3 NFE per step", listed.stdout), listed.stderr
    assert "4 images, NFE 13" in drawn.stdout, drawn.stderr
    assert wrong.returncode == 2
    assert "unknown key" in wrong.stderr


GRID = """
title: Levels by square roots
samples: 8
metrics: {kind: end-point-error, reference: 16}
denoisers: {data: {source: {kind: gaussian, std: 0.5, shape: [1, 2, 2]}}}
steps: [4]
series: [{name: Theirs, sampler: {solver: kutta3, discretization: square_roots}}]
"""


def test_a_discretization_and_an_executor_run_a_grid(extended, tmp_path):
    grid = tmp_path / "theirs.yaml"
    grid.write_text(GRID)
    run = ["run", grid, "--executor", "twin", "--device", "cpu", "--store", tmp_path / "s.sqlite"]
    levels, executors, done = commands(extended, ["ls", "discretizations"], ["ls", "executors"], run)
    assert re.search(r"square_roots +Equal steps in the", levels.stdout)
    assert re.search(r"twin +Runs tasks here", executors.stdout)
    assert "1 of 1 trials done, 0 failed" in done.stdout, done.stdout + done.stderr


CONTRAST = """
title: How much contrast
samples: 16
metrics: contrast
denoisers: {data: {source: {kind: gaussian, std: 0.5, shape: [1, 2, 2]}}}
steps: [3, 5]
series: [{name: Heun, sampler: {}}]
"""


def test_a_metric_has_its_number_and_its_column_in_the_report(extended, tmp_path):
    grid, page = tmp_path / "contrast.yaml", tmp_path / "page.html"
    grid.write_text(CONTRAST)
    store = ["--store", str(tmp_path / "s.sqlite")]
    run = ["run", grid, "--executor", "inline", "--device", "cpu", *store]
    listed, done = commands(extended, ["ls", "metrics"], run)
    assert re.search(r"contrast +Standard deviation of each", listed.stdout)
    assert "2 of 2 trials done, 0 failed" in done.stdout, done.stdout + done.stderr
    written = subprocess.run(  # without the metric: what a report shows of it is stored
        [sys.executable, "-m", "harness.cli", "report", "contrast", "-o", str(page), *store],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert written.returncode == 0, written.stderr
    text = page.read_text()
    assert "Contrast" in text
    assert "median contrast" in text


def test_the_tests_take_it_up_unasked(extended):
    words = ["-q", "-p", "no:cacheprovider", "tests/sampling", "-k", "kutta3"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=extended, env=os.environ | {"PYTHONPATH": str(extended)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout  # order, closed form, ancestral noise, and that batches do not matter
