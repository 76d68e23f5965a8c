"""The command `search`: find good sampler settings for a denoiser, with intervals from fresh seeds."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import (
    LIMIT_REACHED,
    RUN,
    AllowCodeOption,
    BatchOption,
    ConditionsOption,
    DeviceOption,
    ExecutorOption,
    FilesOption,
    MaxEvaluationsOption,
    MaxHoursOption,
    StoreOption,
    err,
    on,
    print_table,
)
from harness.cli.stores import open_store
from harness.core.errors import InputError, RunError


def add_to(app: typer.Typer) -> None:
    """Add the command to the program."""
    on(app, RUN)(search)


def search(
    target: Annotated[
        str, typer.Option("--target", help="stochastic, deterministic, levels, guidance, full, or a YAML file.")
    ] = "stochastic",
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Trials in all, over all runs of the study.  [default: 200]")
    ] = None,
    evals: Annotated[
        int | None, typer.Option("--evals", min=1, help="Network evaluations in all, beside --budget or in its place.")
    ] = None,
    denoiser: Annotated[
        str | None,
        typer.Option(
            "--denoiser",
            help="A card's name, a checkpoint's path, or a spec as YAML.  [default: the target's, digits-vp]",
        ),
    ] = None,
    metric: Annotated[str, typer.Option("--metric", help="The metric to optimize: a kind, or YAML.")] = "fd-digits",
    proxy: Annotated[
        str | None, typer.Option("--proxy", help="Search by this cheaper metric, such as end-point-error.")
    ] = None,
    nfe: Annotated[
        int | None, typer.Option("--nfe", min=1, help="Evaluations per sample.  [default: the target's, 127]")
    ] = None,
    pareto: Annotated[bool, typer.Option("--pareto", help="Search every NFE up to --nfe: two objectives.")] = False,
    method: Annotated[str, typer.Option("--method", help="tpe, grid, random, qmc, gp, cmaes or nsga2.")] = "tpe",
    on_grid: Annotated[bool, typer.Option("--on-grid", help="Search declared values only, by any method.")] = False,
    samples: Annotated[
        int | None, typer.Option("--samples", min=2, help="N of a trial that is not pruned.  [default: 512]")
    ] = None,
    rungs: Annotated[
        str | None, typer.Option("--rungs", help="Samples after which a trial may be pruned, such as 128,256,512.")
    ] = None,
    pruner: Annotated[str, typer.Option("--pruner", help="paired, halving or none.")] = "paired",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the search method.")] = 0,
    ahead: Annotated[
        int, typer.Option("--ahead", min=1, help="Trials that may run at a time; at least one per worker.")
    ] = 4,
    top: Annotated[int, typer.Option("--top", min=1, help="Settings that are measured on fresh seeds.")] = 5,
    label: Annotated[str, typer.Option("--label", help="random, unconditional, or a class index.")] = "random",
    conditions: ConditionsOption = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Name of the study.  [default: target, denoiser and NFE]")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Show the progress of studies; nothing is run.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed trials again.")] = False,
    max_hours: MaxHoursOption = None,
    max_evaluations: MaxEvaluationsOption = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="HTML file.  [default: reports/search_STUDY.html]")
    ] = None,
    device: DeviceOption = None,
    executor: ExecutorOption = "processes",
    batch: BatchOption = None,
    allow_code: AllowCodeOption = False,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Search for sampler settings within a budget. Run again to go on; the same study suggests the same settings.

    Exit code 1 if no trial was done, or a setting failed on fresh seeds; 3 if --max-hours or --max-evaluations, which
    are limits of this command, the fresh seeds included, left something to do.
    """
    if status:
        with open_store(store, files, read_only=True) as opened:
            from harness.cli.study_status import status_table

            print_table(status_table(opened, study))
        return

    from harness.cli.parsing import parse_label, parse_source
    from harness.cli.search_terminal import SearchProgress, failure_line, result_lines
    from harness.execution.devices import devices_for
    from harness.execution.executors import find_executor
    from harness.execution.limits import Limits
    from harness.report.pages.index import search_file_name
    from harness.report.pages.search import write_search_report
    from harness.search.plan import SearchRequest, plan_search
    from harness.search.study import budget_of, run_study

    limits = Limits(max_hours, max_evaluations)
    labels = parse_label(label)
    request = SearchRequest(
        target=target,
        denoiser=None if denoiser is None else parse_source(denoiser),
        metric=parse_source(metric),
        proxy=None if proxy is None else parse_source(proxy),
        nfe=nfe,
        pareto=pareto,
        method=method,
        on_grid=on_grid,
        samples=samples,
        rungs=_numbers(rungs),
        pruner=pruner,
        seed=seed,
        ahead=ahead,
        top=top,
        study=study,
        labels="random" if labels is None else labels,  # type: ignore[arg-type]
        conditions=None if conditions is None else str(conditions),
    )
    planned = plan_search(request)
    for note in planned.notes:
        err.print(f"note: {note}", style="yellow")
    devices_for(device)
    find_executor(executor)
    allowed = budget_of(planned, budget, evals)
    with open_store(store, files, create=True) as opened:
        with SearchProgress(err, planned.objective.better) as listener:
            outcome = run_study(planned, opened, allowed, device, batch, listener, executor, retry_failed, limits)
        for line in result_lines(planned, outcome, opened):
            typer.echo(line)
        file = Path("reports") / search_file_name(planned.name, opened.grid_names())
        written = write_search_report(opened, planned.name, output or file)
    typer.echo(written)
    if outcome.stopped:
        err.print(f"{planned.name}: {outcome.stopped}", soft_wrap=True)
        raise typer.Exit(LIMIT_REACHED)
    problem = failure_line(outcome)
    if problem:
        raise RunError(problem)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--rungs takes numbers such as 128,256,512; we got '{text}'")
    return tuple(map(int, parts))
