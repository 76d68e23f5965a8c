"""The command line: thin commands over library calls. Heavy libraries are imported by the commands that need them."""

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import __version__
from harness.cli import exporting, images, models, results, search
from harness.cli.console import (
    LIMIT_REACHED,
    LOOK,
    RUN,
    AllowCodeOption,
    BatchOption,
    ConditionsOption,
    DeviceOption,
    ExecutorOption,
    FilesOption,
    Grouped,
    Interruption,
    MaxEvaluationsOption,
    MaxHoursOption,
    SamplesOption,
    SearchOption,
    StoreOption,
    err,
    guarded,
    on,
    out,
    planning,
    print_table,
)
from harness.cli.stores import open_if_there, open_store, say_note
from harness.core.errors import InputError
from harness.core.files import writing_text

if TYPE_CHECKING:
    from harness.report.data import TrialResult

app = typer.Typer(
    name="harness",
    help="Which sampler settings should I use on this diffusion model, and how do I know?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its help loads a Markdown library
    cls=Grouped,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


@on(app, RUN)
def run(
    grids: Annotated[
        list[str],
        typer.Argument(
            help="Paths of grids' YAML files, or names of those that come with the package.", metavar="GRID..."
        ),
    ],
    samples: SamplesOption = None,
    device: DeviceOption = None,
    executor: ExecutorOption = "processes",
    batch: BatchOption = None,
    allow_code: AllowCodeOption = False,
    store: StoreOption = None,
    files: FilesOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Forget what is stored of these trials; compute again.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed trials again.")] = False,
    max_hours: MaxHoursOption = None,
    max_evaluations: MaxEvaluationsOption = None,
) -> None:
    """Run grids: compute what the store lacks, measure every trial. Run again to resume.

    All grids are checked before the first one starts. The last line says how many trials are done and failed, and how
    many chunks and network evaluations that took; the lines before it what that was predicted to take, why trials
    failed, and how to go on. Without a terminal there is a line of progress every tenth of the work or minute.

    A run that comes to --max-hours or --max-evaluations lets the chunks under way end, measures the trials that are
    complete, says what is left, and ends with exit code 3; the same command goes on.
    """
    from harness.experiments.grid_files import find_grid

    paths = [find_grid(grid) for grid in grids]

    from harness.execution.limits import Limits

    limits = Limits(max_hours, max_evaluations)
    if force and limits.any:
        raise InputError(
            "--force with a limit would forget what the last command computed, each time anew; forget the results with "
            "`harness forget GRID --results`, and leave out --force"
        )

    from harness.cli.run_terminal import RunProgress, failure_lines, left_line, prediction_line
    from harness.cli.train_terminal import train_for
    from harness.execution.run import run as run_plan
    from harness.experiments.plan import plan

    train_for(paths, device, executor)
    with planning():
        plans = [plan(path, samples) for path in paths]
    failed, is_stopped = 0, False
    with open_store(store, files, create=True) as opened:
        for number, planned in enumerate(plans, start=1):
            for note in planned.notes:
                say_note(note)
            with RunProgress(err, planned.name) as listener:
                summary = run_plan(
                    planned, opened, device, batch, force, retry_failed, listener, executor=executor, limits=limits
                )
            lines = [prediction_line(summary), *failure_lines(summary), left_line(summary, plans[number:])]
            for line in filter(None, lines):
                err.print(f"{planned.name}: {line}", soft_wrap=True)
            typer.echo(
                f"{planned.name}: {summary.done} of {summary.trials} trials done, {summary.failed} failed; "
                f"{summary.chunks} chunks and {summary.evaluations:,} network evaluations in {summary.seconds:.0f} s"
            )
            failed += summary.failed
            is_stopped = summary.left is not None
            if is_stopped:
                break
    if is_stopped:
        raise typer.Exit(LIMIT_REACHED)
    if failed:
        raise typer.Exit(1)


@on(app, RUN)
def plan(
    grid: Annotated[str, typer.Argument(help="Path or name of a grid.")],
    samples: SamplesOption = None,
    device: DeviceOption = None,
    executor: ExecutorOption = "processes",
    batch: BatchOption = None,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Show what a grid would run: trials, NFE, and the time it will cost. Nothing is run.

    Speed comes from the latest results of the network in the store; without any, a few network calls are timed. What
    has to be fetched first may be missing: the plan says how to fetch it, and reckons with the rate that the grid
    states. On GPUs, and where the grid states the rate of one, the cost is given in GPU-hours too.
    """
    from harness.experiments.grid_files import find_grid

    path = find_grid(grid)

    from harness.cli.run_terminal import cost_table, curves_of, speed_lines, trial_table
    from harness.cli.tables import PAGE
    from harness.execution.cost import costs
    from harness.execution.executors import find_executor
    from harness.execution.levels import fill_levels
    from harness.execution.sharing import MOST_TRACED
    from harness.experiments.checks import fetching
    from harness.experiments.plan import plan as make_plan

    with planning():
        planned = make_plan(path, samples, absent_ok=True)
    opened = open_if_there(store, files)
    curves = curves_of(planned)
    print_table(trial_table(planned, curves[:PAGE]))
    if len(curves) > PAGE:
        say_note(f"the first {PAGE} of {len(curves):,} curves are listed")
    for note in planned.notes:
        out.print(f"note: {note}", soft_wrap=True)
    filled = planned if planned.absent else fill_levels(planned, opened, device, search=False)
    start = find_executor(executor).start_seconds
    every = costs(filled, opened, device, batch, executor)
    print_table(cost_table(every, start))
    if len(planned.items) > MOST_TRACED:
        say_note(
            f"what trials share is not reckoned with in a plan of more than {MOST_TRACED:,} trials; a run finds it"
        )
    for line in speed_lines(every):
        out.print(line, soft_wrap=True)
    if planned.absent:
        out.print(f"Not here yet: {fetching(planned.absent)}.", soft_wrap=True)


@on(app, LOOK)
def report(
    name: Annotated[
        str | None, typer.Argument(help="A grid or a search that was run.  [default: the latest]", metavar="GRID|STUDY")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="HTML file, or the folder for --all.  [default: reports/NAME.html]"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="The reports of all grids, and an index page.")] = False,
    is_search: SearchOption = False,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Write the HTML report of a grid or of a search from the store.

    With --all, those of all grids and searches in the store, and index.html. What cannot be written is named, with exit
    code 2, and does not keep the others from being written.
    """
    if every and name:
        raise InputError(f"--all writes the reports of all grids; leave out '{name}', or --all")
    with open_store(store, files, read_only=True) as opened:
        from harness.store.names import find_named, latest

        if every:
            from harness.report.pages.index import write_reports

            made = write_reports(opened, output or Path("reports"))
            for written in made.files:
                typer.echo(written)
            if made.unwritten:
                raise InputError(
                    "not written: " + "; ".join(f"{which} ({reason})" for which, reason in made.unwritten.items())
                )
            return
        named = find_named(opened, name, is_search) if name else latest(opened)
        if named is None:
            raise InputError(f"{opened.name}: nothing has been run into this store; `harness run GRID` first")
        if named.kind == "grid":
            from harness.report.pages.grid import file_name, write_report

            written = write_report(opened, named.name, output or Path("reports") / file_name(named.name))
        else:
            from harness.report.pages.index import search_file_name
            from harness.report.pages.search import write_search_report

            file = Path("reports") / search_file_name(named.name, opened.grid_names())
            written = write_search_report(opened, named.name, output or file)
    typer.echo(written)


@on(app, LOOK)
def claims(
    grids: Annotated[
        list[str] | None, typer.Argument(help="Names of grids that were run.  [default: all]", metavar="GRID...")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file.")] = Path("reports/claims.html"),
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Judge the claims of grids by the rows in the store: holds, does not hold, or undecided, on each network.

    `harness run grids/claims/*.yaml` makes the rows. Nothing is computed here.
    """
    with open_store(store, files, read_only=True) as opened:
        from harness.cli.tables import claims_table
        from harness.report.claims import judged_claims
        from harness.report.pages.claims import unrun, write_claims
        from harness.store.names import find_in_store

        every = judged_claims(opened, [find_in_store(opened, grid) for grid in grids] if grids else None)
        if not every:
            raise InputError(
                f"{opened.name}: no grid with claims was run into this store; begin with `harness run claims/field`"
            )
        written = write_claims(every, output, [] if grids else unrun(opened))
    print_table(claims_table(every))
    typer.echo(written)


@on(app, LOOK)
def show(
    name: Annotated[
        str | None, typer.Argument(help="Only the trials of this grid or search.", metavar="GRID|STUDY")
    ] = None,
    csv: Annotated[str | None, typer.Option("--csv", help="Write CSV to this file, or - for standard output.")] = None,
    is_search: SearchOption = False,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """List the trials in the store."""
    with open_store(store, files, read_only=True) as opened:
        from harness.cli.tables import PAGE, results_table
        from harness.report.data import stored_results, trial_results, write_csv
        from harness.store.names import find_named
        from harness.store.results import result_count

        named = find_named(opened, name, is_search) if name else None
        if named is not None and named.kind == "search":
            from harness.report.study import search_results

            trials: Iterable[TrialResult] = search_results(opened, named.name)
        elif named is not None:
            trials = trial_results(opened, named.name)
        else:
            trials = stored_results(opened, None if csv else PAGE)
        if csv == "-":
            write_csv(trials, sys.stdout)
            return
        if csv:
            with writing_text(Path(csv), "--csv") as text:
                write_csv(trials, text)
            typer.echo(csv)
            return
        listed = list(trials)
        count = len(listed) if named is not None else result_count(opened)
    print_table(results_table(listed[-PAGE:]))
    if count > PAGE:
        say_note(f"the last {PAGE} of {count:,} trials are listed; --csv FILE writes all of them")


@on(app, LOOK)
def ls(
    axis: Annotated[str | None, typer.Argument(help="denoisers, solvers, discretizations, ...  [default: all]")] = None,
) -> None:
    """List denoisers, solvers and the choices on every other axis, a line each."""
    from harness.cli.listing import listing

    for title, entries in listing(axis).items():
        out.print(title, style="bold")
        width = max(18, *(len(name) for name, _ in entries))
        for name, line in entries:
            text = f"  {name:<{width}} {line}"
            if out.is_terminal:
                out.print(text, no_wrap=True, overflow="ellipsis")
            else:
                typer.echo(text)


@on(app, RUN)
def sample(
    denoiser: Annotated[str, typer.Argument(help="A card's name, a checkpoint's path, or an analytic spec as YAML.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="A .png file for one sheet, a .npy file of floats, or a folder for one file each."
        ),
    ],
    sampler: Annotated[str, typer.Option(help="Sampler as YAML text or file: '{solver: heun, steps: 18}'.")] = "{}",
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0-63 or 1,5,8.")] = "0-63",
    label: Annotated[str, typer.Option(help="random, unconditional, or a class index.")] = "random",
    conditions: ConditionsOption = None,
    device: DeviceOption = None,
    batch: BatchOption = None,
    allow_code: AllowCodeOption = False,
) -> None:
    """Draw images to a PNG sheet or a folder."""
    from harness.cli.parsing import parse_label, parse_sampler, parse_seeds, parse_source
    from harness.execution.sample_images import sample_to_files
    from harness.sampling.conditions import read_conditions

    labels = parse_label(label)
    if conditions is not None:
        if label != "random":
            raise InputError("--conditions take the place of --label; leave one out")
        labels = read_conditions(conditions)

    sampled = sample_to_files(
        parse_source(denoiser), parse_sampler(sampler), parse_seeds(seeds), labels, output, device, batch
    )
    for note in sampled.notes:
        say_note(note)
    typer.echo(f"{output}: {sampled.images} images, NFE {sampled.nfe:g}")


models.add_to(app)
search.add_to(app)
exporting.add_to(app)
images.add_to(app)
results.add_to(app)


def _open_standard_streams() -> None:
    """Standard streams that take every letter; where one is closed, the next file opened must not take its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = (stream or Path(os.devnull).open("w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _stop_like_ctrl_c() -> None:
    """A request to end, and a terminal that is closed, end a command as Ctrl-C does; unless `nohup` says otherwise."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, Interruption.ask)


def main() -> Any:
    """Entry point of the `harness` command."""
    _open_standard_streams()
    _stop_like_ctrl_c()
    usual = warnings.formatwarning

    def brief(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> str:
        """Our own warnings without the line of code that gave them."""
        is_ours = category.__module__.startswith("harness.")
        return f"warning: {message}\n" if is_ours else usual(message, category, *rest, **more)

    warnings.formatwarning = brief
    try:
        return guarded(app)()
    except typer.Exit as end:  # its help has no place to go to
        sys.exit(end.exit_code)
