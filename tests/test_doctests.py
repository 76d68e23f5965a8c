"""The examples where a newcomer starts are run."""

import doctest
from importlib import import_module

import pytest

MODULES = {
    "harness.api": 10,
    "harness.denoisers.conventions": 5,
    "harness.denoisers.load": 3,
    "harness.exporting.export": 3,
    "harness.sampling.sample": 5,
    "harness.sampling.sampler": 6,
    "harness.sampling.solvers.base": 6,
}
"""Modules, and the examples that each has."""


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (done.failed, done.attempted) == (0, MODULES[name])
