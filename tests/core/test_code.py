"""Code of users: found without running it, identified by its content, run with permission."""

import sys

import pytest

from harness.core.code import code_allowed, find_code, is_code_allowed, load_object, require_permission
from harness.core.errors import InputError

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
