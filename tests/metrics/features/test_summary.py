"""What is kept of images: files of it, merges, and images from elsewhere in random blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import InputError, SamplingError
from harness.datasets.image_bytes import from_bytes
from harness.datasets.image_set import ImageSet, of_array
from harness.metrics import FID, KID
from harness.metrics.evaluate import evaluate, observe
from harness.metrics.features.configs import DigitsFeatures, Pixels
from harness.metrics.features.extractor import Extractor, Outputs
from harness.metrics.features.summary import FeatureSummary, extract_features
from harness.metrics.references import KEPT_FEATURES
from harness.metrics.statistics.jackknife import BLOCKS
from harness.metrics.statistics.moments import Moments

SHAPE = (3, 4, 4)


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    return of_array("made", rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8))


def digits(count):
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8))


def test_files_hold_what_was_kept(tmp_path):
    seen = extract_features(DigitsFeatures().load((1, 8, 8)), from_bytes(digits(30)), {"features", "classes"}, 8)
    one = seen.summary(slice(0, 30), {"features", "classes"})
    np.savez(tmp_path / "kept.npz", **one.arrays())
    with np.load(tmp_path / "kept.npz") as arrays:
        back = FeatureSummary.from_arrays(arrays)
    assert back.n == 30 and np.array_equal(back.features, one.features)
    assert back.classes.score() == one.classes.score()
    assert np.array_equal(back.moments.scatter, one.moments.scatter)
    bare = seen.summary(slice(0, 30), ())
    assert bare.features is None and bare.classes is None and set(bare.arrays()) == {"n", "mean", "half"}


def test_parts_together_are_the_whole():
    seen = extract_features(DigitsFeatures().load((1, 8, 8)), from_bytes(digits(30)), {"features", "classes"}, 8)
    kept = {"features", "classes"}
    parts = [seen.summary(slice(start, start + 10), kept) for start in (0, 10, 20)]
    whole, merged = seen.summary(slice(0, 30), kept), FeatureSummary.merge(parts)
    assert np.array_equal(merged.features, whole.features)
    assert np.allclose(merged.moments.scatter, whole.moments.scatter, rtol=1e-12, atol=1e-12)
    assert merged.classes.score() == pytest.approx(whole.classes.score(), rel=1e-12)
    assert (parts[0] + seen.summary(slice(10, 20), ())).features is None


def test_a_call_has_one_shape_and_an_image_no_neighbours():
    calls = []

    class Counts(Extractor):
        def of_bytes(self, seen, probabilities):
            calls.append(len(seen))
            return Outputs(from_bytes(seen).flatten(1))

    found = extract_features(Counts("counts", 48), from_bytes(torch.from_numpy(images(19).read(np.arange(19)))), (), 8)
    assert calls == [8, 8, 8] and found.features.shape == (19, 48)


def test_features_that_are_not_finite():
    class Broken(Extractor):
        def of_bytes(self, seen, probabilities):
            return Outputs(from_bytes(seen).flatten(1) / 0)

    with pytest.raises(SamplingError, match="19 of 19 feature vectors are not finite"):
        observe(images(19), Broken("broken", 48))


@given(st.integers(2, 400), st.sampled_from([1, 7, 128]))
@settings(max_examples=20)
def test_blocks_of_images_from_elsewhere_are_a_partition(count, batch):
    some = images(count)
    extractor = Pixels().load(SHAPE)
    blocks = observe(some, extractor, frozenset({"features"}), batch)
    assert len(blocks) == min(BLOCKS, count)
    assert max(block.n for block in blocks) - min(block.n for block in blocks) <= 1
    whole = Moments.of(extractor(from_bytes(torch.from_numpy(some.read(np.arange(count))))))
    merged = Moments.merge(block.moments for block in blocks)
    assert merged.n == count and np.allclose(merged.mean, whole.mean, rtol=1e-12)
    assert np.allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-9 * np.abs(whole.scatter).max())
    for block in blocks:
        assert np.allclose(block.features.mean(0), block.moments.mean, atol=1e-6)


def test_order_by_class_does_not_widen_the_interval():
    """Half of the images dark and the other half light: consecutive blocks would differ as the classes do."""
    rng = np.random.default_rng(2)
    levels = np.concatenate([rng.integers(0, 100, (500, *SHAPE)), rng.integers(150, 256, (500, *SHAPE))])
    blocks = observe(of_array("sorted", levels.astype(np.uint8)), Pixels().load(SHAPE))
    means = np.array([block.moments.mean.mean() for block in blocks])
    assert np.ptp(means) < 0.1  # consecutive ones: 0.6


def test_pairs_are_looked_at_among_ten_thousand():
    count = KEPT_FEATURES + 500

    def read(rows):
        return np.random.default_rng(int(rows[0])).integers(0, 256, (len(rows), 1, 2, 2), dtype=np.uint8)

    blocks = observe(ImageSet("made", (1, 2, 2), count, read), Pixels().load((1, 2, 2)), frozenset({"features"}))
    assert sum(block.n for block in blocks) == count
    assert sum(len(block.features) for block in blocks) == KEPT_FEATURES


def test_a_network_looks_once_for_all_metrics(tmp_path, monkeypatch):
    from harness.metrics import evaluate as elsewhere

    seen = []
    plain = elsewhere.observe
    monkeypatch.setattr(elsewhere, "observe", lambda *args: seen.append(args[2]) or plain(*args))
    real = {"extractor": Pixels(size=2), "reference": str(tmp_path / "real.npy")}
    np.save(tmp_path / "real.npy", np.random.default_rng(3).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8))
    found = evaluate(images(60), [FID(**real), KID(**real, subsets=0)])
    assert seen == [frozenset({"features"})] and [one.n for one in found] == [60, 60]


def test_a_network_looks_once_at_the_real_images_too(tmp_path, monkeypatch):
    from harness.metrics import evaluate as elsewhere

    read = []
    plain = elsewhere.read_reference
    monkeypatch.setattr(elsewhere, "read_reference", lambda *args, **more: read.append(args) or plain(*args, **more))
    np.save(tmp_path / "real.npy", np.random.default_rng(3).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8))
    small = {"extractor": Pixels(size=2), "reference": str(tmp_path / "real.npy")}
    large = {"extractor": Pixels(), "reference": str(tmp_path / "real.npy")}
    found = evaluate(images(60), [FID(**small), KID(**small, subsets=0), FID(**large, label="all")])
    assert len(read) == 2 and len({one.reference for one in found}) == 2


def test_one_image_is_too_few():
    with pytest.raises(InputError, match="at least 2 images; it has 1"):
        evaluate(images(1), [FID(extractor=Pixels(), reference="digits")])
