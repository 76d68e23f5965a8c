"""What a number carries with it: small references, sets that are unlike, intervals that cannot be made."""

import math

import numpy as np
import pytest

from harness.core.errors import SamplingError
from harness.datasets.image_set import of_array
from harness.datasets.open import open_images
from harness.metrics import FID, KID, Density, FIDInfinity, Memorisation, Precision, Recall
from harness.metrics.cautions import ImageKind, unlike
from harness.metrics.evaluate import evaluate
from harness.metrics.features.configs import Inception, Pixels
from harness.metrics.frechet import frechet_reference
from harness.metrics.inception_score import InceptionScore, inception_score
from harness.metrics.reference_statistics import Statistics
from harness.metrics.statistics.class_sums import ClassSums
from harness.metrics.statistics.jackknife import Estimate
from tests.datasets.sets import encoded, some_images, write_folder

RAW = Pixels()
SINGULAR, KNOWN, WIDE = "not more than the 192 features", "real images are few", "are few for neighbours"


def cautions_of(kind, tmp_path, real, generated=200, **fields):
    np.save(tmp_path / "real.npy", some_images(real, 3, 8, 8))
    images = of_array("generated", some_images(generated, 3, 8, 8, seed=1))
    (found,) = evaluate(images, [kind(extractor=RAW, reference=str(tmp_path / "real.npy"), **fields)])
    return found


@pytest.mark.parametrize(
    ("kind", "real", "said"),
    [
        (FID, 3, ("M = 3 real images are " + SINGULAR, "M = 3 " + KNOWN)),
        (FID, 192, ("M = 192 real images are " + SINGULAR, "M = 192 " + KNOWN)),
        (FID, 193, ()),
        (FIDInfinity, 40, ("M = 40 real images are " + SINGULAR, "M = 40 " + KNOWN)),
        (KID, 40, ("M = 40 " + KNOWN,)),
        (KID, 200, ()),
        (Precision, 40, ("M = 40 real images " + WIDE, "M = 40 " + KNOWN)),
        (Recall, 200, ()),
        (Memorisation, 40, ()),  # training images are all there are
    ],
)
def test_a_small_reference_is_said(kind, real, said, tmp_path):
    found = cautions_of(kind, tmp_path, real, **({"subset": 3, "subsets": 2} if kind is KID else {}))
    assert len(found.cautions) == len(said)
    assert all(
        caution.startswith(words) or words in caution for caution, words in zip(found.cautions, said, strict=True)
    )


def test_few_generated_images_are_said_of_neighbours_too(tmp_path):
    (caution,) = cautions_of(Precision, tmp_path, 200, generated=5).cautions
    assert caution.startswith("N = 5 images are few for neighbours in 192 features")


def test_below_100_a_reference_is_small_whatever_its_features():
    assert frechet_reference(99, 4, RAW) and not frechet_reference(100, 4, RAW)


def test_inceptions_own_custom_holds_for_real_images_too():
    assert "FID to 9,999 real images is not the FID of papers" in frechet_reference(9_999, 2048, Inception())[0]
    assert frechet_reference(10_000, 2048, Inception()) == []
    assert frechet_reference(9_999, 2048, RAW) == []


def test_a_reference_that_names_no_extractor_is_said(tmp_path):
    rows = np.random.default_rng(0).normal(size=(300, 192))
    for extractor in (None, RAW.identity):
        Statistics(rows.mean(0), np.cov(rows.T), extractor=extractor).write(tmp_path / "real.npz")
        metric = FID(extractor=RAW, reference=str(tmp_path / "real.npz"))
        (found,) = evaluate(of_array("generated", some_images(200, 3, 8, 8)), [metric])
        assert found.reference.endswith("/?/?" if extractor is None else "/?/raw:all:mean")
        told = [caution for caution in found.cautions if "does not say which network made it" in caution]
        assert len(told) == (extractor is None)


MU, SIGMA = np.zeros(2), np.eye(2)


@pytest.mark.parametrize(
    ("shape", "real", "said"),
    [
        ((3, 32, 32), (3, 32, 32), []),
        ((3, 64, 64), (3, 32, 32), ["The images are 64x64 and the reference's 32x32: how"]),
        ((3, 48, 32), (3, 32, 32), ["The images are 48x32 and the reference's 32x32 and of another aspect: how"]),
        ((1, 32, 32), (3, 32, 32), ["The images are grey and the reference's RGB."]),
        ((3, 8, 8), (1, 16, 16), ["The images are 8x8 and", "The images are RGB and the reference's grey."]),
        ((3, 64, 64), None, []),
    ],
)
def test_sizes_shapes_and_colours_that_are_unlike(shape, real, said):
    told = unlike(ImageKind(shape), Statistics(MU, SIGMA, shape=real, formats=() if real else None))
    assert len(told) == len(said)
    assert all(caution.startswith(words) for caution, words in zip(told, said, strict=True))


@pytest.mark.parametrize(
    ("own", "real", "said"),
    [
        (("PNG",), ("BMP", "PNG"), ""),
        ((), ("PNG",), ""),
        (("JPEG",), ("JPEG",), ""),
        (("PNG",), ("JPEG",), "The images are PNG and the reference's JPEG:"),
        (("JPEG",), (), "The images are JPEG and the reference's not compressed:"),
        ((), ("JPEG", "PNG"), "The images are not compressed and the reference's JPEG and PNG:"),
        (("JPEG",), None, ""),
    ],
)
def test_compression_that_is_unlike(own, real, said):
    told = unlike(ImageKind((3, 8, 8), own), Statistics(MU, SIGMA, formats=real))
    assert [caution[: len(said)] for caution in told] == ([said] if said else [])


def test_formats_are_those_of_the_files_whatever_their_names(tmp_path):
    images = some_images(4, 3, 8, 8)
    members = {
        f"{row}.{end}": encoded(images[row], form)
        for row, (end, form) in enumerate([("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("png", "JPEG")])
    }
    write_folder(tmp_path / "set", members)
    for skip_bad in (False, True):
        found = open_images(tmp_path / "set", skip_bad)
        assert found.formats == ("BMP", "JPEG", "PNG")
        assert found.take([0]).formats == found.formats
    assert of_array("a", images).formats == ()


def estimate(value, replicates):
    return Estimate(value, np.array(replicates), np.full(len(replicates), 4), {})


SHARE = Precision(reference="digits")


def test_the_interval_of_a_share_stays_within_what_it_can_be():
    wide = SHARE.certainty(estimate(0.8, [0.5, 1.0, 0.9]))
    assert 0 <= wide.interval.low < 0.8 < wide.interval.high == 1
    distance = FID(reference="digits").certainty(estimate(0.8, [0.5, 1.0, 0.9])).interval
    assert distance.high > 1


@pytest.mark.parametrize(("metric", "least"), [(Density(reference="digits"), 0.0), (InceptionScore(), 1.0)])
def test_no_interval_begins_below_the_least_that_a_metric_can_be(metric, least):
    found = metric.certainty(estimate(least + 0.1, [least, least + 2.0, least + 0.1])).interval
    assert found.low == least and found.high > least + 1


@pytest.mark.parametrize(
    ("value", "replicates", "why"),
    [
        (0.5, [], "too few samples"),
        (1.0, [1.0, 1.0, 1.0], "every block of images gives the same value"),
        (0.0, [0.0, 0.0], "every block of images gives the same value"),
        (0.5, [0.5, math.nan], "the value without one of the blocks is not finite"),
    ],
)
def test_an_interval_that_cannot_be_made_says_why(value, replicates, why):
    found = SHARE.certainty(estimate(value, replicates))
    assert found.interval is None
    assert found.cautions == [f"No interval: {why}."]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_no_result(value):
    with pytest.raises(SamplingError, match="the value of precision is not finite"):
        SHARE.certainty(estimate(value, [1.0, 2.0]))


def test_an_inception_score_of_two_images_has_no_interval():
    sums = [ClassSums.of(np.array([row])) for row in ([0.9, 0.1], [0.2, 0.8], [0.5, 0.5])]
    assert not len(inception_score(sums[:2]).replicates)
    assert len(inception_score(sums).replicates) == 3


def test_an_inception_score_of_few_images_is_said_to_be_too_low():
    class Block:
        n = 10
        classes = ClassSums.of(np.full((10, 4), 0.25))

    (told,) = InceptionScore().cautions([Block])
    assert told.startswith("The score of N = 10 images over 4 classes may be too low by 15% of itself")
    Block.n = 31
    assert InceptionScore().cautions([Block]) == []
