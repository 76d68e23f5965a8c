"""Commands about networks: `fetch`, `import`, `inspect`, `train`, `average`."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import MODELS, DeviceOption, DownloadBar, ExecutorOption, SetOption, err, on, out
from harness.core.errors import InputError


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    on(app, MODELS)(fetch)
    on(app, MODELS, "import")(import_)
    on(app, MODELS)(inspect)
    on(app, MODELS)(train)
    on(app, MODELS)(average)


def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of files, as --list shows them.", metavar="NAME...")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show what can be fetched, and what is here.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Download again what is here.")] = False,
) -> None:
    """Download official networks and statistics by name: checked, resumed, imported."""
    from harness.denoisers.fetch import fetch as fetch_files
    from harness.denoisers.fetch import fetchable_files

    if listed:
        for entry in fetchable_files():
            size = "size not known" if entry.size is None else f"{entry.size:,} bytes"
            here = "here" if entry.here else "not here"
            typer.echo(f"{entry.name:<36} {entry.kind:<10} {size:>18}  {here:<9} {entry.about}")
        return
    if not names:
        raise InputError("harness fetch takes names, and none was given; `harness fetch --list` shows what there is")
    with DownloadBar(err) as bar:
        for file in fetch_files(names, force, bar):
            state = "pinned" if file.pinned else "fetched" if file.new else "was here, intact"
            typer.echo(f"{file.name}: {file.path}, SHA-256 {file.sha256}, {state}")


def import_(
    checkpoint: Annotated[
        Path, typer.Argument(help="A snapshot, .pth, .pt or .safetensors of another program, or a folder of diffusers.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write.  [default: NAME.safetensors, here]")
    ] = None,
    settings: SetOption = None,
) -> None:
    """Write another program's checkpoint as one of ours, once. Nothing in it is executed."""
    from harness.denoisers.checkpoints.convert import import_file
    from harness.denoisers.checkpoints.formats.base import parse_settings

    output = output or Path(f"{checkpoint.resolve().name.split('.')[0]}.safetensors")
    written = import_file(checkpoint, output, parse_settings(settings or []))
    for key, value in written.source.assumed.items():
        err.print(f"assumed: {key} = {value} (the file does not say)")
    for what in written.source.ignored:
        err.print(f"ignored: {what}")
    typer.echo(f"{written.path}: {written.source.format}, SHA-256 {written.sha256}")


def inspect(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a .pt2, .pt or .onnx with a network in it.")],
    settings: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show what a checkpoint is: network, noise range, training; of a program, inputs and outputs. Runs nothing."""
    from harness.denoisers.checkpoints.formats.base import parse_settings
    from harness.denoisers.inspect import as_lines
    from harness.denoisers.inspect import inspect as look

    facts = look(checkpoint, parse_settings(settings or []))
    if as_json:
        import json

        typer.echo(json.dumps(facts, indent=2, default=str))
    else:
        for line in as_lines(facts):
            out.print(line, soft_wrap=True)


def train(
    recipes: Annotated[
        list[Path], typer.Argument(help="Recipes, such as pretrained/recipes/digits-vp.yaml.", metavar="RECIPE...")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the checkpoints.")] = Path("pretrained"),
    work: Annotated[Path, typer.Option("--work", help="Folder for states, logs and snapshots.")] = Path(
        "results/training"
    ),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trainings at a time.  [default: one a GPU, or a core of the CPU]")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")] = False,
    device: DeviceOption = None,
    executor: ExecutorOption = "processes",
    micro_batch: Annotated[
        int | None, typer.Option("--micro-batch", min=1, help="Images of one pass; gradients are summed over a batch.")
    ] = None,
) -> None:
    """Train networks from recipes. Stop and run again to resume."""
    from harness.cli.train_terminal import TrainingBar
    from harness.execution.trainings import find_recipes, train_all, train_together
    from harness.training.processes import is_launched

    found = find_recipes(recipes[0] if len(recipes) == 1 else recipes)
    if is_launched():
        paths = train_together(found, output, fresh, work, device, micro_batch)
    else:
        with TrainingBar(err) as bar:
            paths = train_all(found, output, workers, fresh, work, device, executor, micro_batch, bar)
    for path in paths:
        typer.echo(path)


def average(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, such as results/training/NAME.")],
    width: Annotated[float, typer.Option("--width", help="Relative width of the average, sigma_rel, up to 0.28.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .safetensors file to write.")],
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="After how many images.  [default: the last snapshot]")
    ] = None,
) -> None:
    """Make an average of the weights of another width from a run's snapshots, after training."""
    from harness.training.posthoc import average_of_run

    made = average_of_run(run, width, output, images)
    if made.is_rough:
        err.print(
            f"note: the snapshots do not reach this width: the fit leaves {made.error:.2g} of its profile; take a "
            "width nearer to those that were tracked, or keep more snapshots",
            soft_wrap=True,
        )
    typer.echo(
        f"{made.path}: width {width:g} after {made.images:,} images, from {made.snapshots} snapshots, "
        f"error of the fit {made.error:.2g}"
    )
