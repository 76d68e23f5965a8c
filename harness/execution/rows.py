"""The row of a result: what was measured of a trial, with where the number comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.execution.measurements import Measurement
from harness.execution.provenance import revision
from harness.execution.results import gathered
from harness.experiments.trial import Trial


def result_row(
    measurement: Measurement, trial: Trial, values: Mapping[str, Any], infos: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What `Store.put_result` takes.

    Args:
        measurement: metric, reference and seeds.
        trial: what was measured.
        values: `status` and what goes with it: value and interval, or reason and step.
        infos: what the workers said of each chunk.
    """
    provenance = gathered(infos) | {
        "denoiser": trial.denoiser if isinstance(trial.denoiser, str) else trial.denoiser.kind,
        "weights": trial.weights,
        "labels": trial.labels,
        "chunks": sum(info.get("parts", 1) for info in infos),
        "choice": measurement.metric.model_dump(mode="json", exclude_none=True),
        "revision": revision(),
    }
    return {
        "fingerprint": trial.fingerprint,
        "extractor": measurement.extractor,
        "reference": measurement.reference,
        "first_seed": measurement.first,
        "n": measurement.samples,
        "metric": measurement.metric.name,
        "trial": trial.model_dump(mode="json"),
        "provenance": provenance,
        **values,
    }
