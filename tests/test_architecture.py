"""The plan of the house: imports flow one way, and light commands load nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.store.database import Store
from harness.store.studies import Studies

ROOT = Path(harness.__file__).parent
ROOMS = [
    "core",
    "hub",
    "sampling",
    "exporting",
    "denoisers",
    "datasets",
    "metrics",
    "training",
    "experiments",
    "store",
    "execution",
    "search",
    "report",
    "cli",
    "api",
]
"""A room imports only rooms above it."""


def imports(path):
    """The top-level parts of `harness` that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "harness" else [f"harness.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("harness."):
                yield name.split(".")[1]


MODULES = sorted(
    path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem not in ("__init__", "__main__")
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_one_way(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert own in ROOMS, f"{own} is not in the plan of the house"
    for other in set(imports(path)) - {own, "__version__"}:
        assert ROOMS.index(other) < ROOMS.index(own), f"{path.relative_to(ROOT)} imports {other}"


def loaded_by(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


SHOW = "; import sys; print(' '.join(m for m in sys.modules if '.' not in m))"
SPEC = {"target": "tiny", "nfe": 5, "fresh_seed": 9}
RECORD = {"denoiser": "x", "metric": {"title": "FID"}, "objective": {"better": "lower"}}
HEAVY = {"torch", "matplotlib", "pandas", "sqlalchemy", "scipy", "sklearn", "optuna", "numpy", "pydantic", "urllib3"}


def test_help_loads_nothing_heavy():
    run = "assert CliRunner().invoke(app, ['--help']).exit_code == 0"
    code = f"from typer.testing import CliRunner; from harness.cli.main import app; {run}"
    assert not HEAVY & loaded_by(code + SHOW)


@pytest.mark.parametrize(
    ("words", "code", "also"),
    [(["search", "--status"], 0, {"sqlalchemy", "pydantic"}), (["plan", "nothing"], 2, {"pydantic"})],
    ids=["status", "plan of nothing"],
)
def test_quick_answers_load_nothing_that_samples(tmp_path, words, code, also):
    """What typer itself loads aside."""
    Studies(Store(str(tmp_path / "results" / "harness.sqlite"))).open("one", SPEC, RECORD)
    run = f"assert CliRunner().invoke(app, {words}).exit_code == {code}"
    there = f"import os; os.chdir({str(tmp_path)!r})"
    loaded = loaded_by(f"{there}; from typer.testing import CliRunner; from harness.cli.main import app; {run}" + SHOW)
    assert not (HEAVY | {"seaborn"}) - also & loaded


NEEDING_A_STORE = [[word] for word in ("show", "report", "claims", "verify", "gc")]
NEEDING_A_STORE += [["search", "--status"], ["compare", "a", "b"], ["merge", "other.sqlite"], ["forget", "g"]]


@pytest.mark.parametrize("words", NEEDING_A_STORE)
def test_a_folder_without_a_store_is_told_before_sqlalchemy_is_loaded(tmp_path, words):
    run = f"done = CliRunner().invoke(app, {words}); assert done.exit_code == 2 and 'no store yet' in done.output"
    there = f"import os; os.chdir({str(tmp_path)!r})"
    loaded = loaded_by(f"{there}; from typer.testing import CliRunner; from harness.cli.main import app; {run}" + SHOW)
    assert not HEAVY - {"pydantic"} & loaded


def test_report_and_show_load_no_torch():
    pages = "from harness.report.pages import grid, index, search"
    assert "torch" not in loaded_by(f"{pages}; import harness.cli.tables, harness.report.data" + SHOW)


def test_show_loads_no_tables_and_figures():
    loaded = loaded_by("import harness.cli.tables, harness.report.data" + SHOW)
    assert not {"torch", "pandas", "matplotlib", "scipy", "optuna"} & loaded


def test_cards_and_specs_load_no_torch():
    code = "from harness.denoisers.load import describe; describe('ideal'); describe('digits-vp')"
    assert "torch" not in loaded_by(code + SHOW)


def test_metrics_load_no_torch():
    assert not {"torch", "scipy"} & loaded_by("import harness.metrics; harness.metrics.METRICS.kinds" + SHOW)


def test_nothing_outside_asks_which_metric_it_is():
    for path in MODULES:
        if path.relative_to(ROOT).parts[0] != "metrics":
            text = path.read_text()
            assert "FeatureMetric" not in text and "Diagnostic)" not in text, path


def test_nothing_needs_torchvision():
    for path in MODULES:
        assert "torchvision" not in path.read_text()


def test_one_module_opens_connections():
    """Nothing leaves or reaches the machine but through `download`; `socket` elsewhere only tells the host's name."""
    reaching = {"urllib.request", "http.client", "http.server", "socket", "ssl", "requests", "urllib3", "httpx"}
    reaching |= {"aiohttp", "ftplib", "smtplib", "xmlrpc", "telnetlib", "socketserver", "huggingface_hub"}
    for path in MODULES:
        tree = ast.parse(path.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        found = {name for name in names if name in reaching or name.split(".")[0] in reaching}
        if path == ROOT / "hub" / "download.py":
            assert {"urllib3", "http.client"} <= found
            continue
        if "socket" in found:
            uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "socket"]
            asked = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.value in uses]
            assert {node.attr for node in asked} == {"gethostname"}, path
            assert len(asked) == len(uses), path
            found -= {"socket"}
        assert not found, f"{path.relative_to(ROOT)} imports {found}"


def test_no_file_is_a_drawer():
    for path in MODULES:
        assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
        assert len(path.read_text().splitlines()) <= 450, path
