"""The collector is as it was after the block, also where the block fails or there are two of them."""

import gc

import pytest

from harness.core.collector import held_collector


def test_is_off_inside_and_on_again():
    @held_collector()
    def inner():
        return gc.isenabled()

    with held_collector():
        assert not inner() and not gc.isenabled()
    assert gc.isenabled()


def test_is_on_again_after_an_error():
    with pytest.raises(KeyError), held_collector():
        raise KeyError
    assert gc.isenabled()


def test_stays_off_where_it_was():
    gc.disable()
    try:
        with held_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
