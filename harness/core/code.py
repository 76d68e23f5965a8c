"""Python code of a user: found without running it, identified by its content, and run only with permission.

Code is named as `module:object`, or as `file.py:object`:

    my_package.nets:make      a module that can be imported; the working directory is looked in too, last
    nets/my_net.py:make       a file

Its identity covers its own Python files and what they import of the user's: for a package every file of it, for a file
those that it imports from its own folder, and so on. Of installed distributions that they import it covers name and
version, and the files too where these lie outside the folders of installed packages, as of an editable install; torch
and numpy are left out, since every row has their versions. Imports are read from the source; a module that is imported
by a computed name is not seen.

A process has one module of a name, and imports it once. So code is refused where a module that it imports is another
file of that name here, or a file that changed since it was imported (`harness.core.bytecode`).

Permission is `--allow-code` on the command line, `allow_code=True` in Python, or the user's settings
(`harness.core.settings`). Work that is sent to another process takes its permission along.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple, cast

from harness.core.bytecode import is_current
from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.core.settings import load_settings, settings_path
from harness.core.text import brief, told

RECORDED = frozenset({"torch", "numpy", "harness"})
"""Imports that are left out of an identity: every row says their versions."""

_SITES = {Path(sysconfig.get_path(scheme)) for scheme in ("purelib", "platlib")} | {Path(site.getusersitepackages())}
"""Folders of installed packages, where neighbours are not a user's own code."""

_SITE_NAMES = frozenset({"site-packages", "dist-packages"})
"""Names of folders of installed packages, of this Python and of those whose packages it sees."""

_allowed: ContextVar[bool] = ContextVar("allowed", default=False)


class _Source(NamedTuple):
    """A file, and the hash of what it held when this process first needed it."""

    path: Path
    sha256: str


_imported: dict[str, _Source] = {}
"""The sources of code that this process loaded, by the full name of the module."""


@contextmanager
def code_allowed(allowed: bool = True) -> Iterator[None]:
    """Permit code of the user inside; False leaves the permission as it is outside."""
    token = _allowed.set(allowed or _allowed.get())
    try:
        yield
    finally:
        _allowed.reset(token)


def is_code_allowed() -> bool:
    """Whether code of the user may be run here."""
    return _allowed.get() or load_settings().allow_code


def require_permission(what: str) -> None:
    """Refuse to run code without permission.

    Args:
        what: which code, as the subject of the sentence.

    Raises:
        InputError: with how to permit it.
    """
    if not is_code_allowed():
        raise InputError(
            f"{what} is Python code, which is run only with your permission: read it, then add --allow-code "
            f"(allow_code=True in Python), or put `allow_code: true` in {settings_path()}"
        )


class Code(NamedTuple):
    """The source of an object, as it is on disk.

    Args:
        name: name of the top-level module or package.
        folder: where that module or package lies.
        files: its Python files and those that it imports of the user's, by their place relative to their folders.
        distributions: versions of the installed distributions that they import, by name.
    """

    name: str
    folder: Path
    files: dict[str, Path]
    distributions: dict[str, str]

    @property
    def sha256(self) -> str:
        """Of the places and contents of all files."""
        digest = hashlib.sha256()
        for place, path in sorted(self.files.items()):
            digest.update(f"{place}\0{sha256_of(path)}\n".encode())
        return digest.hexdigest()


class _Reference(NamedTuple):
    """`module:object` in its parts; `file` is the module's own path where it was named by that."""

    module: str
    attribute: str
    file: Path | None

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def _parse(reference: str) -> _Reference:
    module, colon, attribute = reference.rpartition(":")
    if not colon or not module or not all(part.isidentifier() for part in attribute.split(".")):
        raise InputError(f"'{reference}' names no code; write module:object or file.py:object, as in my_nets:make")
    if module.endswith(".py"):
        file = Path(module).expanduser().absolute()
        if not file.is_file():
            raise InputError(f"{module}: no such file; check the path, which is relative to the working directory")
        if not file.stem.isidentifier():
            raise InputError(f"{module}: a Python file's name is letters, digits and underscores; rename it")
        return _Reference(file.stem, attribute, file)
    if not all(part.isidentifier() for part in module.split(".")):
        raise InputError(f"'{module}' is no module's name; write it with dots, or as a path that ends in .py")
    return _Reference(module, attribute, None)


def find_code(reference: str) -> Code:
    """The source of `module:object`, found without running any of it.

    Raises:
        InputError: there is no such module or file, or a file is not Python.
    """
    named = _parse(reference)
    start = named.file or _find(named.top)
    if start is None:
        raise InputError(
            f"{reference}: there is no module '{named.top}' here; install its package, work in its folder, or name "
            "its file, as in nets/my_net.py:make"
        )
    files: dict[str, Path] = {}
    distributions: dict[str, str] = {}
    todo, seen = [(named.top, start)], set()
    while todo:
        name, place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        own = _files(place)
        files |= own
        for imported in sorted(_imports(own.values()) - {name}):
            beside = None if place.parent in _SITES else _in_folder(imported, place.parent)
            installed = {} if beside else _distributions(imported)
            distributions |= installed
            found = beside or _find(imported)
            if found is not None and not (installed and _is_copy(found, installed)):
                todo.append((imported, found))
    distributions |= {} if named.file else _distributions(named.top)
    return Code(named.top, start.parent, files, dict(sorted(distributions.items())))


def load_object(reference: str) -> Any:
    """Import `module:object`, which runs code.

    Raises:
        InputError: no permission, no such module or object, an import that fails, another module of a name that it
            needs, or source that changed since this process imported it.
    """
    require_permission(f"'{reference}'")
    named, code = _parse(reference), find_code(reference)
    places = {path.resolve() for path in code.files.values()}
    sources = _sources(code)
    _check_modules(reference, sources, _imported, places)
    with _importable(str(code.folder)):
        try:
            module = importlib.import_module(named.module)
        except Exception as error:
            here = {name for name in sources if name in sys.modules and _is_among(name, sys.modules[name], places)}
            _imported.update({name: sources[name] for name in here})  # what it imported before it failed stays
            raise InputError(f"'{reference}' cannot be imported: {told(error)}") from error
    if not _is_among(module.__name__, module, places):
        raise _another(reference, module.__name__, getattr(module, "__file__", None))
    _check_modules(reference, _sources(code), _imported | sources, places)
    _imported.update(sources)
    value: Any = module
    for part in named.attribute.split("."):
        if not hasattr(value, part):
            raise InputError(f"'{reference}': {getattr(value, '__name__', named.module)} has no '{part}'")
        value = getattr(value, part)
    return value


def call_factory(
    reference: str, args: Mapping[str, Any], weights: Sequence[str], *, makes: str, called_as: str
) -> Callable[..., Any]:
    """A function or module that a factory of the user's makes.

    Args:
        reference: `module:object` or `file.py:object`, the factory.
        args: its keyword arguments, values of JSON.
        weights: files, which it gets as `weights`, a list of paths, where it has a parameter of that name.
        makes: what it makes, for messages, such as `network`.
        called_as: how that is called, for messages, such as `f(x, t)`.

    Raises:
        InputError: as `load_object`; the factory is no function, fails, or returns what cannot be called.
    """
    factory = load_object(reference)
    if not callable(factory):
        raise InputError(f"'{reference}' is no function that makes a {makes}; it is a {type(factory).__name__}")
    arguments = dict(args)
    if weights and _takes(factory, "weights"):
        arguments["weights"] = [Path(file).expanduser() for file in weights]
    try:
        made = factory(**arguments)
    except Exception as error:  # the user's code: anything may come
        given = f" with args {brief(json.dumps(dict(args), sort_keys=True))}" if args else ""
        raise InputError(f"'{reference}' cannot make its {makes}{given}: {told(error)}") from error
    if not callable(made):
        raise InputError(
            f"'{reference}' returns {type(made).__name__}; a factory returns a module or a function, called as "
            f"{called_as}"
        )
    return cast(Callable[..., Any], made)


def _takes(function: Any, name: str) -> bool:
    """Whether a function has a parameter of a name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # without a signature
        return False


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """A folder is on the path: first for what is imported inside, last afterwards, for what is imported later."""
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _sources(code: Code) -> dict[str, _Source]:
    """The files of code as they are now, by the full names of their modules."""
    return {
        place.removesuffix(".py").removesuffix("/__init__").replace("/", "."): _Source(path, sha256_of(path))
        for place, path in code.files.items()
    }


def _check_modules(reference: str, sources: dict[str, _Source], known: dict[str, _Source], places: set[Path]) -> None:
    """See that modules in memory are what was hashed, and that names stand for one file.

    A file that code needs and that is not imported yet may be imported later, when the code is called; so its name is
    kept for it, and its content may still change.

    Args:
        reference: the code, for what is said.
        sources: its files as they are now, by module.
        known: sources of code that was loaded before, by module.
        places: the same files, resolved.

    Raises:
        InputError: another module of a name, or a file that changed since it was imported.
    """
    for name, source in sources.items():
        module, before = sys.modules.get(name), known.get(name)
        if module is not None and not _is_among(name, module, places):
            raise _another(reference, name, getattr(module, "__file__", None))
        if before is not None and before.path.resolve() not in places:
            raise _another(reference, name, before.path)
        if module is None:
            continue
        if before is None and not is_current(module, source.path):
            raise _changed(reference, source.path, "may have changed")
        if before is not None and before.sha256 != source.sha256:
            raise _changed(reference, source.path, "changed")


def _is_among(name: str, module: Any, places: set[Path]) -> bool:
    """Whether a module came from one of some files, or from a compiled one beside it."""
    file = getattr(module, "__file__", None)
    if file is None:  # an object that a package put in a module's place; the package itself has a file
        return "." in name
    path = Path(file).resolve()
    if file.endswith(tuple(EXTENSION_SUFFIXES)):
        path = path.with_name(f"{path.name.partition('.')[0]}.py")
    return path in places


def _another(reference: str, name: str, file: str | Path | None) -> InputError:
    return InputError(
        f"'{reference}': this process has another module '{name}' ({file}); rename yours, or use it in another process"
    )


def _changed(reference: str, file: Path, how: str) -> InputError:
    return InputError(f"'{reference}': {file} {how} since this process imported it; start the program again")


def _find(name: str) -> Path | None:
    """The file or folder of a top-level module, without importing it; None for built-in or unknown ones."""
    if name in RECORDED or name in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return _in_folder(name, Path.cwd())
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).absolute()
    return Path(spec.origin).absolute() if spec.origin and spec.origin.endswith(".py") else None


def _is_copy(place: Path, distributions: Iterable[str]) -> bool:
    """Whether a module of installed distributions is a copy that they brought, not source that an install points to.

    A copy lies in a folder of installed packages, or in another one beside a record of what was copied there.
    """
    if place.parent in _SITES or _SITE_NAMES.intersection(place.parts):
        return True
    owners = [metadata.distribution(name) for name in distributions]
    return any(
        Path(str(one.locate_file(""))).resolve() == place.parent.resolve() and one.read_text("RECORD") for one in owners
    )


def _in_folder(name: str, folder: Path) -> Path | None:
    """The file or package of a name in a folder, as Python would find it there."""
    package, file = folder / name, folder / f"{name}.py"
    if (package / "__init__.py").is_file():
        return package
    if file.is_file():
        return file
    return package if package.is_dir() and any(package.rglob("*.py")) else None


def _files(place: Path) -> dict[str, Path]:
    """A module's Python files by their place relative to its folder."""
    if place.is_file():
        return {place.name: place}
    return {path.relative_to(place.parent).as_posix(): path for path in place.rglob("*.py")}


def _imports(paths: Iterable[Path]) -> set[str]:
    """Top-level names that files import, the standard library's and `RECORDED` left out."""
    return {name for path in paths for name in _imports_of(path, sha256_of(path))}


@lru_cache(maxsize=10_000)
def _imports_of(path: Path, sha256: str) -> frozenset[str]:
    """The same of one file; remembered by its content, since parsing takes far longer than hashing."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not Python: {told(error)}") from None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return frozenset(names - sys.stdlib_module_names - RECORDED)


@cache
def _packages() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


@cache
def _distributions(name: str) -> dict[str, str]:
    """Versions of the installed distributions that bring a top-level module; empty for none."""
    return {one: metadata.version(one) for one in dict.fromkeys(_packages().get(name, []))}
