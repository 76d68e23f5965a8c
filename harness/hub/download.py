"""Downloads: the only place in the program that opens a network connection, but for a database given as the store.

A file arrives as NAME.part beside its place and gets its name when it is whole: as long and with the hash that it
should have. A cut download goes on from where it was if the server still has the same version of the file (Range with
If-Range, RFC 9110, sections 13.1.5 and 14), else it starts over. Only https, also after redirects; see
`addresses`. Proxies are those of the environment (https_proxy, no_proxy), but for this machine itself, which
is asked directly.
"""

import contextlib
import http
import http.client
import selectors
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from harness import __version__
from harness.core.errors import InputError, RunError
from harness.core.text import brief
from harness.hub.addresses import check_address, is_loopback, redirected, shown
from harness.hub.answers import Answer, wrong_size
from harness.hub.locks import locked
from harness.hub.partial import BLOCK, Partial

LARGEST = 8 << 30
"""Bytes at most of a file whose size nobody states."""

SPARE = 64 << 20
"""Bytes that stay free on the disk."""

MAX_REDIRECTS = 5
PROGRESS = 1 << 20
"""Bytes after which a cut connection counts as the first one again."""

_REDIRECTS = {301, 302, 303, 307, 308}
_MAY_PASS = {408, 425, 429}


class Listener(Protocol):
    """Who is told how a download goes."""

    def started(self, name: str, done: int, total: int | None) -> None:
        """Bytes will come after the first `done` of `total`; None if nobody states the total."""

    def received(self, count: int) -> None:
        """So many bytes more are there."""

    def waiting(self, reason: str, seconds: float) -> None:
        """Something went wrong that may pass; the next try is in so many seconds."""


class Downloaded(NamedTuple):
    """What came."""

    sha256: str
    size: int


class _MayPass(Exception):
    """What went wrong may be right at the next try."""


class _Job(NamedTuple):
    """What is to be downloaded. See `download`."""

    url: str
    part: Partial
    sha256: str | None
    size: int | None
    listener: Listener | None
    timeout: float
    limit: int


def download(
    url: str,
    destination: Path,
    sha256: str | None = None,
    size: int | None = None,
    listener: Listener | None = None,
    timeout: float = 30.0,
    tries: int = 4,
    pause: float = 1.0,
    limit: int = LARGEST,
    accept: Callable[[Downloaded], object] | None = None,
) -> Downloaded:
    """Download a file, or go on downloading it.

    Args:
        url: https, or http on this machine; without user and password.
        destination: where it shall be. Only the whole, right file ever has this name.
        sha256: that it must have, in hex; None if not known.
        size: bytes that it must have; None if not known.
        listener: is told how it goes.
        timeout: seconds without a byte after which a connection is given up.
        tries: connections in a row without much progress, after which the download is given up.
        pause: seconds before the second try; they double with each further one.
        limit: bytes at most, where neither `size` nor the server says how many there are.
        accept: is shown the whole file's hash before it gets its name; what it raises refuses the file.

    Raises:
        InputError: an address that is not allowed, a file that is not there, or another file than it should be.
        RunError: no connection, no space, or another process downloads the same file. What came is kept.
    """
    check_address(url)
    part = Partial(destination)
    job = _Job(url, part, sha256, size, listener, timeout, limit)
    lock = destination.with_name(destination.name + ".lock")
    busy = f"{destination}: another process is downloading this file now; run the same command when it has ended"
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock, busy):
            found = Downloaded(_receive(job, tries, pause), part.length)
            try:
                _compare(job, found)
                if accept is not None:
                    accept(found)
            except InputError:
                part.discard()
                raise
            part.finish()
            return found
    except OSError as error:
        raise RunError(
            f"{destination}: cannot be written ({error.strerror or error}); {_kept(job)}. Make space or check the "
            "folder's rights"
        ) from None


def _compare(job: _Job, found: Downloaded) -> None:
    """Refuse another file than the one that was asked for.

    Raises:
        InputError: with both sizes or hashes.
    """
    if job.size is not None and job.size != found.size:
        raise InputError(wrong_size(job.url, found.size, job.size))
    if job.sha256 not in (None, found.sha256):
        raise InputError(
            f"{shown(job.url)}: SHA-256 of what came is {found.sha256}, and it should be {job.sha256}; it was deleted. "
            "Try again; if the hash stays, the file was replaced at its source and is not the one that is meant"
        )


def _receive(job: _Job, tries: int, pause: float) -> str:
    """Try until all bytes are there.

    Returns:
        Their SHA-256.

    Raises:
        InputError: no use to try again.
        RunError: tried often enough.
    """
    failed, farthest = 0, job.part.length
    while True:
        try:
            return _try(job)
        except _MayPass as trouble:
            reason = str(trouble)
        if job.part.length >= farthest + PROGRESS:
            failed, farthest = 0, job.part.length
        failed += 1
        if failed >= tries:
            raise RunError(f"{shown(job.url)}: {reason} (tried {tries} times); {_kept(job)}")
        seconds = pause * 2 ** (failed - 1)
        if job.listener is not None:
            job.listener.waiting(reason, seconds)
        time.sleep(seconds)


def _kept(job: _Job) -> str:
    """What a download that was given up leaves, in words."""
    if job.part.origin(job.url) and job.part.length:
        return f"{job.part.length:,} bytes are kept, and the same command goes on from there"
    return "the same command starts it again"


def _try(job: _Job) -> str:
    """Ask for what is missing, once, and append what comes.

    Raises:
        _MayPass: the connection or the server failed.
        InputError: no use to try again.
    """
    origin = job.part.origin(job.url)
    start = job.part.length if origin else 0
    if origin and start and start == origin.total:
        return job.part.digest().hexdigest()
    headers = {"User-Agent": f"diffusion-harness/{__version__}", "Accept-Encoding": "identity"}
    if origin and start:
        headers |= {"Range": f"bytes={start}-", "If-Range": origin.validator}
    with _ask(job.url, headers, job.timeout) as response:
        answer = Answer(job.url, response.status, response.headers, response.chunked)
        if origin and start and response.status in (206, 416):
            total = answer.total_after(start, origin)
            if total is None:
                job.part.discard()
                raise _MayPass(f"the server does not go on from byte {start:,}")
        elif response.status == 200:
            start, total = 0, answer.length
        else:
            raise _refusal(answer)
        answer.check(job.size, job.sha256, total)
        if job.size is None and (total or 0) > job.limit:
            raise InputError(
                f"{shown(job.url)}: the server announces {total:,} bytes, and of a file of unknown size {job.limit:,} "
                "are allowed; it is not the file that is meant"
            )
        announced = job.size if total is None else total
        _check_space(job.part.path.parent, (announced or 0) - start)
        if not start:
            job.part.begin(job.url, answer.validator, total)
        return _append(job, response, announced)


@contextlib.contextmanager
def _network(url: str, timeout: float) -> Iterator[None]:
    """Tell what may pass from what will not, in words without secrets.

    Raises:
        _MayPass: the network's fault.
        InputError: the address, a proxy's address, or a certificate is wrong.
    """
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise InputError(
                f"{shown(url)}: the server's certificate is not valid ({cause.verify_message}); check the clock, and, "
                "behind a proxy with a certificate of its own, set SSL_CERT_FILE"
            ) from None
        if isinstance(cause, TimeoutError):
            raise _MayPass(f"nothing came for {timeout:g} s") from None
        if isinstance(cause, ConnectionResetError | http.client.IncompleteRead):  # also RemoteDisconnected
            raise _MayPass("the connection was cut") from None
        if isinstance(cause, http.client.InvalidURL | ValueError):
            raise InputError(
                f"{shown(url)}: the address cannot be used; check it, and https_proxy and http_proxy in the environment"
            ) from None
        words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise _MayPass(f"no connection ({brief(words)})") from None


def _ask(url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    """The answer after a few redirects, each to an address that is allowed."""
    at = url
    for _ in range(MAX_REDIRECTS + 1):
        with _network(at, timeout):
            response = _opener(at).open(urllib.request.Request(at, headers=headers), timeout=timeout)
        if response is None:
            raise InputError(f"{shown(at)}: the environment names a proxy of an unknown kind; use one over http")
        if response.status not in _REDIRECTS:
            return response
        with response:
            at = redirected(at, response.headers.get("Location"))
    raise InputError(
        f"{shown(url)}: redirected more than {MAX_REDIRECTS} times, at last to {shown(at)}; check the address"
    )


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Opens http and https and nothing else; hands over every answer as it is, errors and redirects too."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler({} if is_loopback(url) else None))
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
    return opener


def _refusal(answer: Answer) -> Exception:
    """The error that an answer without the file is."""
    known = {code.value: code.phrase for code in http.HTTPStatus}
    text = f"the server answered {answer.status} {known.get(answer.status, '')}".strip()
    if answer.status >= 500 or answer.status in _MAY_PASS:
        return _MayPass(text)
    return InputError(f"{shown(answer.url)}: {text}; check the address, and that it needs no password")


def _check_space(folder: Path, missing: int) -> None:
    """Refuse what has no room.

    Raises:
        RunError: with what is needed and what there is.
    """
    free = shutil.disk_usage(folder).free
    if missing + SPARE > free:
        raise RunError(
            f"{folder}: {missing:,} bytes are to come, and {free:,} are free there; make space, or choose a folder on "
            "another disk"
        )


def _append(job: _Job, response: http.client.HTTPResponse, announced: int | None) -> str:
    """Write what comes behind what is there; never more than was announced.

    Returns:
        SHA-256 of all bytes.

    Raises:
        _MayPass: less came.
        InputError: more came.
    """
    most = job.limit if announced is None else announced
    done, digest = job.part.length, job.part.digest()
    if not response.chunked:
        response.length = None  # http.client would hide bytes after the announced ones, and a cut before
    if job.listener is not None:
        job.listener.started(job.part.destination.name, done, announced)
    with job.part.path.open("ab") as file:
        while done < most and (block := _read(job, response, min(BLOCK, most - done + 1))):
            done += len(block)
            if done > most:
                break
            file.write(block)
            digest.update(block)
            if job.listener is not None:
                job.listener.received(len(block))
    if done > most or (done == most and _more(response, job.timeout)):
        job.part.discard()
        rule = "are allowed where no size is known" if announced is None else "the file should have"
        raise InputError(
            f"{shown(job.url)}: more came than the {most:,} bytes that {rule}; it was deleted. The server is broken, "
            "or the file was replaced at its source"
        )
    if announced is not None and done < announced:
        raise _MayPass(f"the connection was cut after {done:,} of {announced:,} bytes")
    return digest.hexdigest()


def _read(job: _Job, response: http.client.HTTPResponse, count: int) -> bytes:
    """What is there now, `count` bytes at most; nothing at the end."""
    with _network(job.url, job.timeout):
        return response.read1(count)


def _more(response: http.client.HTTPResponse, timeout: float) -> bool:
    """Whether another byte follows. A server that leaves the connection open, silent, is done too."""
    try:
        if not response.chunked:
            with selectors.DefaultSelector() as ready:
                ready.register(response.fileno(), selectors.EVENT_READ)
                if not ready.select(min(timeout, 1.0)):
                    return False
        return bool(response.read1(1))
    except (OSError, ValueError, http.client.HTTPException):
        return False
