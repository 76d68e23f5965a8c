"""Commands about other tools: `export`, `import-scheduler`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.console import TOOLS, AllowCodeOption, FilesOption, StoreOption, on
from harness.cli.stores import open_store, say_note
from harness.core.errors import InputError
from harness.core.files import write_output

if TYPE_CHECKING:
    from harness.denoisers.load import Source
    from harness.sampling.denoiser import Denoiser
    from harness.sampling.sampler import Sampler

OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", help="Where to write.  [default: standard output]")
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    on(app, TOOLS)(export)
    on(app, TOOLS, "import-scheduler")(import_scheduler)


def export(
    what: Annotated[
        str,
        typer.Argument(
            help="Start of a fingerprint, GRID:DENOISER:SERIES@NFE, or a sampler as YAML text or file.",
            metavar="TRIAL|SAMPLER",
        ),
    ],
    to: Annotated[str, typer.Option("--to", help="sigmas, diffusers, k-diffusion, comfyui or python.")] = "sigmas",
    denoiser: Annotated[
        str | None,
        typer.Option("--denoiser", help="Whose noise levels these are, as for sample.  [default: the trial's]"),
    ] = None,
    output: OutputOption = None,
    allow_code: AllowCodeOption = False,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Write a sampler for another tool, with the noise levels that it has on a denoiser.

    What the tool cannot express is refused, with the nearest that it can. A trial's levels are those that it ran with.
    The network is needed only to find the levels of a sampler with discretization 'optimized'; it is sampled for that.
    """
    from harness.exporting.targets import check_target

    check_target(to)
    if _is_sampler(what):
        from harness.cli.parsing import parse_sampler, parse_source

        if denoiser is None:
            raise InputError("a sampler has noise levels on a denoiser only; add --denoiser, such as digits-vp")
        text = _on_denoiser(parse_sampler(what, "SAMPLER"), parse_source(denoiser), to)
    else:
        text = _of_trial(what, to, denoiser, store, files)
    _write(text, output)


def _on_denoiser(sampler: "Sampler", source: "Source", to: str) -> str:
    """A sampler on a denoiser, which is loaded only where levels are to be found."""
    from harness.denoisers.load import load_denoiser
    from harness.experiments.nfe import probe_of
    from harness.exporting.export import export as export_sampler

    return export_sampler(sampler, load_denoiser(source) if sampler.discretization.is_open else probe_of(source), to)


def _is_sampler(text: str) -> bool:
    return text.lstrip().startswith("{") or Path(text).suffix in (".yaml", ".yml", ".json")


def _of_trial(name: str, to: str, denoiser: str | None, store: str | None, files: Path | None) -> str:
    """The sampler of a trial of a store, with the levels that its row keeps or those that it has on a denoiser."""
    with open_store(store, files, read_only=True) as opened:
        from harness.cli.parsing import parse_source
        from harness.execution.compare import find_trial
        from harness.experiments.trial import Trial

        fingerprint = find_trial(opened, name)
        rows = opened.results([fingerprint])
    if not rows:
        raise InputError(f"trial {fingerprint[:12]} has no result; run its grid")
    trial = Trial.model_validate(rows[0]["trial"])
    if denoiser is not None:
        return _on_denoiser(trial.sampler, parse_source(denoiser), to)
    kept = next((levels for row in rows if (levels := row["provenance"].get("levels"))), None)
    if kept is None:  # of an earlier run, or of a long trial
        return _on_denoiser(trial.sampler, trial.denoiser, to)

    from harness.exporting.export import export_measured

    return export_measured(trial.sampler, kept, to, _candidate_denoisers(trial.denoiser, kept))


def _candidate_denoisers(source: "Source", kept: Mapping[str, Any]) -> "Iterator[Denoiser]":
    """Denoisers that may have a trial's range and rounding: its own, if its file, code or object is here; then one that
    reaches from the last level of the trial to the first."""
    from harness.experiments.nfe import Probe, probe_of

    try:
        own = probe_of(source)
    except InputError:
        pass
    else:
        yield own
    if not kept.get("rounds"):
        yield Probe(float(kept["sigmas"][-1]), float(kept["sigmas"][0]), 1)


def import_scheduler(
    config: Annotated[
        Path, typer.Argument(help="A scheduler_config.json of diffusers, or the folder that has it.", metavar="CONFIG")
    ],
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="num_inference_steps.  [default: 50, as for pipelines]")
    ] = None,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Take the nearest sampler where there is no equal one.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Print a scheduler of diffusers as a sampler in YAML, for a grid or `harness sample`.

    What no sampler can express is refused, with the field's name.
    """
    from harness.exporting.scheduler_config import import_scheduler as imported_from
    from harness.exporting.scheduler_config import read_config, yaml_of

    imported = imported_from(read_config(config), steps, nearest)
    for difference in imported.differences:
        say_note(difference)
    _write(yaml_of(imported.sampler), output)


def _write(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file and print the file's name."""
    if output is None:
        typer.echo(text, nl=False)
        return
    write_output(output, text.encode())
    typer.echo(output)
