"""Downloads: the only place in the program that opens a network connection.

A file arrives as NAME.part beside its place, and gets its name when it is whole: as long as it should be, and with the
hash that it should have. A cut download goes on from where it was if the server still has the same file (Range with
If-Range), else from the start. Only https, after every redirect too; plain http for this machine alone. Proxies are
taken from the environment, as everywhere (https_proxy, no_proxy).
"""

import hashlib
import http.client
import ipaddress
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from harness.errors import InputError

BLOCK = 1 << 18
LARGEST = 16 << 30
"""Bytes at most of a file whose size nobody stated."""

MAX_REDIRECTS = 5
TRIES = 4
SPARE = 64 << 20
"""Bytes that stay free on the disk."""


class Listener(Protocol):
    """Who is told how far a download is."""

    def __call__(self, done: int, total: int | None) -> None:
        """`done` of `total` bytes are there; None means that nobody stated the total."""


class Expected(NamedTuple):
    """What a file should be; None where that is not known."""

    sha256: str | None = None
    size: int | None = None


class Downloaded(NamedTuple):
    """What came."""

    sha256: str
    size: int


class _Again(Exception):
    """Something that may pass: worth another try."""


def download(
    url: str,
    destination: Path,
    expected: Expected = Expected(),  # noqa: B008 - immutable
    listener: Listener | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Downloaded:
    """Fetch a file, or go on fetching it.

    Args:
        url: https, or http on this machine; without user or password.
        destination: where it shall be; only a whole and right file ever has this name.
        expected: hash and size that it must have.
        listener: is told of progress.
        timeout: seconds without a byte after which a try is given up.
        pause: seconds before the second try; it doubles with every further one.

    Raises:
        InputError: an address that is not allowed, a file that is not there or is another one, a connection that failed
            again and again, or a full disk; what came is kept where that makes sense, and the same call goes on there.
    """
    check_address(url)
    part = destination.with_name(destination.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part):
            for attempt in range(TRIES):
                try:
                    _receive(url, part, expected, listener, timeout)
                    break
                except _Again as trouble:
                    if attempt + 1 == TRIES:
                        here = part.stat().st_size if part.exists() else 0
                        raise InputError(
                            f"{_short(url)}: {trouble} ({TRIES} tries); {here:,} bytes are kept, and the same command "
                            "goes on from there"
                        ) from None
                    time.sleep(pause * 2**attempt)
            return _finish(url, part, destination, expected)
    except OSError as error:
        raise InputError(
            f"{destination}: cannot write there ({error.strerror or error}); free space or check rights"
        ) from None


def check_address(url: str, redirected: bool = False) -> None:
    """Refuse what is not https, or http on this machine.

    Raises:
        InputError: with what is wrong.
    """
    how = "is redirected to" if redirected else "is"
    parts = urllib.parse.urlsplit(url)
    plain = parts.scheme == "http" and _is_here(parts.hostname or "")
    if parts.username or parts.password:
        raise InputError("an address with a user or password is refused; downloads need none")
    if not parts.hostname or not (parts.scheme == "https" or plain):
        raise InputError(
            f"the address {how} {_short(url)!r}; only https is fetched from (http from this machine alone)"
        )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _short(url: str) -> str:
    """An address for people, without what could be a secret."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))[:300]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, each to an address that is allowed; keeps the request's headers."""

    max_redirections = MAX_REDIRECTS
    max_repeats = 2

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            if urllib.parse.urlsplit(req.full_url).scheme == "https" != urllib.parse.urlsplit(newurl).scheme:
                raise InputError(f"the address is redirected from https to {_short(newurl)!r}; refused")
            check_address(newurl, redirected=True)
        except InputError:
            fp.close()
            raise
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None:
            following.headers.update({key: req.headers[key] for key in ("Range", "If-range") if key in req.headers})
        return following


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Opens http and https, through the environment's proxies, and nothing else: no files, no ftp."""
    opener = urllib.request.OpenerDirector()
    own = _is_here(urllib.parse.urlsplit(url).hostname or "")
    for handler in (
        urllib.request.ProxyHandler({} if own else None),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


class _Answer(NamedTuple):
    """What a server says it will send: from which byte of the file on, and how long the file is."""

    start: int
    total: int | None
    mark: str | None


def _receive(url: str, part: Path, expected: Expected, listener: Listener | None, timeout: float) -> None:
    """Append what is missing to the part; _Again if the connection breaks."""
    here, mark = _kept(url, part)
    if expected.size is not None and here == expected.size:
        return
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "diffusion-harness"})
    if here and mark:
        request.add_header("Range", f"bytes={here}-")
        request.add_header("If-Range", mark)
    try:
        with _opener(url).open(request, timeout=timeout) as response:
            answer = _read_answer(url, response, here, expected)
            _check_space(part, answer, here)
            _write_note(url, part, answer)
            _copy(response, part, answer, expected, listener)
    except urllib.error.HTTPError as error:
        code, reason = error.code, error.reason
        whole = error.headers.get("Content-Range") == f"bytes */{here}"
        error.close()
        if code == 416 and whole:  # nothing is missing: the last try ended just before the file got its name
            return
        if code == 416:
            _forget(part)
            raise _Again("the server has a shorter file than was begun") from None
        if code >= 500 or code in (408, 429):
            raise _Again(f"the server answers {code} ({reason})") from None
        raise InputError(
            f"{_short(url)}: the server answers {code} ({reason}); check the address, or fetch it later"
        ) from None
    except (TimeoutError, urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
        cause = getattr(error, "reason", None) or error
        raise _Again(f"the connection failed ({str(cause) or type(cause).__name__})") from None


def _read_answer(url: str, response: Any, here: int, expected: Expected) -> _Answer:
    """Check what the server promises."""
    if (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise InputError(f"{_short(url)}: the server sends the file in coding {coding[:20]!r}, which was not asked for")
    length = response.headers.get("Content-Length")
    sent = int(length) if length is not None and length.isdigit() else None
    mark = response.headers.get("ETag") or response.headers.get("Last-Modified")
    mark = None if mark is not None and mark.startswith("W/") else mark
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != here:
            raise InputError(f"{_short(url)}: the server sends another part of the file than was asked for; try later")
        answer = _Answer(here, int(found[3]), mark)
    else:
        answer = _Answer(0, sent, mark)
    if expected.size is not None and answer.total not in (None, expected.size):
        raise InputError(
            f"{_short(url)}: the file should have {expected.size:,} bytes, and the server has {answer.total:,}; "
            "it is not the file that the card describes"
        )
    if (answer.total or 0) > LARGEST:
        raise InputError(f"{_short(url)}: the server announces {answer.total:,} bytes; at most {LARGEST:,} are fetched")
    return answer


def _copy(response: Any, part: Path, answer: _Answer, expected: Expected, listener: Listener | None) -> None:
    total = answer.total if answer.total is not None else expected.size
    limit = total if total is not None else LARGEST
    done = answer.start
    with part.open("ab" if answer.start else "wb") as file:
        if listener:
            listener(done, total)
        while block := response.read1(min(BLOCK, limit - done + 1)):
            if done + len(block) > limit:
                file.close()
                _forget(part)
                raise InputError(f"the server sends more than the {limit:,} bytes that the file should have; refused")
            file.write(block)
            done += len(block)
            if listener:
                listener(done, total)
    if total is not None and done < total:
        raise _Again(f"the connection ended after {done:,} of {total:,} bytes")


def _finish(url: str, part: Path, destination: Path, expected: Expected) -> Downloaded:
    """Give the part its name, if it is what it should be."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        os.fsync(file.fileno())
    for what, found, wanted in (("SHA-256", digest, expected.sha256), ("bytes", size, expected.size)):
        if wanted is not None and found != wanted:
            _forget(part)
            raise InputError(
                f"{_short(url)}: {what} should be {wanted}, and what came has {found}; it was thrown away. It is not "
                "the file that was expected: do not use it from elsewhere either"
            )
    part.replace(destination)
    _note(part).unlink(missing_ok=True)
    return Downloaded(digest, size)


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _kept(url: str, part: Path) -> tuple[int, str | None]:
    """How many bytes of which version of the file are there from an earlier try."""
    try:
        note = json.loads(_note(part).read_text("utf-8"))
        if note["url"] == url and isinstance(note["mark"], str):
            return part.stat().st_size, note["mark"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _forget(part)
    return 0, None


def _write_note(url: str, part: Path, answer: _Answer) -> None:
    if answer.start == 0:
        part.unlink(missing_ok=True)
    _note(part).write_text(json.dumps({"url": url, "mark": answer.mark}), "utf-8")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _check_space(part: Path, answer: _Answer, here: int) -> None:
    if answer.total is None:
        return
    needed, free = answer.total - answer.start, shutil.disk_usage(part.parent).free
    if needed + SPARE > free:
        raise InputError(
            f"{part.parent}: {needed:,} bytes are to come, and {free:,} are free; free some, or choose another place "
            "with HARNESS_CACHE"
        )


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """One process at a time fetches a file."""
    with part.with_name(f".{part.name}.lock").open("a+b") as file:  # stays: whoever deletes it may delete another's
        if not _take(file):
            raise InputError(f"{part}: another process is fetching this file; wait for it")
        yield


def _take(file: IO[bytes]) -> bool:
    """Lock an open file, or say that somebody else has it. The system lets go when a process ends."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
