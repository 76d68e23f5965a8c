"""Metrics as a command line gives them: words, or mappings in YAML, that share an extractor and a reference."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from harness.core import yaml
from harness.core.config import kinds
from harness.core.errors import InputError
from harness.metrics.choices import FEATURE_METRICS, AnyFeatureMetric, FeatureMetric
from harness.metrics.features.choices import AnyExtractor

_ADAPTER: TypeAdapter[Any] = TypeAdapter(Annotated[AnyFeatureMetric, Field(discriminator="kind")])


def read_metrics(text: str, reference: str | None, extractor: AnyExtractor | None) -> list[FeatureMetric]:
    """Metrics from `fid,kid` or a YAML list such as `[fid, {kind: kid, subset: 500}]`.

    Args:
        text: which.
        reference: of those that compare with one and name none.
        extractor: of those that name none; each metric's own default for None.

    Raises:
        InputError: an unknown metric or field, a reference that is missing, or a metric that is there twice.
    """
    named = yaml.loads(text if text.lstrip().startswith(("[", "{")) else f"[{text}]", "--metrics").data
    found = [_one(value, reference, extractor) for value in (named if isinstance(named, list) else [named])]
    for index, metric in enumerate(found):
        if metric in found[:index]:
            raise InputError(f"--metrics: '{metric.name}' is there twice; remove one")
    return found


def _one(value: Any, reference: str | None, extractor: AnyExtractor | None) -> FeatureMetric:
    fields = {"kind": value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or fields.get("kind") not in kinds(FEATURE_METRICS):
        known = ", ".join(kinds(FEATURE_METRICS))
        raise InputError(f"--metrics: {value!r} is no metric of images; there are: {known}")
    member = FEATURE_METRICS[kinds(FEATURE_METRICS).index(fields["kind"])]
    if extractor is not None and "extractor" in member.model_fields:
        fields = {"extractor": extractor.model_dump(mode="json", exclude_none=True), **fields}
    if "reference" in member.model_fields and "reference" not in fields:
        if reference is None:
            raise InputError(f"--metrics: '{fields['kind']}' compares with real images; give --ref")
        fields = {**fields, "reference": reference}
    try:
        metric: FeatureMetric = _ADAPTER.validate_python(fields)
    except ValidationError as error:
        raise InputError(f"--metrics: {fields['kind']}: {yaml.first_mistake(error)}") from None
    return metric
