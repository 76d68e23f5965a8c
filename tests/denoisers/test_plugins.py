"""A denoiser and a checkpoint format of an installed package: listed with their origin, and used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import harness
from tests.denoisers.checkpoints.test_adding_a_format import FORMAT
from tests.denoisers.snapshots import small

DENOISER = '''"""A denoiser that shrinks its input towards 0."""

from typing import Literal

from harness.denoisers.analytic.specs import AnalyticSpec


class Shrink(AnalyticSpec):
    """Data from N(0, std^2 I), the package's own."""

    kind: Literal["shrink"] = "shrink"
    std: float = 0.5

    def describe(self, *parts):
        return self._describe((1, 2, 2))

    def on(self, device):
        from harness.denoisers.analytic.exact import Gaussian

        return Gaussian(0.0, self.std, (1, 2, 2), device)
'''


@pytest.fixture
def site(tmp_path):
    """A folder on the path with an installed package `toybox` 1.2; its module of formats can be broken."""
    site = tmp_path / "site"
    (site / "toybox").mkdir(parents=True)
    (site / "toybox" / "__init__.py").write_text("")
    (site / "toybox" / "shrink.py").write_text(DENOISER)
    (site / "toybox" / "archive.py").write_text(FORMAT)
    info = site / "toybox-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toybox\nVersion: 1.2\n")
    (info / "top_level.txt").write_text("toybox\n")
    (info / "entry_points.txt").write_text(
        "[harness.denoisers]\nshrink = toybox.shrink:Shrink\n[harness.formats]\narchive = toybox.archive:NumpyArchive\n"
    )
    return site


def run(site, folder, *arguments):
    path = os.pathsep.join([str(site), str(Path(harness.__file__).parents[1])])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_they_are_listed_and_used(site, tmp_path):
    for axis, line in (
        ("denoisers", "[toybox 1.2] Data from N(0, std^2 I)"),
        ("formats", "[toybox 1.2] A network as a"),
    ):
        assert line in run(site, tmp_path, "-m", "harness.cli", "ls", axis).stdout
    net = small()
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    np.savez(tmp_path / "toy.npz", config=np.array(json.dumps(net.config | {"sigma_max": 80.0})), **arrays)
    done = run(site, tmp_path, "-m", "harness.cli", "import", "toy.npz", "-o", "toy.safetensors")
    assert "NumPy archive, SHA-256" in done.stdout, done.stderr
    code = (
        "import json, harness, torch; from harness.denoisers.load import describe\n"
        "x = torch.ones(1, 1, 2, 2, dtype=torch.float64)\n"
        "D = harness.load_denoiser('shrink')(x, torch.tensor(0.5))\n"
        "print(json.dumps([D.mean().item(), describe({'kind': 'shrink', 'std': 0.5}).identity]))"
    )
    done = run(site, tmp_path, "-c", code)
    value, identity = json.loads(done.stdout or f'["{done.stderr}", "{{}}"]')
    package = json.loads(identity)["plugins"][""]
    assert value == 0.5
    assert (package["distribution"], package["version"]) == ("toybox", "1.2")
    assert len(package["source"]) == 64


def test_a_broken_package_is_a_warning_that_names_it(site, tmp_path):
    (site / "toybox" / "archive.py").write_text("import nothing_of_this_name\n")
    listed = run(site, tmp_path, "-m", "harness.cli", "ls", "formats")
    assert listed.returncode == 0
    assert "edm-snapshot" in listed.stdout
    assert "package toybox 1.2: 'archive' of harness.formats cannot be imported" in " ".join(listed.stderr.split())
