"""Where grids are found: by path, or by the name of a packaged one where that is all that is meant."""

import pytest

from harness.core.errors import InputError
from harness.experiments.grid_files import PACKAGE, find_grid, grid_name, grid_names, place_of


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_bare_name_is_a_packaged_grid():
    assert find_grid("smoke") == grid_names()["smoke"]
    assert find_grid("mixture") == find_grid("claims/mixture") == grid_names()["claims/mixture"]


@pytest.mark.parametrize("name", ["experimnets/smoke.yaml", "smoke.yaml", "smoke.yml", "./smoke", "x/claims/mixture"])
def test_a_path_that_is_not_there_runs_nothing(name):
    with pytest.raises(InputError, match=f"{name}: no such file"):
        find_grid(name)


def test_what_a_missing_path_could_have_meant(tmp_path):
    with pytest.raises(InputError, match="a grid that comes with the package is called claims/mixture"):
        find_grid("grids/mixture.yaml")
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(InputError, match=r"mine: no such file; mine\.yaml is there"):
        find_grid("mine")
    with pytest.raises(InputError, match=r"nor a grid that comes with the package; those are: .*smoke"):
        find_grid("nothing")


@pytest.mark.parametrize("file", ["smoke.yaml", "smoke.yml", "smoke"])
def test_a_bare_name_that_is_a_file_here_too_is_refused(tmp_path, file):
    (tmp_path / file).touch()
    with pytest.raises(
        InputError, match=r"comes with the package, and smoke\S* is here as well; give \S*smoke\S* or /"
    ):
        find_grid("smoke")
    assert find_grid(f"./{file}").samefile(file)


def test_dots_are_part_of_a_name(tmp_path):
    names = {"heun.v2.yaml": "heun.v2", "rho0.5.yml": "rho0.5", "heun.v2": "heun.v2", "a.yaml.yaml": "a.yaml"}
    for file, name in names.items():
        assert grid_name(tmp_path / file) == name


def test_a_place_is_the_file_or_the_package(tmp_path):
    assert place_of(grid_names()["claims/mixture"]) == f"{PACKAGE}/claims/mixture.yaml"
    (tmp_path / "link").symlink_to(tmp_path)
    assert place_of(tmp_path / "link" / "g.yaml") == str(tmp_path / "g.yaml")
