"""Downloads from a server that cuts, lies, redirects and dawdles; nothing half is ever left under the final name."""

import ast
import hashlib
import io
import threading
from pathlib import Path

import pytest

import harness
from harness import download as module
from harness.download import Downloaded, Expected, check_address, download
from harness.errors import InputError
from tests.server import cut, ranged, running, send, slow

CONTENT = bytes(range(256)) * 4000
SHA = hashlib.sha256(CONTENT).hexdigest()
RIGHT = Expected(SHA, len(CONTENT))


@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found


@pytest.fixture
def get(tmp_path, server):
    """Downloads one path to a fresh folder; quick to try again."""
    server.asked.clear()
    server.answers.clear()

    def fetch(url, expected=RIGHT, **options):
        return download(url, tmp_path / "file.bin", expected, **{"pause": 0.01, "timeout": 2.0, **options})

    fetch.folder = tmp_path
    return fetch


def left(folder):
    """What is there, but for the lock, which holds nothing."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_whole_file(server, get):
    told = []
    url = server.serve("/file", ranged(CONTENT))
    assert get(url, listener=lambda done, total: told.append((done, total))) == Downloaded(SHA, len(CONTENT))
    assert (get.folder / "file.bin").read_bytes() == CONTENT
    assert left(get.folder) == ["file.bin"]
    assert told[0] == (0, len(CONTENT)) and told[-1] == (len(CONTENT), len(CONTENT))
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_without_hash_and_size(server, get):
    assert get(server.serve("/file", ranged(CONTENT)), Expected()).sha256 == SHA


def test_a_cut_is_resumed_where_it_was(server, get):
    url = server.serve("/file", ranged(CONTENT, cut_after=300_000))
    assert get(url).sha256 == SHA
    first, second = server.asked
    assert "Range" not in first[1]
    assert (second[1]["Range"], second[1]["If-Range"]) == ("bytes=300000-", '"one"')
    assert left(get.folder) == ["file.bin"]


def test_a_cut_is_resumed_by_the_next_command(server, get, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    url = server.serve("/file", ranged(CONTENT, cut_after=300_000))
    with pytest.raises(InputError, match=r"300,000 of 1,024,000 bytes.*300,000 bytes are kept, and the same command"):
        get(url)
    assert left(get.folder) == ["file.bin.part", "file.bin.part.json"]
    assert get(url).sha256 == SHA
    assert server.asked[-1][1]["Range"] == "bytes=300000-"


def test_another_file_than_was_begun_starts_over(server, get, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    server.serve("/file", ranged(b"x" * 500_000, etag='"old"', cut_after=200_000))
    with pytest.raises(InputError, match="the same command goes on"):
        get(server.url + "/file", Expected())
    assert get(server.serve("/file", ranged(CONTENT, etag='"new"'))).sha256 == SHA
    assert server.asked[-1][1]["If-Range"] == '"old"'


def test_another_address_starts_over(server, get, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    with pytest.raises(InputError):
        get(server.serve("/one", ranged(b"x" * 500_000, cut_after=200_000)), Expected())
    assert get(server.serve("/two", ranged(CONTENT))).sha256 == SHA
    assert "Range" not in server.asked[-1][1]


def test_a_server_without_ranges(server, get):
    state = {"first": True}

    def answer(handler, headers):
        if state.pop("first", False):
            send(handler, CONTENT[:1000], length=len(CONTENT), ETag='"one"')
            cut(handler)
        else:
            send(handler, CONTENT, ETag='"one"')

    assert get(server.serve("/file", answer)).sha256 == SHA
    assert len(server.asked) == 2


def test_everything_came_but_the_name(server, get, monkeypatch):
    """Killed between the last byte and the renaming: with a known size nothing is asked, else the server agrees."""
    url = server.serve("/file", ranged(CONTENT))
    for expected, requests in ((RIGHT, 0), (Expected(), 1)):
        (get.folder / "file.bin.part").write_bytes(CONTENT)
        (get.folder / "file.bin.part.json").write_text(f'{{"url": "{url}", "mark": "\\"one\\""}}')
        server.asked.clear()
        assert get(url, expected).sha256 == SHA
        assert len(server.asked) == requests


def test_a_part_longer_than_the_file_starts_over(server, get):
    url = server.serve("/file", ranged(CONTENT))
    (get.folder / "file.bin.part").write_bytes(CONTENT + b"more")
    (get.folder / "file.bin.part.json").write_text(f'{{"url": "{url}", "mark": "\\"one\\""}}')
    assert get(url).sha256 == SHA


def test_a_wrong_hash(server, get):
    wrong = "0" * 64
    url = server.serve("/file", ranged(CONTENT))
    with pytest.raises(InputError, match=f"SHA-256 should be {wrong}, and what came has {SHA}; it was thrown away"):
        get(url, Expected(wrong, len(CONTENT)))
    assert left(get.folder) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda h, _: send(h, CONTENT + b"x"), "the file should have 1,024,000 bytes, and the server has 1,024,001"),
        (lambda h, _: send(h, CONTENT[:-1]), "the file should have 1,024,000 bytes, and the server has 1,023,999"),
        (lambda h, _: send(h, CONTENT, length=10**15), "the file should have 1,024,000 bytes"),
        (
            lambda h, _: (send(h, CONTENT[:50], length=len(CONTENT)), cut(h)),
            r"ended after 50 of 1,024,000 .* \(4 tries\)",
        ),
        (lambda h, _: send(h, CONTENT, Content_Encoding="gzip"), "in coding 'gzip', which was not asked for"),
        (lambda h, _: h.send_error(404), r"the server answers 404 \(Not Found\); check the address"),
        (lambda h, _: h.send_error(403), "the server answers 403"),
        (lambda h, _: h.send_error(503), r"the server answers 503 .*\(4 tries\)"),
        (lambda h, _: cut(h), r"the connection failed .*\(4 tries\)"),
        (lambda h, _: send(h, b"", 206, Content_Range="bytes 7-8/9"), "another part of the file than was asked for"),
    ],
)
def test_servers_that_fail_or_lie(server, get, answer, message):
    with pytest.raises(InputError, match=message):
        get(server.serve("/file", answer))
    assert "file.bin" not in left(get.folder)


def test_more_than_was_promised_without_a_length(server, get):
    def answer(handler, headers):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(CONTENT + b"x" * 100_000)
        cut(handler)

    with pytest.raises(InputError, match="the server sends more than the 1,024,000 bytes"):
        get(server.serve("/file", answer))
    assert left(get.folder) == []


def test_a_size_that_nobody_would_want(server, get):
    with pytest.raises(InputError, match="at most 17,179,869,184 are fetched"):
        get(server.serve("/file", lambda h, _: send(h, b"abc", length=1 << 50)), Expected())


def test_trouble_that_passes(server, get):
    count = {"n": 0}

    def answer(handler, headers):
        count["n"] += 1
        if count["n"] < 3:
            handler.send_error(500)
        else:
            ranged(CONTENT)(handler, headers)

    assert get(server.serve("/file", answer)).sha256 == SHA


def test_a_slow_server_is_given_up(server, get, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 2)
    with pytest.raises(InputError, match=r"timed out.*\(2 tries\); 3 bytes are kept"):
        get(server.serve("/file", slow(0.6)), Expected(), timeout=0.2)
    assert "file.bin" not in left(get.folder)


def redirect(target):
    return lambda handler, headers: send(handler, b"", 302, Location=target)


def test_redirects_are_followed_and_keep_the_range(server, get, monkeypatch):
    url = server.serve("/old", redirect(server.serve("/file", ranged(CONTENT, cut_after=300_000))))
    assert get(url).sha256 == SHA
    assert server.asked[-1][0] == "/file" and server.asked[-1][1]["Range"] == "bytes=300000-"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("http://example.org/x", "is redirected to 'http://example.org/x'; only https is fetched from"),
        ("file:///etc/passwd", "Redirection to url 'file:///etc/passwd' is not allowed"),
        ("ftp://127.0.0.1/x", "only https is fetched from"),
        ("https://user:secret@example.org/x", "an address with a user or password is refused"),
    ],
)
def test_redirects_that_are_refused(server, get, target, message):
    with pytest.raises(InputError, match=message) as error:
        get(server.serve("/old", redirect(target)))
    assert "secret" not in str(error.value)
    assert left(get.folder) == []


def test_a_redirect_in_circles(server, get):
    with pytest.raises(InputError, match="the server answers 302"):
        get(server.serve("/old", redirect(server.url + "/old")))


def test_from_https_to_http_is_refused_even_here():
    import urllib.request

    request = urllib.request.Request("https://example.org/file")
    with pytest.raises(InputError, match=r"redirected from https to 'http://127.0.0.1/file'; refused"):
        module._Redirects().redirect_request(request, io.BytesIO(), 302, "Found", {}, "http://127.0.0.1/file")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "file:///etc/passwd",
        "ftp://example.org/x",
        "https://",
        "x.bin",
        "http://127.0.0.1.evil.org/",
    ],
)
def test_addresses_that_are_refused(url, tmp_path):
    with pytest.raises(InputError, match="only https is fetched from"):
        download(url, tmp_path / "file.bin")
    assert list(tmp_path.iterdir()) == []


def test_addresses_that_are_allowed():
    for url in ("https://example.org/x", "http://localhost:80/x", "http://127.0.0.1/x", "http://[::1]/x"):
        check_address(url)


def test_one_at_a_time(server, get):
    gate = threading.Event()

    def answer(handler, headers):
        gate.wait(5)
        ranged(CONTENT)(handler, headers)

    url, results = server.serve("/file", answer), []
    first = threading.Thread(target=lambda: results.append(get(url, timeout=10.0)))
    first.start()
    while not server.asked:
        gate.wait(0.01)
    with pytest.raises(InputError, match="another process is fetching this file"):
        get(url)
    gate.set()
    first.join()
    assert results[0].sha256 == SHA
    assert left(get.folder) == ["file.bin"]


def test_an_interrupt_keeps_what_came(server, get):
    def stop(done, total):
        if done > 100_000:
            raise KeyboardInterrupt

    url = server.serve("/file", ranged(CONTENT))
    with pytest.raises(KeyboardInterrupt):
        get(url, listener=stop)
    assert left(get.folder) == ["file.bin.part", "file.bin.part.json"]
    assert (get.folder / "file.bin.part").stat().st_size > 100_000
    assert get(url).sha256 == SHA
    assert server.asked[-1][1]["Range"].startswith("bytes=")


def test_a_full_disk(server, get, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match=r"1,024,000 bytes are to come, and 1,000 are free.*HARNESS_CACHE"):
        get(server.serve("/file", ranged(CONTENT)))
    assert "file.bin" not in left(get.folder)


def test_a_place_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write there"):
        download(server.serve("/file", ranged(CONTENT)), tmp_path / "file" / "file.bin", RIGHT)


def test_proxies_of_the_environment_are_used_but_not_for_this_machine(server, get, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    for name in ("https_proxy", "http_proxy"):
        monkeypatch.setenv(name, server.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="the connection failed"):
        get("https://files.example.org/file")
    assert server.asked[0][0] == "CONNECT files.example.org:443"
    server.asked.clear()
    assert get(server.serve("/file", ranged(CONTENT))).sha256 == SHA
    assert server.asked[0][0] == "/file"


NETWORK = {"urllib.request", "http.client", "http.server", "socket", "ssl", "requests", "httpx", "aiohttp", "ftplib"}


def test_nothing_else_in_the_program_opens_a_connection():
    root = Path(harness.__file__).parent
    users = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names += [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else []
            if NETWORK & set(names):
                users.add(str(path.relative_to(root)))
            for called in ("hf_hub_download", "load_state_dict_from_url", "from_pretrained", "urlretrieve"):
                assert not (isinstance(node, ast.Attribute) and node.attr == called), f"{path}: {called}"
    assert users == {"download.py", "store.py"}  # the store asks for this machine's name
