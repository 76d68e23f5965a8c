"""What a server's answer says of the file, and what of that cannot be.

An answer is 200 with the whole file, or 206 with the rest that was asked for. Its length stands in Content-Length, but
for a body in chunks, which says itself where it ends; the length of the whole file, in a 206, in Content-Range.
"""

import re
from email.message import Message
from typing import NamedTuple

from harness.core.errors import InputError
from harness.core.text import brief
from harness.hub.addresses import shown
from harness.hub.partial import Origin

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Answer(NamedTuple):
    """An answer without its body.

    Attributes:
        url: what was asked for.
        status: 200, 206, ...
        headers: names are compared without case.
        chunked: whether the body comes in chunks.
    """

    url: str
    status: int
    headers: Message
    chunked: bool

    @property
    def length(self) -> int | None:
        """Bytes of the body; None if they are not stated.

        Raises:
            InputError: what is stated is no number.
        """
        text = self.headers.get("Content-Length")
        if text is None or self.chunked:
            return None
        if not re.fullmatch("[0-9]{1,18}", text):
            raise InputError(
                f"{shown(self.url)}: a length is a number, and the server says '{brief(text)}'; use another server"
            )
        return int(text)

    @property
    def validator(self) -> str | None:
        """What tells this version of the file from others: a strong ETag, else the date of its last change."""
        tag = self.headers.get("ETag")
        return tag if tag and not tag.startswith("W/") else self.headers.get("Last-Modified")

    def total_after(self, start: int, origin: Origin) -> int | None:
        """Bytes of the whole file, if this is its rest from byte `start` on; None if it is anything else.

        Raises:
            InputError: as `length`.
        """
        found = _RANGE.fullmatch(self.headers.get("Content-Range", ""))
        if self.status != 206 or found is None:
            return None
        first, last, stated = found.groups()
        total = origin.total if stated == "*" else int(stated)
        if total is None or (int(first), int(last)) != (start, total - 1):
            return None
        versions = {self.headers.get("ETag"), self.headers.get("Last-Modified")} - {None}
        same = not versions or origin.validator in versions
        return total if same and origin.total in (None, total) and self.length in (None, total - start) else None

    def check(self, size: int | None, sha256: str | None, total: int | None) -> None:
        """Refuse, before the first byte, what cannot be right.

        Args:
            size, sha256: what the file should have; None where not known.
            total: its bytes, as the server says.

        Raises:
            InputError: another size, an encoding, or an end that could not be told from a cut.
        """
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise InputError(
                f"{shown(self.url)}: the server sends the file encoded as '{brief(encoding)}', though it was asked "
                "for the file itself; use another server"
            )
        if size is not None and total is not None and total != size:
            raise InputError(wrong_size(self.url, total, size))
        if total is None and size is None and sha256 is None and not self.chunked:
            raise InputError(
                f"{shown(self.url)}: the server does not say how long the file is, so that a cut file could not be "
                "told from a whole one; its size or SHA-256 has to be known"
            )


def wrong_size(url: str, found: int, size: int) -> str:
    """The message about a file that has another size than it should have."""
    return (
        f"{shown(url)}: the file has {found:,} bytes, and it should have {size:,}; it was replaced at its source, or "
        "the address is wrong"
    )
