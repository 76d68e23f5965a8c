"""The worked example of docs/extending.md: one file and one word make a solver that everything takes up."""

import difflib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness

PACKAGE = Path(harness.__file__).parent
ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "extending.md").read_text()
TESTS = ("__init__.py", "conftest.py", "problems.py", "sampling/__init__.py", "sampling/orders.py")


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with the document's file, and its word in the list of files."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(PACKAGE, root / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    solvers = root / "harness" / "sampling" / "solvers"
    code = re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL).group(1)
    (solvers / "kutta3.py").write_text(code)
    union = solvers / "__init__.py"
    before = union.read_text()
    union.write_text(before.replace('"solve_ivp")', '"solve_ivp", "kutta3")'))
    changes = [line for line in difflib.ndiff(before.split(), union.read_text().split()) if line[0] in "+-"]
    assert changes == ['- "solve_ivp"),', '+ "solve_ivp",', '+ "kutta3"),']
    for name in ("grids", "pretrained"):
        (root / name).symlink_to(ROOT / name)
    for name in (*TESTS, "sampling/test_orders.py", "sampling/test_batches.py", "sampling/test_convergence.py"):
        (root / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, root / "tests" / name)
    (root / "tests" / "denoisers").symlink_to(ROOT / "tests" / "denoisers")
    (root / "tests" / "golden").symlink_to(ROOT / "tests" / "golden")
    (root / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    return root


def run(root, *command):
    environment = os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )


def test_it_is_listed_and_drawn_with(extended, tmp_path):
    listed = run(extended, "harness.cli", "ls", "solvers")
    assert re.search(r"kutta3 +Kutta's method, order 3, 3 NFE per step", listed.stdout), listed.stderr
    sheet = tmp_path / "sheet.png"
    arguments = ("sample", "ideal", "-o", str(sheet), "--sampler", "{solver: kutta3, steps: 5}", "--seeds", "0-3")
    drawn = run(extended, "harness.cli", *arguments)
    assert "4 images, NFE 13" in drawn.stdout, drawn.stderr
    wrong = run(extended, "harness.cli", *arguments[:5], "{solver: {kind: kutta3, order: 4}}")
    assert wrong.returncode == 2
    assert "unknown key" in wrong.stderr


def test_the_tests_take_it_up_unasked(extended):
    done = run(extended, "pytest", "-q", "-p", "no:cacheprovider", "tests/sampling", "-k", "kutta3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout  # order, closed form, ancestral noise, and that batches do not matter
