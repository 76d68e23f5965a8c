"""Commands about results in a store: `compare`, `verify`, `gc`, `merge`, `forget`."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import HOUSE, LOOK, DeviceOption, FilesOption, SearchOption, StoreOption, on
from harness.cli.stores import open_store, say_note
from harness.core.errors import InputError

if TYPE_CHECKING:
    from harness.execution.compare import Compared, Pair

Trial = Annotated[str, typer.Argument(help="Start of a fingerprint (show --csv), or GRID:DENOISER:SERIES@NFE.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    on(app, LOOK)(compare)
    on(app, HOUSE)(verify)
    on(app, HOUSE)(gc)
    on(app, HOUSE)(merge)
    on(app, HOUSE)(forget)


def compare(
    a: Trial,
    b: Trial,
    other: Annotated[str | None, typer.Option("--other", help="The store of B, if it is another.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Compare two trials on common seeds: difference, interval, verdict.

    It says the ratio too, and what cannot be compared. With --other, B is a trial of another store; one trial in two
    stores tells whether a result was reproduced.
    """
    with contextlib.ExitStack() as stores:
        opened = stores.enter_context(open_store(store, files, read_only=True))
        # No array is read, so the other store's folder of files need not be known.
        second = stores.enter_context(open_store(other, opened.files.folder, read_only=True)) if other else None

        from harness.execution.compare import compare_trials

        compared = compare_trials(opened, a, b, second)
    if as_json:
        import json

        pairs = [{key: _plain(value) for key, value in pair._asdict().items()} for pair in compared.pairs]
        typer.echo(json.dumps(compared._asdict() | {"pairs": pairs}, indent=2))
    else:
        for line in _lines(compared):
            typer.echo(line)
    if not compared.pairs:
        raise InputError("the two trials have no result in common that can be compared")


def _plain(value: object) -> object:
    return value._asdict() if hasattr(value, "_asdict") else value


def _lines(compared: "Compared") -> list[str]:
    lines = [f"a: {compared.a[:12]}", f"b: {compared.b[:12]}"]
    for pair in compared.pairs:
        seeds = f"seeds {pair.first_seed} to {pair.first_seed + pair.n - 1}"
        lines.append(f"{pair.metric}, N = {pair.n:,}, {seeds}: a {pair.a:.6g}, b {pair.b:.6g}")
        lines += [f"  {line}" for line in _said(pair)]
    return lines + [f"left out: {line}" for line in compared.apart]


def _said(pair: "Pair") -> list[str]:
    if pair.difference is None:
        return ["no interval: the two were not measured on the same blocks of seeds; undecided"]
    apart = pair.difference
    lines = [f"a - b = {apart.estimate:.5g} ({apart.low:.5g} to {apart.high:.5g}), paired by {apart.blocks} blocks"]
    if pair.ratio is not None:
        lines.append(f"a / b = {pair.ratio.estimate:.4g} ({pair.ratio.low:.4g} to {pair.ratio.high:.4g})")
    half = apart.high - apart.estimate
    if pair.unpaired and half > 0:
        lines.append(f"with seeds of their own the interval would be {pair.unpaired / half:.2g} times as wide")
    return [*lines, f"verdict: {pair.verdict}"]


def verify(
    name: Annotated[
        str | None, typer.Argument(help="Only the trials of this grid or search.", metavar="GRID|STUDY")
    ] = None,
    is_search: SearchOption = False,
    device: DeviceOption = None,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Compute stored results again from their stored moments, and compare.

    Exit code 1 if one differs.
    """
    done = bad = 0
    worst = 0.0
    with open_store(store, files, read_only=True) as opened:
        from harness.store.names import find_named, fingerprints_of

        named = find_named(opened, name, is_search) if name else None

        from harness.execution.verify import verify as verify_all

        for one in verify_all(opened, None if named is None else fingerprints_of(opened, named), device):
            done += 1
            worst = max(worst, one.worst)
            if one.problem:
                bad += 1
                row = one.row
                typer.echo(f"{row['fingerprint'][:12]} {row['metric']} N = {row['n']:,}: {one.problem}")
    if not done:
        raise InputError("no finished result to verify; `harness run GRID` first")
    typer.echo(f"{done - bad} of {done} results are as stored; the largest relative difference is {worst:.1e}")
    if bad:
        raise typer.Exit(1)


def gc(
    unused: Annotated[bool, typer.Option("--unused", help="Drop finished chunks that no result is of, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")] = False,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Make a store smaller: merge the chunks of a block, drop what nothing refers to."""
    with open_store(store, files, read_only=dry_run) as opened:
        from harness.execution.gc import collect

        collected = collect(opened, unused, dry_run)
    would = "would be " if dry_run else ""
    typer.echo(f"{collected.merged} chunks {would}merged into {collected.blocks} blocks")
    typer.echo(
        f"{collected.orphans} files without a row, {collected.unused} unused chunks, "
        f"{collected.claims} claims {would}dropped"
    )
    typer.echo(
        f"{collected.freed:,} bytes {would}freed" + (" (not counting merges)" if dry_run and collected.merged else "")
    )


def merge(
    other: Annotated[str, typer.Argument(help="SQLite file or SQLAlchemy URL of another store.", metavar="OTHER")],
    other_files: Annotated[
        Path | None, typer.Option("--other-files", help="Its folder of arrays.  [default: beside its SQLite file]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")] = False,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Take from another store what this one lacks: chunks and their files, results, grids, searches, pictures.

    What both have stays as it is here. Where the two differ, that is named, with exit code 1. OTHER is only read.
    """
    with contextlib.ExitStack() as stores:
        theirs = stores.enter_context(open_store(other, other_files, read_only=True))
        opened = stores.enter_context(open_store(store, files, create=not dry_run, read_only=dry_run))

        from harness.store.merge import merge_stores

        merged = merge_stores(opened, theirs, dry_run)
    for note in merged.notes:
        say_note(note)
    for conflict in merged.conflicts:
        typer.echo(f"not taken: {conflict}")
    typer.echo(
        f"{merged.chunks} chunks, {merged.results} results, {merged.grids} grids, {merged.searches} searches, "
        f"{merged.others} facts and pictures {'would be ' if dry_run else ''}taken; {len(merged.conflicts)} not taken"
    )
    if merged.conflicts:
        raise typer.Exit(1)


def forget(
    name: Annotated[str, typer.Argument(help="A grid or a search that was run.", metavar="GRID|STUDY")],
    with_results: Annotated[
        bool, typer.Option("--results", help="Drop the results of trials that no other grid or search has, too.")
    ] = False,
    is_search: SearchOption = False,
    store: StoreOption = None,
    files: FilesOption = None,
) -> None:
    """Take a grid or a search out of a store. Its results stay, unless --results is given."""
    with open_store(store, files) as opened:
        from harness.store.forget import forget as forget_named
        from harness.store.migrations import table_names
        from harness.store.names import find_named

        named = find_named(opened, name, is_search)
        forgotten = forget_named(opened, named, with_results)
        if named.kind == "search" and "studies" in table_names(opened.engine):
            from harness.search.optuna_bridge import drop_copy

            drop_copy(opened, named.name)
    of_own = f"{forgotten.own} trials that no other grid or search has"
    if with_results:
        typer.echo(
            f"{named.name}: forgotten, with {forgotten.results} results and {forgotten.chunks} chunks of {of_own}"
        )
    else:
        typer.echo(f"{named.name}: forgotten; the results of {of_own} stay")
