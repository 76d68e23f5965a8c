"""Commands about images and what they are compared with: `eval`, `data`, `ref`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from harness.cli.console import DATA, AllowCodeOption, CountBar, DeviceOption, err, on, out

if TYPE_CHECKING:
    from harness.datasets.resize import Color, Crop
    from harness.metrics.evaluate import Evaluation
    from harness.metrics.features.configs import ExtractorConfig

data = typer.Typer(name="data", help="Data sets: look at them, convert them.", no_args_is_help=True)
ref = typer.Typer(name="ref", help="Reference statistics of real images.", no_args_is_help=True)

Source = Annotated[
    str, typer.Argument(help="Folder, zip, CIFAR archive (#test for its test part), IDX, .npy, .npz, or digits.")
]
ExtractorOption = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        help="inception, inception-pt, digits, raw, or YAML: '{kind: torchscript, path: P, sha256: H}'.",
    ),
]
SkipOption = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be decoded.")]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Images per network call.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    on(app, DATA, "eval")(evaluate)
    app.add_typer(data, rich_help_panel=DATA)
    app.add_typer(ref, rich_help_panel=DATA)


def evaluate(
    source: Source,
    reference: Annotated[
        str | None,
        typer.Option("--ref", help="What to compare with: digits, a card, a file of statistics, a data set."),
    ] = None,
    metrics: Annotated[str, typer.Option("--metrics", help="Such as fid,kid,precision,recall.")] = "fid",
    extractor: ExtractorOption = None,
    skip_bad: SkipOption = False,
    device: DeviceOption = None,
    batch: BatchOption = 128,
    allow_code: AllowCodeOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Measure images that any program made: FID, KID and others, each with an interval."""
    from harness.metrics.evaluate import read_metrics

    asked = read_metrics(metrics, reference, _choice(extractor))

    from harness.datasets.open import open_images
    from harness.metrics.evaluate import evaluate as measure

    images = open_images(source, skip_bad, floats=True)
    with CountBar(err, "images") as bar:
        measured = measure(images, asked, _device(device), batch, bar.at, skip_bad)
    _skipped(images.skipped)
    if as_json:
        import json

        typer.echo(json.dumps([_record(one) for one in measured], indent=2))
        return
    for one in measured:
        _say(one)


def _choice(text: str | None) -> "ExtractorConfig | None":
    from harness.metrics.features.configs import read_extractor

    return None if text is None else read_extractor(text)


def _device(device: str | None) -> str:
    from harness.execution.devices import devices_for

    return devices_for(device)[0]


def _record(one: "Evaluation") -> dict[str, object]:
    between, why = one.certainty
    return {
        "metric": one.metric.name,
        "value": one.estimate.value,
        "low": between.low if between else None,
        "high": between.high if between else None,
        **({"no_interval": why} if why else {}),
        "n": one.n,
        "extractor": one.extractor,
        "reference": one.reference,
        "details": one.estimate.details | ({"cautions": one.cautions} if one.cautions else {}),
    }


def _say(one: "Evaluation") -> None:
    between, why = one.certainty
    interval = f" ({between.low:.5g} to {between.high:.5g})" if between else f" (no interval: {why})"
    typer.echo(f"{one.metric.title}: {one.estimate.value:.6g}{interval}, N = {one.n:,}")
    typer.echo(f"  extractor {one.extractor}" + (f", reference {one.reference}" if one.reference else ""))
    for caution in one.cautions:
        typer.echo(f"  note: {caution}")


def _skipped(skipped: list[str]) -> None:
    if skipped:
        err.print(f"left out {len(skipped)} images that cannot be decoded:")
        for line in skipped[:10]:
            err.print(f"  {line}", soft_wrap=True)


@on(data)
def stats(
    source: Source,
    skip_bad: SkipOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show what a data set is: images, shape, classes, means, duplicates, hash."""
    from harness.datasets.open import open_images
    from harness.datasets.stats import stats as look

    images = open_images(source, skip_bad)
    statistics = look(images)
    _skipped(statistics.skipped)
    if as_json:
        import json

        facts = statistics._asdict() | {"sigma_data": statistics.sigma_data}
        typer.echo(json.dumps(facts, indent=2, default=lambda value: getattr(value, "tolist", str)()))
        return
    channels = ", ".join(f"{mean:.2f} ± {std:.2f}" for mean, std in zip(statistics.mean, statistics.std, strict=True))
    counts = statistics.classes
    classes = "none" if counts is None else f"{len(counts)}, {min(counts):,} to {max(counts):,} images each"
    lines = {
        "images": f"{statistics.images:,} of {'x'.join(map(str, statistics.shape))} (channels, height, width)",
        "classes": classes,
        "bytes": f"{channels} (mean ± standard deviation of each channel, 0 to 255)",
        "sigma_data": f"{statistics.sigma_data:.4f} (standard deviation over all pixels, in -1 to 1)",
        "duplicates": f"{statistics.duplicates:,}",
        "digest": statistics.digest,
    }
    for name, text in lines.items():
        out.print(f"{name:<11}{text}", soft_wrap=True)


@on(data)
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(metavar="DEST.zip", help="Where to write.")],
    resolution: Annotated[int | None, typer.Option("--resolution", min=1, help="Pixels a side.")] = None,
    crop: Annotated[str, typer.Option("--crop", help="none, center, or center-dhariwal (of ADM).")] = "none",
    color: Annotated[str | None, typer.Option("--color", help="rgb or grey.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many images.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    skip_bad: SkipOption = False,
) -> None:
    """Write a data set in EDM's layout: a stored zip of PNG files with dataset.json."""
    from harness.datasets.convert import convert as write

    with CountBar(err, "images") as bar:
        chosen = cast("Crop", crop), cast("Color | None", color)  # other words are refused there
        converted = write(source, target, resolution, *chosen, skip_bad, limit, overwrite, bar.at)
    _skipped(converted.skipped)
    typer.echo(f"{target}: {converted.images:,} images, {converted.classes} classes, digest {converted.digest}")


@on(ref)
def build(
    source: Source,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .npz file to write.")],
    extractor: ExtractorOption = None,
    skip_bad: SkipOption = False,
    device: DeviceOption = None,
    allow_code: AllowCodeOption = False,
) -> None:
    """Compute a data set's statistics: mu and sigma as official files have them, and features of 10,000 images."""
    from harness.core.data_range import BYTES
    from harness.datasets.open import open_images
    from harness.metrics.features.configs import Inception
    from harness.metrics.frechet import frechet_reference
    from harness.metrics.references import of_images

    choice = _choice(extractor) or Inception()
    choice.check()
    images = open_images(source, skip_bad, floats=True)
    choice = choice.for_range(None if images.floats else BYTES)
    with CountBar(err, "images") as bar:
        reference = of_images(images, choice.load(images.shape, _device(device)), bar.at)
    reference.statistics.write(output)
    _skipped(images.skipped)
    width, count = reference.statistics.width, reference.statistics.n or 0
    typer.echo(f"{output}: {reference.id}; {width:,} features, of {reference.statistics.kept:,} images kept")
    for note in frechet_reference(count, width, choice):
        typer.echo(f"note: {note}")
