"""Studies in the store: written once, settled once, whoever comes first."""

import pytest

from harness.core.errors import InputError
from harness.store.database import Store
from harness.store.studies import DONE, FAILED, PRUNED, RUNNING, Studies

SPEC = {"target": "stochastic", "nfe": 127}
SLOT = {"status": RUNNING, "origin": "suggested", "params": {"gamma": 0.2}, "fingerprint": "f" * 64}


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "s.sqlite")) as opened:
        yield opened


@pytest.fixture
def studies(store):
    found = Studies(store)
    found.open("one", SPEC, {"title": "One"})
    return found


def test_opening_again_finds_the_same(studies):
    again = studies.open("one", SPEC, {"title": "ignored"})
    assert (again["spec"], again["record"]) == (SPEC, {"title": "One"})
    assert studies.names() == ["one"]


def test_another_search_under_the_name_is_refused_with_what_differs(studies):
    with pytest.raises(InputError, match=r"study 'one' is another search: nfe is 127 there and 63 here; .*--study"):
        studies.open("one", SPEC | {"nfe": 63}, {})
    with pytest.raises(InputError, match="denoiser is None there and x here"):
        studies.open("one", SPEC | {"denoiser": "x"}, {})


def test_infinity_is_a_word_in_the_store(studies):
    spec = {"enqueue": [{"S_tmax": float("inf")}], "rungs": (1, 2)}
    assert studies.open("two", spec, {})["spec"] == {"enqueue": [{"S_tmax": "inf"}], "rungs": [1, 2]}
    studies.open("two", spec, {})


def test_a_slot_is_written_once(studies):
    first = studies.begin("one", 0, SLOT)
    second = studies.begin("one", 0, SLOT | {"params": {"gamma": 0.4}})
    assert first == second and second["params"] == {"gamma": 0.2}
    assert [row["number"] for row in studies.slots("one")] == [0]
    assert studies.slot("one", 1) is None


def test_a_slot_is_settled_once(studies):
    studies.begin("one", 0, SLOT)
    assert studies.settle("one", 0, {"rungs": [{"n": 64}]})
    assert studies.slot("one", 0)["finished_at"] is None
    assert studies.settle("one", 0, {"status": DONE, "value": 1.5})
    assert not studies.settle("one", 0, {"status": PRUNED, "value": 9.0})
    row = studies.slot("one", 0)
    assert (row["status"], row["value"], row["rungs"]) == (DONE, 1.5, [{"n": 64}]) and row["finished_at"]


def test_one_process_copies_to_optuna_at_a_time(studies, store):
    with Store(str(store.path)) as other:
        other.owner = store.owner._replace(host="elsewhere")
        theirs = Studies(other)
        assert studies.take_mirror("one") and not theirs.take_mirror("one")
        theirs.give_mirror("one")  # it is not theirs to give
        assert not theirs.take_mirror("one")
        studies.give_mirror("one")
        assert theirs.take_mirror("one") and not studies.take_mirror("one")


def test_who_copied_and_is_gone_does_not_block_others(studies, store):
    store.owner = store.owner._replace(started="before")
    assert studies.take_mirror("one")
    with Store(str(store.path)) as other:
        assert Studies(other).take_mirror("one")
    assert not studies.take_mirror("none of that name")


def test_a_study_can_be_forgotten(studies):
    studies.begin("one", 0, SLOT)
    studies.forget("one")
    assert studies.find("one") is None and studies.slots("one") == []


def test_a_slot_that_is_over_when_it_is_begun_has_an_end(studies):
    row = studies.begin("one", 0, SLOT | {"status": FAILED, "reason": "no sampler"})
    assert row["finished_at"] == row["started_at"]
    assert studies.begin("one", 1, SLOT)["finished_at"] is None


def test_failed_slots_that_made_a_sampler_run_again(studies):
    studies.begin("one", 0, SLOT)
    studies.settle("one", 0, {"status": FAILED, "reason": "a bad day", "step": 3, "rungs": [{"n": 8}]})
    studies.begin("one", 1, SLOT | {"status": FAILED, "reason": "no sampler", "fingerprint": None})
    studies.begin("one", 2, SLOT)
    studies.settle("one", 2, {"status": DONE, "value": 1.0})
    assert studies.retry("one") == [0]
    first, second, third = studies.slots("one")
    assert (first["status"], first["reason"], first["step"], first["finished_at"]) == (RUNNING, None, None, None)
    assert first["rungs"] == [{"n": 8}]
    assert (second["status"], third["status"]) == (FAILED, DONE)
    assert studies.retry("one") == []
