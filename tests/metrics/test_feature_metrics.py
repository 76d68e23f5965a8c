"""Metrics of features: each is its function, with its interval and its cautions."""

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.metrics import (
    FID,
    KID,
    METRICS,
    Coverage,
    Density,
    FIDInfinity,
    FrechetDigits,
    InceptionScore,
    Memorisation,
    Precision,
    Recall,
)
from harness.metrics.feature_metric import FeatureMetric
from harness.metrics.features.configs import DigitsFeatures, Inception, InceptionPT, Pixels
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.fid_infinity import frechet_at_infinity
from harness.metrics.inception_score import inception_score
from harness.metrics.kid import kid
from harness.metrics.memorization import memorisation
from harness.metrics.prdc import neighbours
from harness.metrics.reference_statistics import Statistics
from harness.metrics.references import Reference
from harness.metrics.statistics.class_sums import ClassSums
from harness.metrics.statistics.frechet_distance import FrechetReference
from harness.metrics.statistics.moments import Moments

RNG = np.random.default_rng(0)
FAKE = RNG.normal(size=(200, 5)).astype(np.float32)
REAL = (RNG.normal(size=(150, 5)) + 0.3).astype(np.float32)
CHANCES = RNG.dirichlet(np.ones(4), size=200)
SIZES = np.full(10, 20)
BLOCKS = [
    FeatureSummary(
        Moments.of(FAKE[start : start + 20]), FAKE[start : start + 20], ClassSums.of(CHANCES[start : start + 20])
    )
    for start in range(0, 200, 20)
]
MU, SIGMA = REAL.astype(float).mean(0), np.cov(REAL.astype(float).T)
REFERENCE = Reference("real", Statistics(MU, SIGMA, 150, REAL), lambda: REAL)
FEATURE_METRICS = [member for member in METRICS.members if issubclass(member, FeatureMetric)]
RAW = {"extractor": Pixels(), "reference": "real"}


def test_each_metric_is_its_function():
    reference = FrechetReference(MU, SIGMA)
    whole = Moments.of(FAKE)
    near = neighbours(FAKE, REAL, SIZES, k=3, k_density=4)
    expected = {
        FID(**RAW): reference.distance(whole.mean, whole.covariance),
        FIDInfinity(**RAW): frechet_at_infinity([block.moments for block in BLOCKS], reference).value,
        KID(**RAW, subset=50, subsets=3): kid(FAKE, REAL, SIZES, subset=50, subsets=3).value,
        Precision(**RAW): near.precision.value,
        Recall(**RAW): near.recall.value,
        Density(**RAW, k=4): near.density.value,
        Coverage(**RAW, k=4): near.coverage.value,
        InceptionScore(): inception_score([block.classes for block in BLOCKS]).value,
        Memorisation(reference="real"): memorisation(FAKE, REAL, SIZES).value,
    }
    assert len(expected) == len(FEATURE_METRICS) - 1  # fd-digits is fid by another name
    for metric, value in expected.items():
        found = metric.compute(BLOCKS, REFERENCE)
        assert found.value == pytest.approx(value, rel=1e-12, abs=1e-12), metric.kind
        assert len(found.replicates) == 10
        assert found.interval().low <= found.value <= found.interval().high


def test_replicates_are_those_without_a_block():
    metrics = [FID(**RAW), KID(**RAW, subsets=0), Precision(**RAW), Density(**RAW), Coverage(**RAW), InceptionScore()]
    for metric in metrics:
        found = metric.compute(BLOCKS, REFERENCE)
        for left in (0, 4, 9):
            rest = [block for index, block in enumerate(BLOCKS) if index != left]
            alone = metric.compute(rest, REFERENCE).value
            assert found.replicates[left] == pytest.approx(alone, rel=1e-9, abs=1e-12), metric.kind


def test_one_block_has_no_interval():
    whole = FeatureSummary.merge(BLOCKS)
    assert whole.n == 200 and np.array_equal(whole.features, FAKE)
    found = FID(**RAW).compute([whole], REFERENCE)
    assert found.interval() is None and not len(found.replicates)


class TestNotes:
    def noted(self, metric, n, width=5):
        rows = np.random.default_rng(1).normal(size=(n, width))
        return metric.cautions([FeatureSummary(Moments.of(rows))])

    def test_no_more_images_than_features(self):
        assert "5 images are not more than the 5 features" in self.noted(FID(**RAW), 5)[0]
        assert self.noted(FID(**RAW), 6) == []

    def test_few_images_for_fid(self):
        for extractor in (Inception(), InceptionPT()):
            notes = self.noted(FID(extractor=extractor, reference="r"), 9_999)
            assert len(notes) == 1 and "not the FID of papers" in notes[0]
            assert self.noted(FID(extractor=extractor, reference="r"), 10_000) == []

    def test_only_the_published_network_gives_fid(self, tmp_path):
        (tmp_path / "w").write_bytes(b"weights")
        own = (Inception(path="x.pt", sha256="0" * 64), InceptionPT(path=str(tmp_path / "w")))
        for extractor in own:
            metric = FID(extractor=extractor, reference="r")
            assert metric.title.startswith("FD-") and metric.name.startswith("fd-")
            assert self.noted(metric, 100) == []
        known = Inception(path="x.pt", sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4")
        assert [FID(extractor=one, reference="r").title for one in (Inception(), InceptionPT(), known)] == ["FID"] * 3


class TestRefusals:
    def test_another_width(self):
        wide = Reference("real", Statistics(np.zeros(6), np.eye(6)))
        with pytest.raises(InputError, match=r"has 6 features an image and extractor 'raw:all:mean' gives 5"):
            FID(**RAW).compute(BLOCKS, wide)

    def test_single_images_are_needed(self):
        with pytest.raises(InputError, match=r"'kid-pixels' compares single images, and reference 'real' holds `mu`"):
            KID(**RAW).compute(BLOCKS, Reference("real", Statistics(MU, SIGMA)))

    def test_training_images_are_needed(self):
        with pytest.raises(InputError, match="memorisation needs the training images"):
            Memorisation(reference="real").compute(BLOCKS, Reference("real", Statistics(MU, SIGMA)))


def test_names_and_titles():
    digits = {"extractor": DigitsFeatures(), "reference": "digits"}
    told = {metric.name: metric.title for metric in (FrechetDigits(), FID(reference="r"), KID(reference="r"))}
    assert told == {"fd-digits": "FD-digits", "fid": "FID", "kid": "KID"}
    assert (KID(**digits).name, KID(**digits).title) == ("kid-digits", "KID (digits)")
    assert (Memorisation(reference="r").name, KID(**digits, label="K").name) == ("memorisation", "K")


def test_where_chunks_that_will_do_are_kept():
    identity = Pixels().identity
    assert FID(**RAW).sources == (
        identity,
        f"{identity}+classes",
        f"{identity}+features",
        f"{identity}+classes+features",
    )
    assert KID(**RAW).sources == (f"{identity}+features", f"{identity}+classes+features")
