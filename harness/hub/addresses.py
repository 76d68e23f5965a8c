"""Addresses of files to download: which ones are allowed, and how a message shows one without its secrets.

Only https is allowed, so that nobody between the server and this machine can read or change anything. Plain http is
allowed to this machine itself. A user or password in an address is refused, because it would end up in logs.
"""

import ipaddress
import re
import string
import urllib.parse

from harness.core.errors import InputError
from harness.core.text import brief

_HOST = re.compile(r"[A-Za-z0-9._-]+")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RULE = "only https is fetched, and plain http from this machine itself"


def check_address(url: str) -> None:
    """Refuse every address but https, and http on this machine.

    Raises:
        InputError: states the rule and the address without its secrets.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"{shown(url)}: an address has printable ASCII characters only; write others as %XX")
    try:
        parts = urllib.parse.urlsplit(url)
        host, has_user, _ = parts.hostname or "", "@" in parts.netloc, parts.port  # .port raises on a bad one
    except ValueError:
        raise InputError(f"{shown(url)}: not an address; it should read https://HOST/PATH") from None
    if has_user:
        raise InputError(f"{shown(url)}: an address with a user or password is refused; leave them out")
    if parts.scheme not in ("https", "http"):
        raise InputError(f"{shown(url)}: {_RULE}; use an https address")
    if not (_HOST.fullmatch(host) or _is_ip(host)):
        raise InputError(f"{shown(url)}: the address has no valid host; it should read https://HOST/PATH")
    if parts.scheme == "http" and not is_loopback(url):
        raise InputError(f"{shown(url)}: {_RULE}; use an https address")


def redirected(url: str, location: str | None) -> str:
    """The address that a redirect leads to.

    Args:
        url: the address that was requested.
        location: the `Location` header of the answer; relative to `url`, or absolute.

    Raises:
        InputError: no location, an address that `check_address` refuses, or a step from https down to http.
    """
    if not location:
        raise InputError(f"{shown(url)}: redirected without saying where to; check the address")
    try:
        quoted = urllib.parse.quote(location, safe=string.punctuation, encoding="iso-8859-1")
        target = urllib.parse.urljoin(url, quoted)
        check_address(target)
    except (InputError, ValueError) as error:
        why = error if isinstance(error, InputError) else "not an address"
        raise InputError(f"{shown(url)}: redirected, which is refused: {why}") from None
    if urllib.parse.urlsplit(url).scheme == "https" != urllib.parse.urlsplit(target).scheme:
        raise InputError(f"{shown(url)}: redirected from https to {shown(target)}, which is refused; check the address")
    return target


def is_loopback(url: str) -> bool:
    """Whether the host is this machine: localhost, 127.0.0.0/8 or ::1. Names are not looked up."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def file_name(url: str) -> str:
    """The last part of an address, if it can be a file's name on every system.

    Raises:
        InputError: it cannot.
    """
    name = urllib.parse.urlsplit(url).path.rpartition("/")[2]
    if not _FILE.fullmatch(name):
        raise InputError(f"{shown(url)}: the address should end in a file's name of letters, digits, '.', '_' and '-'")
    return name


def shown(url: str) -> str:
    """An address for messages: without user, password, query (which may be a signature) and control characters."""
    scheme, separator, rest = url.partition("://")
    before, at_sign, after = (rest if separator else url).rpartition("@")
    text = (f"{scheme}://" if separator else "") + ("…@" if at_sign or before else "") + re.split("[?#]", after)[0]
    return brief(text)
