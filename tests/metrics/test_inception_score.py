"""The inception score against its definition; sums that merge in any order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax

from harness.core.errors import InputError, SamplingError
from harness.metrics.inception_score import inception_score
from harness.metrics.statistics.class_sums import ClassSums

seeds = st.integers(0, 2**32 - 1)


def brute(p):
    return np.exp(rel_entr(p, p.mean(0)).sum(1).mean())


def draw(rng, n, classes=7, sharpness=3.0):
    return softmax(rng.normal(size=(n, classes)) * sharpness, axis=1)


@given(seeds, st.integers(1, 50), st.integers(1, 9))
@settings(max_examples=50)
def test_any_cut_gives_the_score_of_the_definition(seed, n, classes):
    rng = np.random.default_rng(seed)
    p = draw(rng, n, classes)
    p[rng.random(n) < 0.3] = np.eye(classes)[rng.integers(classes)]  # certain rows: 0 log 0
    parts = np.split(p, np.sort(rng.integers(0, n + 1, 3)))
    found = inception_score([ClassSums.of(part) for part in parts])
    assert found.value == pytest.approx(brute(p), rel=1e-12)
    assert 1 <= found.value <= classes * (1 + 1e-12)
    streamed = ClassSums.empty(classes)
    for i in rng.permutation(len(parts)):
        streamed.update(parts[i])
    assert streamed.n == n and streamed.score() == pytest.approx(found.value, rel=1e-12)


def test_replicates_and_blocks():
    parts = [draw(np.random.default_rng(i), size) for i, size in enumerate((20, 5, 1, 14))]
    found = inception_score([ClassSums.of(part) for part in [*parts, np.empty((0, 7))]])
    rests = [np.concatenate(parts[:j] + parts[j + 1 :]) for j in range(4)]
    assert found.replicates == pytest.approx([brute(rest) for rest in rests], rel=1e-12)
    own = [brute(part) for part in parts]
    assert found.details == pytest.approx({"block_mean": np.mean(own), "block_sd": np.std(own), "blocks": 4})
    assert found.sizes.tolist() == [20, 5, 1, 14] and found.interval().blocks == 4


def test_limits():
    assert ClassSums.of(np.eye(10)).score() == pytest.approx(10)
    assert ClassSums.of(np.full((5, 10), 0.1)).score() == 1
    alone = inception_score([ClassSums.of(np.eye(3))])
    assert not len(alone.replicates) and alone.interval() is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rounded_probabilities_are_brought_to_one(dtype):
    p = draw(np.random.default_rng(1), 200, 10)
    assert ClassSums.of(p.astype(dtype)).p.sum() == pytest.approx(200, rel=1e-14)
    assert ClassSums.of(p.astype(dtype)).score() == pytest.approx(brute(p), rel=2e-4)


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([[0.5, 0.6], [0.5, 0.5]], "1 of 2 rows are not, the first adds up to 1.1 with minimum 0.5; give the softmax"),
        ([[1.5, -0.5], [0.5, 0.5]], "the first adds up to 1 with minimum -0.5"),
        ([[0.498, 0.5]], "add up to 1 within 0.001"),
        ([[], []], "at least 1 class"),
        ([0.5, 0.5], r"\[B, d\]"),
    ],
)
def test_rows_that_are_no_probabilities(p, message):
    with pytest.raises(InputError, match=message):
        ClassSums.of(np.array(p))


def test_refusals():
    with pytest.raises(SamplingError, match="1 of 2 feature vectors are not finite"):
        ClassSums.of(np.array([[0.5, 0.5], [np.nan, 0.5]]))
    with pytest.raises(InputError, match="one number of classes; we got 2 and 3"):
        _ = ClassSums.empty(2) + ClassSums.empty(3)
    for nothing in ([], [ClassSums.empty(3)]):
        with pytest.raises(InputError, match="at least 1 sample"):
            inception_score(nothing)
    with pytest.raises(InputError, match="at least 1 sample"):
        ClassSums.empty(3).score()


class TestFile:
    sums = ClassSums.of(draw(np.random.default_rng(2), 9))

    def test_round_trip(self, tmp_path):
        np.savez(tmp_path / "sums.npz", **self.sums.arrays())
        with np.load(tmp_path / "sums.npz", allow_pickle=False) as arrays:
            back = ClassSums.from_arrays(arrays)
        assert type(back.n) is int and back.score() == self.sums.score() and np.array_equal(back.p, self.sums.p)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"p": None}, r"lacks \['p'\]"),
            ({"n": np.array(-1)}, "n must be one integer"),
            ({"p": np.ones((2, 2))}, r"needs float64 p \[classes\]"),
            ({"p_log_p": np.array(-1.0, np.float32)}, r"needs float64 p \[classes\]"),
            ({"p": np.full(7, -1.0)}, "negative or not finite"),
            ({"p_log_p": np.array(np.nan)}, "negative or not finite"),
        ],
    )
    def test_damage_is_named(self, change, message):
        arrays = {key: value for key, value in {**self.sums.arrays(), **change}.items() if value is not None}
        with pytest.raises(InputError, match=message):
            ClassSums.from_arrays(arrays)
