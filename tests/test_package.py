"""The wheel carries grids and embedded networks, and works outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import programs

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked as pip would install it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_what_the_wheel_carries(installed):
    carried = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    for name in ("digits-vp", "digits-ve", "digits-adm", "digits-edm", "digits-features"):
        assert f"harness/data/pretrained/{name}.safetensors" in carried
    assert "harness/data/pretrained/cards.yaml" in carried
    for grid in (ROOT / "grids").rglob("*.yaml"):
        assert f"harness/data/grids/{grid.relative_to(ROOT / 'grids')}" in carried
    assert "harness/core/published.yaml" in carried
    assert any(name.startswith("harness/report/templates/") for name in carried)
    assert not [name for name in carried if "golden" in name or name.startswith("tests")]


def test_it_runs_outside_the_checkout(installed, tmp_path):
    where = "import harness; print(harness.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert str(installed) in found.stdout
    sample = ["sample", "digits-adm", "-o", "sheet.png", "--sampler", "{steps: 3}", "--seeds", "0-7"]
    commands = [["ls", "denoisers"], ["run", "smoke", "--device", "cpu"], ["report"], [*sample, "--device", "cpu"]]
    listed, run, report, drawn = programs.harness(*commands, path=[installed], cwd=tmp_path)
    assert "digits-ve" in listed.stdout
    assert "4 of 4 trials done" in run.stdout, run.stderr
    assert report.stdout.strip() == "reports/smoke.html"
    assert drawn.returncode == 0, drawn.stderr
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"results/harness.sqlite", "reports/smoke.html", "sheet.png"} <= made
