"""Shared fixtures: the golden numbers; one thread so that two test processes do not fight for cores; no deadlines."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

GOLDEN = Path(__file__).parent / "golden"


class Golden(NamedTuple):
    """One golden file: its arrays and the parameters beside them."""

    arrays: Any
    meta: dict


def golden(name: str) -> Golden:
    """Load `tests/golden/NAME.npz` and its JSON."""
    arrays = np.load(GOLDEN / f"{name}.npz", allow_pickle=False)
    return Golden(arrays, json.loads((GOLDEN / f"{name}.json").read_text()))


def relative_error(ours, theirs) -> float:
    """max |a - b| / max |b|."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
