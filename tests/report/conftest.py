import pytest

from tests.report import search_store, synthetic


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with the full synthetic grid, one trial of it failed; not to be written to."""
    with synthetic.fill(tmp_path_factory.mktemp("store") / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def make_store(tmp_path):
    """A function that fills a store of its own: the arguments of `synthetic.fill` but the path."""
    opened = []

    def make(**options):
        opened.append(synthetic.fill(tmp_path / f"store{len(opened)}.sqlite", **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def make_search(tmp_path):
    """A function that fills a store with a search: the arguments of `search_store.fill` but the path."""
    opened = []

    def make(*args):
        opened.append(search_store.fill(tmp_path / f"search{len(opened)}.sqlite", *args))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
