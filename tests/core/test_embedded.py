"""What identifies a file: its bytes, whatever its name, size and times say."""

import os
import time

from harness.core import embedded
from harness.core.embedded import sha256_of


def written(path, content, at=10**18):
    path.write_bytes(content)
    os.utime(path, ns=(at, at))
    return path


def test_a_file_written_again_with_the_same_size_and_time_has_another_hash(tmp_path):
    first = sha256_of(written(tmp_path / "a", b"one"))
    assert sha256_of(written(tmp_path / "a", b"two")) != first
    written(tmp_path / "b", b"six").replace(tmp_path / "a")
    assert sha256_of(tmp_path / "a") not in (first, sha256_of(written(tmp_path / "c", b"two")))


def test_a_settled_file_is_hashed_once(tmp_path, monkeypatch):
    path, calls = written(tmp_path / "a", b"one"), []
    real = embedded.hashlib.file_digest
    monkeypatch.setattr(embedded.hashlib, "file_digest", lambda *of: calls.append(of) or real(*of))
    sha256_of(path), sha256_of(path)
    assert len(calls) == 2  # it was written just now, and may be again within the clock's resolution
    later = time.time_ns() + 2 * embedded.SETTLED
    monkeypatch.setattr(embedded.time, "time_ns", lambda: later)
    assert sha256_of(path) == sha256_of(path)
    assert len(calls) == 3
