"""A small HTTP server whose every answer is scripted, on this machine alone."""

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """Answers requests by `answer(handler, headers)`, path by path, and keeps what was asked.

    Attributes:
        url: of the server, without a path.
        asked: path and headers of every request.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, Callable[[Any, dict[str, str]], None]] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = dict(self.headers.items())
                server.asked.append((self.path, headers))
                server.answers[self.path](self, headers)

            def do_CONNECT(self) -> None:
                server.asked.append((f"CONNECT {self.path}", dict(self.headers.items())))
                self.send_error(502)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # clients that hang up are part of the play
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def serve(self, path: str, answer: Callable[[Any, dict[str, str]], None]) -> str:
        """Answer requests for a path; returns its address."""
        self.answers[path] = answer
        return self.url + path


@contextmanager
def running():
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def send(handler, body, status=200, length=None, **headers):
    """A whole answer; `length` is what Content-Length says."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def cut(handler):
    """End the connection here."""
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.close()


def ranged(content, etag='"one"', cut_after=None):
    """A server that knows ranges; its first answer breaks off after `cut_after` bytes."""
    state = {"cut": cut_after}

    def answer(handler, headers):
        start, status, more = 0, 200, {}
        wanted = headers.get("Range")
        if wanted and headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                send(handler, b"", 416, Content_Range=f"bytes */{len(content)}")
                return
            status, more = 206, {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        body = content[start:]
        if state["cut"] is not None:
            broken, state["cut"] = body[: state["cut"]], None
            send(handler, broken, status, length=len(body), ETag=etag, **more)
            cut(handler)
            return
        send(handler, body, status, ETag=etag, **more)

    return answer


def slow(seconds):
    """Sends a little, then nothing."""

    def answer(handler, headers):
        send(handler, b"abc", length=1000, ETag='"slow"')
        time.sleep(seconds)
        cut(handler)

    return answer
