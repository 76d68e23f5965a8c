"""A web server on this machine that answers as a script says, one answer a request; the last one is repeated."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

CERTIFICATE = Path(__file__).with_name("loopback.pem")


class Request(NamedTuple):
    """What a client asked for."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def range(self):
        return self.headers.get("Range"), self.headers.get("If-Range")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        site = self.server.site
        with site.lock:
            site.requests.append(
                Request(self.command, self.path, {name.title(): text for name, text in self.headers.items()})
            )
            answer = site.script.pop(0) if len(site.script) > 1 else site.script[0]
        with contextlib.suppress(ConnectionError):  # a client may go away
            answer(self)
        self.close_connection = True

    do_CONNECT = do_GET

    def log_message(self, *_):
        pass


Answer = Callable[[Handler], None]


class Site:
    """A running server: `requests` it got, `url(path)`, and `stop`, which is set when the test ends."""

    def __init__(self, *script: Answer, tls: bool = False) -> None:
        self.script, self.requests = list(script), []
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.site = self
        self.scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None  # a handshake that a client breaks off
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def url(self, path: str = "/net.bin") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()


def send(handler: Handler, status: int, body: bytes = b"", **headers: object) -> None:
    """An answer with these headers (underscores stand for hyphens) and this body, whatever the headers say of it."""
    handler.send_response(status)
    for name, value in {"Content_Length": len(body), **headers}.items():
        if value is not None:
            handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()


def plain(status: int, body: bytes = b"", **headers: object) -> Answer:
    """The same answer to everybody."""
    return lambda handler: send(handler, status, body, **headers)


def ranged(data: bytes, etag: str | None = '"v1"', cut: int | None = None, **headers: object) -> Answer:
    """A server that knows ranges: the rest, if it is asked for and the version is still this one; else everything.

    Args:
        cut: close the connection after so many bytes of the body.
    """

    def answer(handler: Handler) -> None:
        start = 0
        asked, version = handler.headers.get("Range"), handler.headers.get("If-Range")
        if asked and version in (None, etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = data[start:]
        extra = {"ETag": etag, "Content_Length": len(body), **headers}
        if start:
            extra = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}", **extra}
        send(handler, 206 if start else 200, body if cut is None else body[:cut], **extra)

    return answer


def chunked(data: bytes, whole: bool = True, size: int = 1000, **headers: object) -> Answer:
    """The body in chunks; without the last, empty one unless `whole`."""

    def answer(handler: Handler) -> None:
        send(handler, 200, **{"Content_Length": None, "Transfer_Encoding": "chunked", **headers})
        for start in range(0, len(data), size):
            block = data[start : start + size]
            handler.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
        if whole:
            handler.wfile.write(b"0\r\n\r\n")

    return answer


def stalls(data: bytes, after: int, **headers: object) -> Answer:
    """Sends some bytes, then nothing more, and keeps the connection."""

    def answer(handler: Handler) -> None:
        send(handler, 200, data[:after], Content_Length=len(data), **headers)
        handler.server.site.stop.wait(5)

    return answer


def tunnel(port: int) -> Answer:
    """What a proxy does with CONNECT, except that it always leads to the same port of this machine."""

    def answer(handler: Handler) -> None:
        with socket.socket() as far:
            far.connect(("127.0.0.1", port))
            handler.send_response(200)
            handler.end_headers()
            ends = {handler.connection: far, far: handler.connection}
            while True:
                for end in select.select(list(ends), [], [], 2)[0]:
                    if not (data := end.recv(65536)):
                        return
                    ends[end].sendall(data)

    return answer
