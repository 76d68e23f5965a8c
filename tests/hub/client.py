"""What the tests of downloads share: the file, how it is asked for, and what is left when that fails."""

import hashlib
import os
from contextlib import contextmanager

import pytest

from harness.core.errors import InputError
from harness.hub.cache import locked
from harness.hub.download import Downloaded, download

DATA = os.urandom(300_000)
OTHER = os.urandom(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
WHOLE = Downloaded(SHA256, len(DATA))


class Log:
    """A listener that remembers."""

    def __init__(self):
        self.starts, self.count, self.waits = [], 0, []

    def started(self, name, done, total):
        self.starts.append((name, done, total))

    def received(self, count):
        self.count += count

    def waiting(self, reason, seconds):
        self.waits.append((reason, seconds))


def get(url, place, **options):
    return download(url, place, **{"pause": 0.0, "timeout": 2.0, **options})


def left(place):
    """What is in the folder, but for the file itself and its lock."""
    return sorted(path.name for path in place.parent.iterdir() if path not in (place, lock_of(place)))


def lock_of(place):
    return place.with_name(f".{place.name}.lock")


@contextmanager
def refused(place, match, error=InputError, kept=None):
    """The download fails with this message, and leaves nothing under the final name, and holds no lock."""
    with pytest.raises(error, match=match):
        yield
    assert not place.exists()
    if place.parent.exists():
        with locked(place, "busy"):
            pass
    names = left(place) if place.parent.exists() else []
    assert names == ([] if kept is None else ["net.bin.part", "net.bin.part.json"])
    if kept is not None:
        assert place.with_name("net.bin.part").read_bytes() == DATA[:kept]
