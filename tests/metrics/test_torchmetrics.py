"""The same numbers as torchmetrics gives for features that are handed to it as they are."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from harness.metrics.inception_score import inception_score
from harness.metrics.kid import kid
from harness.metrics.statistics.class_sums import ClassSums
from harness.metrics.statistics.frechet_distance import frechet_distance
from harness.metrics.statistics.moments import Moments
from tests.metrics.judge import judge

pytestmark = pytest.mark.filterwarnings("ignore:Metric .* will save all extracted features:UserWarning")

WIDTH = 6


class AsTheyAre(torch.nn.Module):
    """An extractor whose images are features already."""

    num_features = WIDTH

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def draw(seed=0, n=60, m=60):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, WIDTH)) * 1.2 + 0.3, rng.normal(size=(m, WIDTH))


def fed(metric, fake, real):
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake), real=False)
    return metric.compute()


def test_kernel_distance():
    fake, real = draw()
    theirs, sd = fed(
        judge("image.kid", "KernelInceptionDistance", feature=AsTheyAre(), subsets=1, subset_size=60), fake, real
    )
    assert kid(fake, real, [60], subsets=0).value == pytest.approx(theirs.item(), rel=1e-6)
    assert sd == 0


def test_kernel_distance_over_subsets():
    """Other random subsets, so equal to their own scatter only."""
    fake, real = draw(1, 200, 200)
    mean, sd = fed(
        judge("image.kid", "KernelInceptionDistance", feature=AsTheyAre(), subsets=200, subset_size=80), fake, real
    )
    ours = kid(fake, real, [200], subsets=200, subset=80).details
    assert abs(ours["subset_mean"] - mean.item()) < 4 * ours["subset_sd"] * np.sqrt(2 / 200)
    assert ours["subset_sd"] == pytest.approx(sd.item(), rel=0.25)


def test_frechet_distance():
    fake, real = draw(2)
    theirs = fed(judge("image.fid", "FrechetInceptionDistance", feature=AsTheyAre()), fake, real).item()
    one, two = Moments.of(fake), Moments.of(real)
    ours = frechet_distance(one.mean, one.covariance, two.mean, two.covariance)
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("splits", [2, 5])
def test_inception_score(splits):
    """They shuffle before they split: the same seed gives the same order."""
    logits = np.random.default_rng(3).normal(size=(40, WIDTH)) * 3
    metric = judge("image.inception", "InceptionScore", feature=AsTheyAre(), splits=splits)
    metric.update(torch.from_numpy(logits))
    torch.manual_seed(0)
    mean, sd = metric.compute()
    torch.manual_seed(0)
    shuffled = softmax(logits, axis=1)[torch.randperm(40).numpy()]
    details = inception_score([ClassSums.of(part) for part in np.split(shuffled, splits)]).details
    assert details["block_mean"] == pytest.approx(mean.item(), rel=1e-6)
    # theirs divides by one less
    assert details["block_sd"] * np.sqrt(splits / (splits - 1)) == pytest.approx(sd.item(), rel=1e-6)
