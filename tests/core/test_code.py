"""Code of users: found without running it, identified by its content, run with permission."""

import ast
import importlib
import os
import py_compile
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.core.bytecode import STARTED, is_current
from harness.core.code import _packages, code_allowed, find_code, is_code_allowed, load_object, require_permission
from harness.core.errors import InputError
from tests.plugins import ROOT

NET = (
    "import math\nimport helper_of_net\n\ndef make(scale=1.0):\n    return lambda x, t: helper_of_net.half(x) * scale\n"
)
HELPER = "def half(x):\n    return x / 2\n"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No settings of the user, nothing imported by another test, the path as it was."""
    monkeypatch.setenv("HARNESS_SETTINGS", str(tmp_path / "settings.yaml"))
    monkeypatch.setattr("harness.core.code._imported", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net_of_test.py").write_text(NET)
    (tmp_path / "helper_of_net.py").write_text(HELPER)
    return tmp_path


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "nets_of_test"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('looking runs no code')\n")
    (folder / "deep" / "unet.py").write_text("import scipy.stats\nimport torch\n\ndef make():\n    return 3\n")
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_file_is_hashed_with_what_it_imports_beside_it(net):
    code = find_code(f"{net}/net_of_test.py:make")
    assert set(code.files) == {"net_of_test.py", "helper_of_net.py"}
    assert code.distributions == {}
    before = code.sha256
    (net / "helper_of_net.py").write_text(HELPER.replace("2", "3"))
    assert find_code(f"{net}/net_of_test.py:make").sha256 != before
    (net / "helper_of_net.py").write_text(HELPER)
    assert find_code(f"{net}/net_of_test.py:make").sha256 == before


def test_a_package_is_hashed_whole_and_not_run(package):
    code = find_code("nets_of_test.deep.unet:make")
    assert set(code.files) == {"nets_of_test/__init__.py", "nets_of_test/deep/unet.py"}
    assert list(code.distributions) == ["scipy"]  # torch is in every row
    before = code.sha256
    (package / "deep" / "other.py").write_text("x = 1\n")
    assert find_code("nets_of_test.deep.unet:make").sha256 != before


def test_an_installed_package_says_its_version():
    code = find_code("filelock:FileLock")
    assert "filelock" in code.distributions and code.files


def test_unchanged_files_are_parsed_once(net, monkeypatch):
    reference, parsed = f"{net}/net_of_test.py:make", []
    real = ast.parse
    monkeypatch.setattr(
        "harness.core.code.ast.parse", lambda *given, **named: parsed.append(1) or real(*given, **named)
    )
    before = find_code(reference).sha256
    count = len(parsed)
    assert find_code(reference).sha256 == before and len(parsed) == count
    (net / "net_of_test.py").write_text("import filelock\n" + NET)
    assert "filelock" in find_code(reference).distributions and len(parsed) == count + 1


def test_place_is_no_part_of_the_identity(net, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    for path in net.glob("*.py"):
        (other / path.name).write_text(path.read_text())
    assert find_code(f"{net}/net_of_test.py:make").sha256 == find_code(f"{other}/net_of_test.py:make").sha256


def test_code_runs_with_permission_only(net):
    reference = f"{net}/net_of_test.py:make"
    with pytest.raises(InputError, match="--allow-code"):
        load_object(reference)
    assert "net_of_test" not in sys.modules
    with code_allowed():
        assert load_object(reference)(2.0)(3.0, None) == 3.0
        with code_allowed(False):
            assert is_code_allowed()  # an inner call takes nothing away
    assert not is_code_allowed()


def test_settings_permit(tmp_path):
    (tmp_path / "settings.yaml").write_text("allow_code: true\n")
    require_permission("'x'")
    (tmp_path / "settings.yaml").write_text("alow_code: true\n")
    with pytest.raises(InputError, match=r"settings.yaml:1.*alow_code"):
        require_permission("'x'")


def test_source_that_changed_after_its_import_is_refused(net):
    reference = f"{net}/net_of_test.py:make"
    with code_allowed():
        load_object(reference)
        (net / "net_of_test.py").write_text(NET.replace("1.0", "2.0"))
        with pytest.raises(InputError, match="start the program again"):
            load_object(reference)


def test_another_module_of_that_name_is_noticed(net, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    (other / "net_of_test.py").write_text("def make():\n    return 1\n")
    with code_allowed():
        load_object(f"{other}/net_of_test.py:make")
        with pytest.raises(InputError, match="another module 'net_of_test'"):
            load_object(f"{net}/net_of_test.py:make")


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("net_of_test", "module:object"),
        ("net_of_test:", "module:object"),
        ("no_such_module_here:make", "there is no module 'no_such_module_here'"),
        ("no/such/file.py:make", "no such file"),
        ("a-b:make", "no module's name"),
    ],
)
def test_references_that_name_nothing(reference, told):
    with pytest.raises(InputError, match=told):
        find_code(reference)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def other():\n    pass\n", "has no 'make'"),
        ("import nothing_like_this\n", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("def make(:\n", "not Python: SyntaxError"),
    ],
)
def test_code_that_cannot_be_used(net, source, told):
    (net / "net_of_test.py").write_text(source)
    with code_allowed(), pytest.raises(InputError, match=told):
        load_object(f"{net}/net_of_test.py:make")


def test_neighbours_of_one_name_in_two_folders_are_refused(tmp_path):
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"net_{folder}.py").write_text("import neighbour\n\ndef make():\n    return neighbour.N\n")
        (tmp_path / folder / "neighbour.py").write_text(f"N = {value}\n")
    with code_allowed():
        assert load_object(f"{tmp_path}/a/net_a.py:make")() == 1
        with pytest.raises(InputError, match=r"another module 'neighbour' .*a/neighbour.py.; rename yours, or use it"):
            load_object(f"{tmp_path}/b/net_b.py:make")
        assert "net_b" not in sys.modules
        assert load_object(f"{tmp_path}/a/net_a.py:make")() == 1


def test_a_neighbour_that_is_imported_late_keeps_its_name(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"late_{folder}.py").write_text(
            "def make():\n    import neighbour\n    return neighbour.N\n"
        )
        (tmp_path / folder / "neighbour.py").write_text(f"N = '{folder}'\n")
    with code_allowed():
        make = load_object(f"{tmp_path}/a/late_a.py:make")
        with pytest.raises(InputError, match="another module 'neighbour'"):
            load_object(f"{tmp_path}/b/late_b.py:make")
        (tmp_path / "a" / "neighbour.py").write_text("N = 'changed before its import'\n")
        assert load_object(f"{tmp_path}/a/late_a.py:make") is make
        assert make() == "changed before its import"
        assert load_object(f"{tmp_path}/a/late_a.py:make") is make
        (tmp_path / "a" / "neighbour.py").write_text("N = 'changed after it'\n")
        with pytest.raises(InputError, match=r"neighbour.py changed since this process imported it; start the prog"):
            load_object(f"{tmp_path}/a/late_a.py:make")


def test_a_neighbour_of_another_folder_that_comes_in_by_the_import_is_refused(net, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    (other / "helper_of_net.py").write_text(HELPER)
    (net / "net_of_test.py").write_text(f"import sys\nsys.path.insert(0, {str(other)!r})\n{NET}")
    with code_allowed(), pytest.raises(InputError, match=f"another module 'helper_of_net' .{other}"):
        load_object(f"{net}/net_of_test.py:make")


def test_a_changed_file_is_refused_by_any_of_its_objects(tmp_path):
    (tmp_path / "stale_of_test.py").write_text("def first():\n    return 1\n\ndef second():\n    return 1\n")
    with code_allowed():
        assert load_object(f"{tmp_path}/stale_of_test.py:first")() == 1
        assert load_object(f"{tmp_path}/stale_of_test.py:second")() == 1
        (tmp_path / "stale_of_test.py").write_text("def first():\n    return 1\n\ndef second():\n    return 2\n")
        with pytest.raises(
            InputError, match=r"stale_of_test.py changed since this process imported it; start the program again"
        ):
            load_object(f"{tmp_path}/stale_of_test.py:second")


def test_a_file_may_change_until_its_import_succeeds(net):
    reference = f"{net}/net_of_test.py:make"
    (net / "net_of_test.py").write_text(NET + "1 / 0\n")
    with code_allowed():
        with pytest.raises(InputError, match="ZeroDivisionError"):
            load_object(reference)
        (net / "net_of_test.py").write_text(NET)
        assert load_object(reference)()(4.0, None) == 2.0
        (net / "helper_of_net.py").write_text(HELPER + "#\n")
        with pytest.raises(InputError, match=r"helper_of_net.py changed since .*; start the program again"):
            load_object(reference)


def test_a_file_that_changes_while_it_is_imported_is_refused(net):
    write = "import pathlib\nwith pathlib.Path(__file__).open('a') as file:\n    file.write('# more')\n"
    (net / "net_of_test.py").write_text(NET + write)
    with code_allowed(), pytest.raises(InputError, match="changed since this process imported it"):
        load_object(f"{net}/net_of_test.py:make")


@pytest.fixture
def imported_by_the_program(tmp_path, monkeypatch):
    """A module that the program imports itself, before the harness is asked for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "mine_of_program.py"
    path.write_text("def make():\n    return 1\n")
    return path, lambda: importlib.import_module("mine_of_program")


def test_a_module_that_the_program_imported_is_taken(imported_by_the_program):
    imported_by_the_program[1]()
    with code_allowed():
        assert load_object("mine_of_program:make")() == 1


def test_a_module_that_changed_since_the_program_imported_it_is_refused(imported_by_the_program):
    path, import_it = imported_by_the_program
    module = import_it()
    path.write_text("def make():\n    return 2\n")  # as long as before, and within the same second
    with code_allowed():
        with pytest.raises(InputError, match=r"mine_of_program.py may have changed since .*; start the program again"):
            load_object("mine_of_program:make")
        importlib.reload(module)
        path.write_text("def make():\n    return 3 + 0\n")
        with pytest.raises(InputError, match=r"mine_of_program.py may have changed since .*; start the program again"):
            load_object("mine_of_program:make")
        importlib.reload(module)
        assert load_object("mine_of_program:make")() == 3


def test_a_file_older_than_the_process_needs_no_bytecode(imported_by_the_program, monkeypatch):
    path, import_it = imported_by_the_program
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import_it()
    assert not list(path.parent.rglob("*.pyc"))
    with code_allowed():
        with pytest.raises(InputError, match="may have changed since"):  # whether it changed cannot be known
            load_object("mine_of_program:make")
        monkeypatch.setattr("harness.core.bytecode.STARTED", time.time_ns() + 1_000_000_000)
        assert load_object("mine_of_program:make")() == 1


def test_bytecode_that_is_checked_by_hash(imported_by_the_program):
    path, import_it = imported_by_the_program
    compiled = py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    module = import_it()
    assert is_current(module, path)
    path.write_text("def make():\n    return 2\n")
    Path(compiled).touch()  # so that its time says nothing
    assert not is_current(module, path)


def test_when_the_process_started():
    assert time.time_ns() >= STARTED
    program = "import time; t = time.time_ns(); from harness.core.bytecode import STARTED; print(t - STARTED)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert 0 <= int(told.stdout) < 60_000_000_000


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution whose name maps to a module, in a folder; and a file that imports it."""

    def make(folder, record):
        place = tmp_path / folder
        info = place / "dist_of_test-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dist-of-test\nVersion: 1.5\n")
        (info / "top_level.txt").write_text("module_of_dist\n")
        (info / "RECORD").write_text(record)
        monkeypatch.syspath_prepend(str(place))
        _packages.cache_clear()
        (tmp_path / "factory_of_test.py").write_text("from module_of_dist import make\n")
        return place

    yield make
    _packages.cache_clear()


def test_an_editable_install_is_hashed_as_well(installed, tmp_path, monkeypatch):
    installed("site-packages", "module.pth,,\n")
    source = tmp_path / "source" / "module_of_dist"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("from module_of_dist.net import make\n")
    (source / "net.py").write_text("def make():\n    return 1\n")
    monkeypatch.syspath_prepend(str(source.parent))
    code = find_code(f"{tmp_path}/factory_of_test.py:make")
    before = code.sha256
    assert set(code.files) == {"factory_of_test.py", "module_of_dist/__init__.py", "module_of_dist/net.py"}
    assert code.distributions == {"dist-of-test": "1.5"}
    (source / "net.py").write_text("def make():\n    return 2\n")
    assert find_code(f"{tmp_path}/factory_of_test.py:make").sha256 != before


@pytest.mark.parametrize("folder", ["lib/dist-packages", "target"])
def test_a_copy_that_was_installed_is_known_by_its_version(installed, tmp_path, folder):
    place = installed(folder, "module_of_dist.py,,\n")
    (place / "module_of_dist.py").write_text("def make():\n    return 1\n")
    code = find_code(f"{tmp_path}/factory_of_test.py:make")
    assert set(code.files) == {"factory_of_test.py"}
    assert code.distributions == {"dist-of-test": "1.5"}
