"""Downloads over HTTPS: the only module that opens a network connection, apart from a database given as the store.

A download is written to NAME.part and gets its name when size and hash are right. A broken download resumes where it
stopped if the server still has the same version of the file (Range with If-Range, RFC 9110, sections 13.1.5 and 14);
otherwise it starts over. Redirects must lead to https again; see `addresses`. Certificates are those of the system, or
of SSL_CERT_FILE. Proxies come from the environment (https_proxy, no_proxy); this machine itself is asked directly.

The HTTP client is urllib3: it adds nothing that a download would have to switch off again (credentials of .netrc,
cookies, certificates of its own, decoding), and it has no dependencies.
"""

import contextlib
import http
import http.client
import re
import selectors
import shutil
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import urllib3
from urllib3.exceptions import HTTPError, IncompleteRead

from harness import __version__
from harness.core.errors import InputError, RunError
from harness.core.text import brief
from harness.hub.addresses import check_address, is_loopback, redirected, shown
from harness.hub.cache import locked
from harness.hub.partial import BLOCK, Origin, PartialFile

LARGEST = 8 << 30
"""Bytes allowed for a file of unknown size."""

SPARE = 64 << 20
"""Bytes that stay free on the disk."""

MAX_REDIRECTS = 5
PROGRESS = 1 << 20
"""Bytes after which the count of failed connections starts again."""

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_REDIRECTS = {301, 302, 303, 307, 308}
_TRY_AGAIN = {408, 425, 429}


class DownloadListener(Protocol):
    """Receives the progress of a download."""

    def started(self, name: str, done: int, total: int | None) -> None:
        """A connection delivers the file from byte `done` on; `total` is None if the size is unknown."""

    def received(self, count: int) -> None:
        """`count` more bytes have arrived."""

    def waiting(self, reason: str, seconds: float) -> None:
        """A connection failed; the next one follows in `seconds`."""


class Downloaded(NamedTuple):
    """Hash and size of a downloaded file."""

    sha256: str
    size: int


class _Transient(Exception):
    """A failure that the next connection may not have."""


def download(
    url: str,
    destination: Path,
    sha256: str | None = None,
    size: int | None = None,
    listener: DownloadListener | None = None,
    timeout: float = 30.0,
    tries: int = 4,
    pause: float = 1.0,
    limit: int = LARGEST,
    accept: Callable[[Downloaded], object] | None = None,
) -> Downloaded:
    """Download a file, or resume its download.

    Args:
        url: https, or http on this machine; without user and password.
        destination: where the file goes. Only the whole, correct file ever has this name.
        sha256: expected hash, in hex; None if unknown.
        size: expected size in bytes; None if unknown.
        listener: receives the progress.
        timeout: seconds without a byte after which a connection is given up.
        tries: connections in a row with less than `PROGRESS` bytes, after which the download is given up.
        pause: seconds before the second connection; doubled for each further one.
        limit: bytes allowed if neither `size` nor the server states a size.
        accept: called with the result before the file gets its name; an InputError it raises refuses the file.

    Raises:
        InputError: the address is refused, there is no file, or the file is not the expected one.
        RunError: no connection, no space, or another process is downloading this file. Received bytes are kept.
    """
    check_address(url)
    job = _Download(url, PartialFile(destination), sha256, size, listener, timeout, limit)
    busy = f"{destination}: another process is downloading this file now; run the same command when it has ended"
    try:
        with locked(destination, busy):
            downloaded = Downloaded(job.receive(tries, pause), job.part.length)
            try:
                job.compare(downloaded)
                if accept is not None:
                    accept(downloaded)
            except InputError:
                job.part.discard()
                raise
            job.part.finish()
            return downloaded
    except OSError as error:
        raise RunError(
            f"{destination}: cannot be written ({error.strerror or error}); {job.kept()}. Make space or check the "
            "folder's rights"
        ) from None


@dataclass(frozen=True)
class _Download:
    """One download; the arguments are those of `download`."""

    url: str
    part: PartialFile
    sha256: str | None
    size: int | None
    listener: DownloadListener | None
    timeout: float
    limit: int

    def receive(self, tries: int, pause: float) -> str:
        """Connect until all bytes are here; returns their SHA-256.

        Raises:
            InputError: another connection would not help.
            RunError: the last of `tries` connections failed.
        """
        failed, farthest = 0, self.part.length
        while True:
            try:
                return self._connect_once()
            except _Transient as trouble:
                reason = str(trouble)
            if self.part.length >= farthest + PROGRESS:
                failed, farthest = 0, self.part.length
            failed += 1
            if failed >= tries:
                raise RunError(f"{shown(self.url)}: {reason} (tried {tries} times); {self.kept()}")
            seconds = pause * 2 ** (failed - 1)
            if self.listener is not None:
                self.listener.waiting(reason, seconds)
            time.sleep(seconds)

    def compare(self, downloaded: Downloaded) -> None:
        """Raises InputError if size or hash differ from the expected ones."""
        if self.size is not None and self.size != downloaded.size:
            raise InputError(self._wrong_size(downloaded.size))
        if self.sha256 not in (None, downloaded.sha256):
            raise InputError(
                f"{shown(self.url)}: SHA-256 of what came is {downloaded.sha256}, and it should be {self.sha256}; it "
                "was deleted. Try again; if the hash stays, the file was replaced at its source and is not the one "
                "that is meant"
            )

    def kept(self) -> str:
        """What an abandoned download leaves behind, in words."""
        if self.part.origin(self.url) and self.part.length:
            return f"{self.part.length:,} bytes are kept, and the same command goes on from there"
        return "the same command starts it again"

    def _connect_once(self) -> str:
        """Request the missing bytes and append what arrives; returns the SHA-256 of the whole file."""
        origin = self.part.origin(self.url)
        start = self.part.length if origin else 0
        if origin and start and start == origin.total:
            return self.part.digest().hexdigest()
        headers = {"User-Agent": f"diffusion-harness/{__version__}", "Accept-Encoding": "identity"}
        if origin and start:
            headers |= {"Range": f"bytes={start}-", "If-Range": origin.validator}
        with contextlib.closing(self._request(headers)) as response:
            if origin and start and response.status in (206, 416):
                total = self._total_of_rest(response, start, origin)
                if total is None:
                    self.part.discard()
                    raise _Transient(f"the server does not go on from byte {start:,}")
            elif response.status == 200:
                start, total = 0, self._length(response)
            else:
                raise self._refusal(response.status)
            self._check(response, total)
            announced = self.size if total is None else total
            self._check_space((announced or 0) - start)
            if not start:
                self.part.begin(self.url, _validator(response), total)
            return self._append(response, announced)

    def _request(self, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer after at most `MAX_REDIRECTS` redirects, each to an allowed address."""
        at = self.url
        for _ in range(MAX_REDIRECTS + 1):
            with self._explained(at):
                response = _open(at, headers, self.timeout)
            if response.status not in _REDIRECTS:
                return response
            response.close()
            at = redirected(at, response.headers.get("Location"))
        raise InputError(
            f"{shown(self.url)}: redirected more than {MAX_REDIRECTS} times, at last to {shown(at)}; check the address"
        )

    @contextlib.contextmanager
    def _explained(self, url: str) -> Iterator[None]:
        """Turn the client's errors into `_Transient` or InputError, in words without secrets."""
        try:
            yield
        except (HTTPError, OSError, http.client.HTTPException, ValueError) as error:
            cause = _root_cause(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise InputError(
                    f"{shown(url)}: the server's certificate is not valid ({cause.verify_message}); check the clock, "
                    "and, behind a proxy with a certificate of its own, set SSL_CERT_FILE"
                ) from None
            if isinstance(cause, TimeoutError):
                raise _Transient(f"nothing came for {self.timeout:g} s") from None
            if isinstance(cause, ConnectionResetError | http.client.IncompleteRead | IncompleteRead):
                raise _Transient("the connection was cut") from None  # RemoteDisconnected is a ConnectionResetError
            if isinstance(cause, http.client.InvalidURL | ValueError):
                raise InputError(
                    f"{shown(url)}: the address cannot be used; check it, and https_proxy and http_proxy in the "
                    "environment"
                ) from None
            words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            raise _Transient(f"no connection ({brief(words)})") from None

    def _length(self, response: urllib3.BaseHTTPResponse) -> int | None:
        """Bytes of the body as Content-Length states them; None if unknown or if the body comes in chunks.

        Raises:
            InputError: it is not a number.
        """
        text = response.headers.get("Content-Length")
        if text is None or response.chunked:
            return None
        if not re.fullmatch("[0-9]{1,18}", text):
            raise InputError(
                f"{shown(self.url)}: a length is a number, and the server says '{brief(text)}'; use another server"
            )
        return int(text)

    def _total_of_rest(self, response: urllib3.BaseHTTPResponse, start: int, origin: Origin) -> int | None:
        """Bytes of the whole file if the answer is its rest from byte `start` on, in the same version; else None."""
        span = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or span is None:
            return None
        first, last, stated = span.groups()
        total = origin.total if stated == "*" else int(stated)
        if total is None or (int(first), int(last)) != (start, total - 1):
            return None
        versions = {response.headers.get("ETag"), response.headers.get("Last-Modified")} - {None}
        if versions and origin.validator not in versions:
            return None
        return total if origin.total in (None, total) and self._length(response) in (None, total - start) else None

    def _check(self, response: urllib3.BaseHTTPResponse, total: int | None) -> None:
        """Refuse a file before its first byte; `total` is its size as the server states it.

        Raises:
            InputError: an encoding, another size than expected, a size above the limit, or no way to notice a cut.
        """
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise InputError(
                f"{shown(self.url)}: the server sends the file encoded as '{brief(encoding)}', though it was asked "
                "for the file itself; use another server"
            )
        if self.size is not None and total is not None and total != self.size:
            raise InputError(self._wrong_size(total))
        if total is None and self.size is None and self.sha256 is None and not response.chunked:
            raise InputError(
                f"{shown(self.url)}: the server does not say how long the file is, so that a cut file could not be "
                "told from a whole one; its size or SHA-256 has to be known"
            )
        if self.size is None and (total or 0) > self.limit:
            raise InputError(
                f"{shown(self.url)}: the server announces {total:,} bytes, and of a file of unknown size "
                f"{self.limit:,} are allowed; it is not the file that is meant"
            )

    def _wrong_size(self, size: int) -> str:
        return (
            f"{shown(self.url)}: the file has {size:,} bytes, and it should have {self.size:,}; it was replaced at "
            "its source, or the address is wrong"
        )

    def _refusal(self, status: int) -> Exception:
        """The error for an answer without the file."""
        phrases = {code.value: code.phrase for code in http.HTTPStatus}
        text = f"the server answered {status} {phrases.get(status, '')}".strip()
        if status >= 500 or status in _TRY_AGAIN:
            return _Transient(text)
        return InputError(f"{shown(self.url)}: {text}; check the address, and that it needs no password")

    def _check_space(self, missing: int) -> None:
        """Raises RunError if the disk has no room for `missing` bytes."""
        folder = self.part.path.parent
        free = shutil.disk_usage(folder).free
        if missing + SPARE > free:
            raise RunError(
                f"{folder}: {missing:,} bytes are to come, and {free:,} are free there; make space, or choose a folder "
                "on another disk"
            )

    def _append(self, response: urllib3.BaseHTTPResponse, announced: int | None) -> str:
        """Append the body to the part; returns the SHA-256 of the whole file.

        Raises:
            _Transient: fewer bytes came than announced.
            InputError: more came.
        """
        most = self.limit if announced is None else announced
        done, digest = self.part.length, self.part.digest()
        if self.listener is not None:
            self.listener.started(self.part.destination.name, done, announced)
        with self.part.path.open("ab") as file:
            # one byte more than announced is asked for, so that a longer file is noticed
            while done < most and (block := self._read(response, min(BLOCK, most - done + 1))):
                done += len(block)
                if done > most:
                    break
                file.write(block)
                digest.update(block)
                if self.listener is not None:
                    self.listener.received(len(block))
        if done > most or (done == most and self._more_follows(response)):
            self.part.discard()
            rule = "are allowed where no size is known" if announced is None else "the file should have"
            raise InputError(
                f"{shown(self.url)}: more came than the {most:,} bytes that {rule}; it was deleted. The server is "
                "broken, or the file was replaced at its source"
            )
        if announced is not None and done < announced:
            raise _Transient(f"the connection was cut after {done:,} of {announced:,} bytes")
        return digest.hexdigest()

    def _read(self, response: urllib3.BaseHTTPResponse, count: int) -> bytes:
        """The bytes that have arrived, at most `count`; empty at the end."""
        with self._explained(self.url):
            return response.read1(count)

    def _more_follows(self, response: urllib3.BaseHTTPResponse) -> bool:
        """Whether another byte follows. A server that keeps the connection open in silence has ended too."""
        try:
            if not response.chunked:
                with selectors.DefaultSelector() as ready:
                    ready.register(response.fileno(), selectors.EVENT_READ)
                    if not ready.select(min(self.timeout, 1.0)):
                        return False
            return bool(response.read1(1))
        except (HTTPError, OSError, ValueError):
            return False


class _Unframed(http.client.HTTPResponse):
    """An answer whose body is read to the end of the connection, since its stated length may be wrong."""

    def begin(self) -> None:
        super().begin()
        if not self.chunked and self.length:
            self.length = None


def _open(url: str, headers: dict[str, str], timeout: float) -> urllib3.BaseHTTPResponse:
    """The answer to one request, whatever its status, with its body still to be read."""
    proxy = None if is_loopback(url) else _proxy(url)
    context = ssl.create_default_context()
    manager = urllib3.PoolManager(ssl_context=context) if proxy is None else _through(proxy, context)
    pool = manager.connection_from_url(url)
    pool.ConnectionCls = type("_Connection", (pool.ConnectionCls,), {"response_class": _Unframed})
    target = urllib3.util.parse_url(url).request_uri
    response = pool.urlopen(
        "GET",
        target,
        headers=headers,
        timeout=timeout,
        retries=False,
        redirect=False,
        preload_content=False,
        decode_content=False,
    )
    response.length_remaining = None  # see `_Unframed`; a cut is noticed by counting
    return response


def _proxy(url: str) -> str | None:
    """The environment's proxy for an address."""
    parts = urllib.parse.urlsplit(url)
    return None if urllib.request.proxy_bypass(parts.netloc) else urllib.request.getproxies().get(parts.scheme)


def _through(proxy: str, context: ssl.SSLContext) -> urllib3.ProxyManager:
    """Connections through a proxy, which is spoken to over plain http whatever its address says.

    Raises:
        ValueError: not the address of a proxy.
    """
    parts = urllib3.util.parse_url(f"http://{proxy.partition('://')[2] or proxy}")
    if not parts.host:
        raise ValueError("a proxy without a host")
    auth = urllib.parse.unquote(parts.auth) if parts.auth else None
    headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
    return urllib3.ProxyManager(parts._replace(auth=None).url, proxy_headers=headers, ssl_context=context)


def _root_cause(error: BaseException) -> BaseException:
    """The error of the system or of http.client that urllib3 wrapped, perhaps several times."""
    inner = error.__cause__ or next((part for part in error.args if isinstance(part, BaseException)), None)
    return error if inner is None else _root_cause(inner)


def _validator(response: urllib3.BaseHTTPResponse) -> str | None:
    """The server's mark of this version of the file: a strong ETag, else the date of the last change."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
