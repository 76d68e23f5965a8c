"""`harness fetch` of files that stay as they come: what is printed, kept, pinned and refused."""

import hashlib
import io
import os

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from harness.cli.console import DownloadBar
from harness.cli.main import app
from harness.core.errors import InputError, RunError
from harness.denoisers import fetch as fetching
from harness.denoisers.fetch import Fetchable, Fetched, fetch, fetchable_files
from harness.hub import cards, download
from harness.hub.cache import Pin, read_pins
from tests.hub.server import plain, ranged

pytestmark = pytest.mark.usefixtures("connections")

DATA, OTHER = os.urandom(20_000), os.urandom(20_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHERS = hashlib.sha256(OTHER).hexdigest()
COMMON = {"dataset": "noise", "licence": "MIT", "recipe": "none"}


@pytest.fixture
def site(serve, tmp_path, monkeypatch):
    """A server of one file, and cards of it: statistics without a hash, an extractor with one, a packed classifier."""
    monkeypatch.setattr(cards, "data_dir", lambda name: tmp_path / "pretrained")
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    site = serve(ranged(DATA))
    network = COMMON | {"kind": "reference", "url": site.url("/a/net.pkl"), "width": 8, "extractor": "eyes"}
    extractor = COMMON | {"kind": "extractor", "url": site.url("/b/eyes.pt"), "sha256": SHA256, "size": len(DATA)}
    packed = COMMON | {"kind": "features", "file": "ours.safetensors", "sha256": SHA256, "parameters": 1}
    known = {
        "net": network,
        "eyes": extractor | {"width": 2048},
        "ours": packed | {"width": 64, "test_accuracy": 0.9},
        "facts": COMMON | {"kind": "reference", "url": site.url("/facts.npz"), "width": 2048, "extractor": "eyes"},
    }
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained" / "cards.yaml").write_text(yaml.safe_dump({"cards": known}))
    return site


@pytest.fixture
def files(tmp_path):
    return tmp_path / "cache" / "files"


def left(files):
    return sorted(path.name for path in files.iterdir() if not path.name.startswith("."))


def command(*arguments):
    return CliRunner().invoke(app, ["fetch", *map(str, arguments)])


def get(*names, **options):
    return list(fetch(names, **{"pause": 0.0, "timeout": 2.0, **options}))


def test_a_file_is_fetched_and_pinned_once(site, files):
    done = command("net")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"net: {files / 'net.pkl'}, SHA-256 {SHA256}, pinned\n"
    assert (files / "net.pkl").read_bytes() == DATA
    assert read_pins() == {site.url("/a/net.pkl"): Pin(SHA256, len(DATA))}
    done = command("net")
    assert done.stdout == f"net: {files / 'net.pkl'}, SHA-256 {SHA256}, was here, intact\n"
    assert len(site.requests) == 1
    done = command("net", "--force")
    assert done.stdout == f"net: {files / 'net.pkl'}, SHA-256 {SHA256}, fetched\n"
    assert len(site.requests) == 2
    assert cards.checked_path("net", cards.load_cards()["net"]) == files / "net.pkl"


def test_a_file_with_a_hash_is_not_pinned(site, files):
    assert get("eyes") == [Fetched("eyes", files / "eyes.pt", SHA256, new=True, pinned=False)]
    assert read_pins() == {}
    assert get("eyes") == [Fetched("eyes", files / "eyes.pt", SHA256, new=False, pinned=False)]


def test_several_names_once_each_in_order(site):
    done = command("facts", "net", "facts", "eyes")
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["facts", "net", "eyes"]
    assert [request.path for request in site.requests] == ["/facts.npz", "/a/net.pkl", "/b/eyes.pt"]


def test_another_file_than_pinned(site, files):
    """The new one is refused with both hashes; the old one stays; without its pin the new one is taken."""
    get("net")
    site.script[:] = [ranged(OTHER)]
    done = command("net", "--force")
    assert done.exit_code == 2
    assert f"SHA-256 is {OTHERS} (20,000 bytes), and when it was first fetched it was {SHA256}" in done.stderr
    assert "delete the entry of this address in" in done.stderr
    assert (files / "net.pkl").read_bytes() == DATA
    assert left(files) == ["net.pkl"]
    (files.parent / "pins.json").unlink()
    assert get("net", force=True) == [Fetched("net", files / "net.pkl", OTHERS, new=True, pinned=True)]


def test_another_file_than_the_cards(site, files):
    site.script[:] = [ranged(OTHER)]
    done = command("eyes")
    assert done.exit_code == 2
    assert f"SHA-256 of what came is {OTHERS}, and it should be {SHA256}" in done.stderr
    assert left(files) == []
    site.script[:] = [ranged(OTHER[:-1])]
    done = command("eyes")
    assert done.exit_code == 2
    assert "the file has 19,999 bytes, and it should have 20,000" in done.stderr


@pytest.mark.parametrize("name", ["net", "eyes"])
def test_a_damaged_file_is_fetched_again(site, files, name):
    (first,) = get(name)
    first.path.write_bytes(OTHER)
    (second,) = get(name)
    assert (second.new, second.pinned, second.sha256) == (True, False, SHA256)
    assert first.path.read_bytes() == DATA


def test_a_file_that_nobody_pinned_is_fetched(site, files):
    """What somebody put there has no known hash, so it is not taken for the right one."""
    files.mkdir(parents=True)
    (files / "net.pkl").write_bytes(OTHER)
    assert get("net") == [Fetched("net", files / "net.pkl", SHA256, new=True, pinned=True)]


def test_damaged_pins_are_found_before_anything_is_fetched(site, files):
    files.mkdir(parents=True)
    (files.parent / "pins.json").write_text("{")
    done = command("net")
    assert done.exit_code == 2
    assert "pins.json: damaged" in done.stderr.replace("\n", "")
    assert site.requests == []


def test_the_list(site):
    assert fetchable_files() == [
        Fetchable("eyes", "extractor", len(DATA), False, "noise; MIT"),
        Fetchable("facts", "reference", None, False, "noise; MIT"),
        Fetchable("net", "reference", None, False, "noise; MIT"),
    ]
    get("net")
    done = command("--list")
    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["eyes", "extractor", "20,000", "bytes", "not", "here", "noise;", "MIT"],
        ["facts", "reference", "size", "not", "known", "not", "here", "noise;", "MIT"],
        ["net", "reference", "20,000", "bytes", "here", "noise;", "MIT"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nte",), "'nte' is not the name of a card; `harness fetch --list` shows what can be fetched"),
        (("ours",), "'ours' comes with the package; `harness fetch --list` shows what can be fetched"),
        (("net", "nte"), "'nte' is not the name of a card"),
        ((), "harness fetch takes names, and none was given; `harness fetch --list` shows what there is"),
    ],
)
def test_mistakes_exit_with_2(site, files, arguments, message):
    """Also when the first name is right: nothing is fetched then."""
    done = command(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert site.requests == []
    assert not files.exists()


def test_a_file_that_is_gone(site, files):
    site.script[:] = [plain(404)]
    done = command("net")
    assert done.exit_code == 2
    assert f"error: {site.url('/a/net.pkl')}: the server answered 404 Not Found; check the address" in done.stderr
    assert left(files) == []
    assert read_pins() == {}


def test_a_server_that_fails_exits_with_2_and_the_next_run_goes_on(site, files):
    site.script[:] = [ranged(DATA, cut=5000), plain(503)]
    done = command("net")
    assert done.exit_code == 2
    assert "the connection was cut after 5,000 of 20,000 bytes; trying again in 1 s" in done.stderr
    assert (
        "the server answered 503 Service Unavailable (tried 4 times); 5,000 bytes are kept, and the same command"
        in (done.stderr)
    )
    assert not (files / "net.pkl").exists()
    site.script[:] = [ranged(DATA)]
    assert command("net").exit_code == 0
    assert site.requests[-1].range == ("bytes=5000-", '"v1"')


def test_an_interrupt_exits_with_130_and_the_next_run_goes_on(site, files, monkeypatch):
    def interrupted(self, count):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DownloadBar, "received", interrupted)
        done = command("net")
    assert done.exit_code == 130
    assert "the same command goes on from there" in done.stderr
    kept = (files / "net.pkl.part").stat().st_size
    assert 0 < kept <= len(DATA)
    assert not (files / "net.pkl").exists()
    assert command("net").exit_code == 0
    assert (files / "net.pkl").read_bytes() == DATA


def test_pins_that_are_busy_keep_the_file_for_the_next_run(site, files, monkeypatch):
    def busy(url, found):
        raise RunError("busy")

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "check_pin", busy)
        with pytest.raises(InputError, match="busy"):
            get("net")
    assert (files / "net.pkl.part").read_bytes() == DATA
    assert get("net")[0].pinned
    assert len(site.requests) == 1


def test_the_bar():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with DownloadBar(console) as bar:
        bar.started("net [bold].pkl", 5, 100)
        bar.received(20)
        bar.received(25)
        (task,) = bar.progress.tasks
        assert (task.description, task.completed, task.total, task.visible) == ("net [bold].pkl", 50, 100, True)
        bar.waiting("the connection was cut", 2.0)
        bar.started("net [bold].pkl", 0, None)
        (task,) = bar.progress.tasks
        assert (task.completed, task.total) == (0, None)
    assert "the connection was cut; trying again in 2 s" in console.file.getvalue()
    assert "net [bold].pkl" in console.file.getvalue()


def test_without_a_terminal_the_bar_is_quiet():
    console = Console(file=io.StringIO())
    with DownloadBar(console) as bar:
        bar.started("net.pkl", 0, 100)
        bar.received(100)
    assert console.file.getvalue().strip() == ""
