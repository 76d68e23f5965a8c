"""The way to a server: redirects, addresses, https, proxies; what is refused, and what of it is shown."""

import socket

import pytest

from harness.core.errors import InputError, RunError
from tests.hub.client import DATA, WHOLE, get, refused
from tests.hub.server import CERTIFICATE, plain, ranged, tunnel

pytestmark = pytest.mark.usefixtures("connections")


def test_redirects(serve, place, connections):
    end = serve(ranged(DATA, cut=5000), ranged(DATA))
    site = serve(plain(302, Location=end.url("/far.bin?signature=secret")), plain(307, Location="/near"),
                 plain(301, Location=end.url()))  # fmt: skip
    assert get(site.url(), place) == WHOLE
    assert [request.path for request in site.requests] == ["/net.bin", "/net.bin", "/near"]
    assert [request.range for request in end.requests] == [(None, None), ("bytes=5000-", '"v1"')]
    assert site.requests[2].range == ("bytes=5000-", '"v1"')
    assert set(connections) == {"127.0.0.1"}


def test_too_many_redirects(serve, place):
    site = serve(plain(302, Location="/again"))
    with refused(place, r"/net\.bin: redirected more than 5 times, at last to http://127.*/again; check the address"):
        get(site.url(), place)
    assert len(site.requests) == 6


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://files.example/net.bin", "redirected, which is refused: http://files.example/net.bin: only https"),
        ("file:///etc/passwd", "redirected, which is refused: file:///etc/passwd: only https is fetched"),
        ("ftp://127.0.0.1/net.bin", "redirected, which is refused: ftp://127.0.0.1/net.bin: only https is fetched"),
        ("https://me:hunter2@files.example/", "refused: https://…@files.example/: an address with a user or password"),
        ("http://[::1", "redirected, which is refused: "),
        ("//files.example/net.bin", "refused: http://files.example/net.bin: only https is fetched"),
        (None, "redirected without saying where to"),
    ],
)
def test_redirects_that_are_refused(serve, place, connections, location, message):
    site = serve(plain(302, Location=location))
    with refused(place, message):
        get(site.url(), place)
    assert connections == ["127.0.0.1"]
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://files.example/net.bin", "http://files.example/net.bin: only https is fetched"),
        ("file:///etc/passwd", "file:///etc/passwd: only https is fetched"),
        ("ftp://files.example/net.bin", "only https is fetched"),
        ("https://me:hunter2@files.example/net.bin", "https://…@files.example/net.bin: an address with a user"),
    ],
)
def test_addresses_that_are_refused(place, connections, url, message):
    with refused(place, message):
        get(url, place)
    assert connections == []
    assert not place.parent.exists()


def test_https(serve, place, monkeypatch):
    """A certificate that nobody vouches for is refused; with it in SSL_CERT_FILE, all goes as over http."""
    site = serve(ranged(DATA, cut=5000), ranged(DATA), tls=True)
    with refused(place, "the server's certificate is not valid .*set SSL_CERT_FILE"):
        get(site.url(), place)
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    assert get(site.url(), place) == WHOLE
    assert place.read_bytes() == DATA
    assert site.requests[1].range == ("bytes=5000-", '"v1"')


def test_more_bytes_than_announced_over_https(serve, place, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    site = serve(plain(200, DATA, Content_Length=len(DATA) - 5), tls=True)
    with refused(place, "more came than the 299,995 bytes"):
        get(site.url(), place)


def test_no_way_from_https_to_http(serve, place, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    end = serve(ranged(DATA))
    with refused(place, "redirected from https to http://127.0.0.1.*which is refused"):
        get(serve(plain(302, Location=end.url()), tls=True).url(), place)
    assert end.requests == []


@pytest.mark.parametrize("scheme", ["http://", "https://", ""])
def test_a_proxy(serve, place, monkeypatch, connections, scheme):
    """https goes through the environment's proxy as a tunnel; its password is for the proxy alone."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    site = serve(ranged(DATA), tls=True)
    proxy = serve(tunnel(site.port))
    monkeypatch.setenv("https_proxy", f"{scheme}me:hunter2@127.0.0.1:{proxy.port}")
    assert get("https://files.example/net.bin", place) == WHOLE
    (asked,), (request,) = proxy.requests, site.requests
    assert (asked.method, asked.path) == ("CONNECT", "files.example:443")
    assert asked.headers["Proxy-Authorization"] == "Basic bWU6aHVudGVyMg=="
    assert "Proxy-Authorization" not in request.headers
    assert set(connections) == {"127.0.0.1"}


def test_a_host_without_proxy(serve, place, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    proxy = serve(plain(500))
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("no_proxy", "files.example")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with refused(place, r"no connection \(Name or service not known\)", RunError):
        get("https://files.example/net.bin", place, tries=2)
    assert proxy.requests == []


def test_a_proxy_is_not_asked_for_this_machine(serve, place, monkeypatch):
    proxy, site = serve(plain(500)), serve(ranged(DATA))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    assert get(site.url(), place) == WHOLE
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("http://me:hunter2@127.0.0.1:PORT", RunError, "no connection .*407 Proxy"),
        ("http://me:hunter2@127.0.0.1:port", InputError, "check it, and https_proxy and http_proxy"),
        ("/me:hunter2", InputError, "check it, and https_proxy and http_proxy"),
    ],
)
def test_a_proxy_that_fails(serve, place, monkeypatch, address, error, message):
    """Whatever is wrong with it, its password is not shown."""
    proxy = serve(plain(407))
    monkeypatch.setenv("https_proxy", address.replace("PORT", str(proxy.port)))
    with pytest.raises(error, match=message) as caught:
        get("https://files.example/net.bin", place, tries=2)
    assert "hunter2" not in str(caught.value)
    assert not place.exists()


def test_queries_are_not_shown(serve, place):
    site = serve(plain(404))
    with pytest.raises(InputError) as caught:
        get(site.url("/net.bin?token=hunter2"), place)
    assert "hunter2" not in str(caught.value)
    assert site.requests[0].path == "/net.bin?token=hunter2"
