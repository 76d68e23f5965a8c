"""What to keep in mind about a metric's number, in sentences: too few images for its features, or for what it is."""

from harness.metrics.choices import FEW, FID, FeatureMetric, FIDInfinity, FrechetDigits
from harness.metrics.features.choices import Inception, InceptionPT


def cautions(metric: FeatureMetric, n: int, width: int) -> list[str]:
    """Sentences about a metric of n images with features of a width; none where all is well."""
    found = []
    if isinstance(metric, FID | FrechetDigits | FIDInfinity) and n <= width:
        found.append(
            f"N = {n:,} images are not more than the {width:,} features: their covariance is singular, and the "
            "distance is far too large."
        )
    if (
        isinstance(metric, FID)
        and isinstance(metric.features, Inception | InceptionPT)
        and n < FEW
        and not metric.features.title
    ):
        found.append(
            f"FID by {n:,} images is not the FID of papers, which take 50,000: it is larger by a bias that depends on "
            "the sampler."
        )
    return found
