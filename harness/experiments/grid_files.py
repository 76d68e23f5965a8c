"""Where the files of grids are, and what a grid is called after its file."""

from pathlib import Path

from harness.core.embedded import data_dir
from harness.core.errors import InputError

SUFFIXES = (".yaml", ".yml")

PACKAGE = "package:/grids"
"""The folder of the grids that come with the package, wherever that is installed."""


def find_grid(name: str) -> Path:
    """A grid's file: the path as given, or by name among the grids that come with the package.

    What has a separator or a suffix is a path, unless it is the whole name of a packaged grid, as `claims/mixture` is.

    Raises:
        InputError: neither is there, with the names there are; or a bare name is that of a file here as well.
    """
    path, shipped = Path(name), grid_names()
    known = [file for own, file in shipped.items() if name in (own, file.stem)]
    here = [file for file in (path, *(Path(f"{name}{suffix}") for suffix in SUFFIXES)) if file.is_file()]
    if known and here and not any(file.samefile(known[0]) for file in here):
        raise InputError(
            f"'{name}' is a grid that comes with the package, and {here[0]} is here as well; give {_as_path(here[0])} "
            f"or {known[0]}"
        )
    if known or path in here:
        return known[0] if known else path
    if here:
        raise InputError(f"{name}: no such file; {here[0]} is there")
    packaged = next((own for own, file in shipped.items() if grid_name(path) == file.stem), None)
    if packaged:
        raise InputError(f"{name}: no such file; a grid that comes with the package is called {packaged}")
    raise InputError(f"{name}: no such file, nor a grid that comes with the package; those are: {', '.join(shipped)}")


def _as_path(file: Path) -> str:
    """As an argument that no packaged grid has as its name."""
    return str(file) if file.suffix in SUFFIXES else f"./{file}"


def grid_names() -> dict[str, Path]:
    """The grids that come with the package by name, `fig2_deterministic` or `claims/mixture`, those of no folder first.

    No two have one name without the folder.
    """
    shipped = data_dir("grids")
    files = sorted(shipped.rglob("*.yaml"), key=lambda path: (path.parent != shipped, path))
    return {str(path.relative_to(shipped).with_suffix("")): path for path in files}


def grid_name(path: Path) -> str:
    """The name of a file without `.yaml` or `.yml`; other dots are part of it."""
    return path.stem if path.suffix in SUFFIXES else path.name


def place_of(path: Path) -> str:
    """Where a grid's file is: its absolute path, or one below `PACKAGE`."""
    path, shipped = path.resolve(), data_dir("grids").resolve()
    return f"{PACKAGE}/{path.relative_to(shipped)}" if path.is_relative_to(shipped) else str(path)
