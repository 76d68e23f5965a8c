"""What grids and searches are called: files of one name beside each other, dots, moves, and what is ambiguous."""

import pytest

from harness.core.errors import InputError
from harness.store.database import Store
from harness.store.names import (
    LONGEST,
    Named,
    find_in_store,
    find_named,
    fingerprints_of,
    keep_grid,
    latest,
    shortened,
)
from harness.store.studies import Studies


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store(str(tmp_path / "results" / "s.sqlite")) as opened:
        yield opened


def keep(store, place, title="A", name=None):
    name = name or place.rpartition("/")[2].removesuffix(".yaml")
    return keep_grid(store, {"name": name, "place": place, "title": title, "source": f"title: {title}", "items": []})


def test_two_files_of_one_name_are_two_grids(store, tmp_path):
    assert keep(store, f"{tmp_path}/a/g.yaml") == ("g", "")
    name, note = keep(store, f"{tmp_path}/b/g.yaml", "B")
    assert (name, note) == ("b/g", "another grid 'g' ('A', ../a/g.yaml) is in the store; this one is kept as 'b/g'")
    assert keep(store, f"{tmp_path}/c/b/g.yaml", "C")[0] == "c/b/g"
    assert {key: store.grid(key)["title"] for key in store.grid_names()} == {"g": "A", "b/g": "B", "c/b/g": "C"}
    for wanted, key in {"a/g": "g", "a/g.yaml": "g", "./a/g.yaml": "g", "c/b/g": "c/b/g", "../a/g": "g"}.items():
        assert find_in_store(store, wanted) == key
    for wanted in ("g", "g.yaml"):
        with pytest.raises(InputError, match=r"is the name of 3 grids: .* give one of these") as caught:
            find_in_store(store, wanted)
        assert all(told in str(caught.value) for told in ("a/g ('A')", "b/g ('B')", "c/b/g ('C')"))
    assert [find_in_store(store, told) for told in ("b/g", "../b/g")] == ["b/g", "b/g"]


def test_a_file_that_was_edited_or_moved_is_the_same_grid(store, tmp_path):
    keep(store, f"{tmp_path}/a/g.yaml")
    assert keep(store, f"{tmp_path}/a/g.yaml", "Edited") == ("g", "")
    assert keep(store, f"{tmp_path}/moved/g.yaml", "Edited") == ("g", "")
    assert store.grid_names() == ["g"]
    assert store.grid("g")["place"] == "../moved/g.yaml"


def test_a_project_may_move_with_its_store(store, tmp_path):
    keep(store, f"{tmp_path}/grids/g.yaml")
    store.close()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").rename(tmp_path / "elsewhere" / "results")
    with Store(str(tmp_path / "elsewhere" / "results" / "s.sqlite")) as moved:
        assert keep(moved, f"{tmp_path}/elsewhere/grids/g.yaml", "Edited") == ("g", "")


def test_the_file_that_is_named_is_the_one_that_is_meant(store, tmp_path, monkeypatch):
    keep(store, f"{tmp_path}/a/g.yaml")
    for folder, title in (("a", "A"), ("b", "B")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "g.yaml").write_text(f"title: {title}")
    monkeypatch.chdir(tmp_path / "a")
    assert find_in_store(store, "g.yaml") == "g"
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(InputError, match=r"no grid 'g\.yaml' was run into this store; it has: g$"):
        find_in_store(store, "g.yaml")
    keep(store, f"{tmp_path}/b/g.yaml", "B")
    assert find_in_store(store, "g.yaml") == "b/g"


def test_dots_and_suffixes(store, tmp_path):
    for name in ("heun", "heun.v2", "rho0.5"):
        keep(store, f"{tmp_path}/{name}.yaml", name)
        assert find_in_store(store, name) == find_in_store(store, f"{name}.yaml") == name
    with pytest.raises(InputError, match=r"no grid 'heun\.v3'"):
        find_in_store(store, "heun.v3")
    keep(store, f"{tmp_path}/heun.yml", "other", name="heun")
    assert find_in_store(store, "heun.yaml") == "heun"
    assert store.grid(find_in_store(store, "heun.yml"))["title"] == "other"
    with pytest.raises(InputError, match=r"heun\.yaml \('heun'\).*; give one of these|\.\./heun\.yaml \('heun'\)"):
        find_in_store(store, "heun")


def test_a_file_beside_the_folder_of_another(store, tmp_path):
    """The end of its path is the end of the other's as well."""
    keep(store, f"{tmp_path}/g.yaml")
    assert keep(store, f"{tmp_path}/a/g.yaml", "B")[0] == "a/g"
    with pytest.raises(InputError, match=r"\.\./g \('A'\)"):
        find_in_store(store, "g")
    assert (find_in_store(store, "../g"), find_in_store(store, "a/g")) == ("g", "a/g")
    assert keep(store, f"{tmp_path}/results/g.yaml", "C")[0] == "results/g"


def test_a_grid_of_an_earlier_version_is_replaced_and_that_is_said(store, tmp_path):
    store.put_grid("g", {"title": "Old", "source": "title: Old", "items": []})
    assert find_in_store(store, "grids/g.yaml") == "g"
    assert keep(store, f"{tmp_path}/g.yaml", "Old") == ("g", "")
    store.put_grid("g", {"title": "Old", "source": "title: Old", "items": []})
    assert keep(store, f"{tmp_path}/g.yaml", "New") == (
        "g",
        "another grid 'g' ('Old') was in the store, and is replaced",
    )


def test_long_names(store, tmp_path):
    one, other = "n" * 245, "n" * 246
    for name in (one, other):
        keep(store, f"{tmp_path}/{name}.yaml", name)
    assert len(set(store.grid_names())) == 2
    assert all(len(name) <= LONGEST for name in store.grid_names())
    assert find_in_store(store, one) == shortened(one) != find_in_store(store, other)
    assert len(shortened("\u00e9" * 200).encode()) <= LONGEST


def test_a_grid_and_a_search_of_one_name(store, tmp_path):
    keep(store, f"{tmp_path}/one.yaml")
    studies = Studies(store)
    studies.open("two", {}, {})
    assert find_named(store, "one") == Named("grid", "one")
    assert find_named(store, "two") == Named("search", "two")
    studies.open("one", {}, {})
    with pytest.raises(InputError, match=r"'one' is a grid and a search; give one\.yaml for the grid, or --search"):
        find_named(store, "one")
    assert find_named(store, "one.yaml") == Named("grid", "one")
    assert find_named(store, "one", is_search=True) == Named("search", "one")
    with pytest.raises(InputError, match=r"no grid or search 'three' .* it has: one; searches: one, two"):
        find_named(store, "three")
    slot = {"status": "running", "origin": "suggested", "params": {}, "fingerprint": "f"}
    studies.begin("two", 0, slot)
    assert fingerprints_of(store, Named("search", "two")) == ["f"]


def test_the_latest_is_told_within_a_second(store, tmp_path):
    assert latest(store) is None
    for name in ("z", "a", "m"):
        keep(store, f"{tmp_path}/{name}.yaml", name)
        assert store.grid_names()[0] == name
        assert latest(store) == Named("grid", name)
    Studies(store).open("b", {}, {})
    assert latest(store) == Named("search", "b")
