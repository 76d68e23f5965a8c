"""Fixtures of the tests that download: servers that are closed again, and a watch over every connection."""

import socket

import pytest

from tests.hub.server import Site


@pytest.fixture
def serve():
    """Starts a server with a script of answers."""
    sites = []

    def start(*script, tls=False):
        sites.append(Site(*script, tls=tls))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


@pytest.fixture
def connections(monkeypatch):
    """The hosts that were connected to; only this machine may be. The environment names no proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    hosts, connect = [], socket.socket.connect

    def watched(self, address):
        hosts.append(address[0])
        assert address[0] == "127.0.0.1", f"a test connects to {address[0]}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    return hosts


@pytest.fixture
def place(tmp_path):
    """Where a download shall be, in a folder that is not there yet."""
    return tmp_path / "cache" / "net.bin"
