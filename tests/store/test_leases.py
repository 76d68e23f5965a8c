"""Who owns a claim, over hosts and namespaces of process ids, and what keeps it alive."""

import os
import subprocess
import time

import pytest

from harness.store import leases
from harness.store.leases import Heartbeat, Owner, is_gone, is_stale, outliving, owner_in_words


def dead(name, handle):
    return False


@pytest.fixture
def ended():
    """A process of this machine that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return Owner.this()._replace(pid=process.pid, started="1")


def test_a_process_of_this_namespace_is_known_to_be_gone(ended):
    assert is_gone(str(ended), dead)
    assert not is_gone(str(Owner.this()), dead)


@pytest.mark.parametrize("other", ["pid:[1]", "boot", "host"])
def test_elsewhere_a_process_id_says_nothing(ended, monkeypatch, other):
    """In another container, after another start of the host, or on a host of another name."""
    here = leases._here().split(" ")
    here[{"host": 0, "boot": 1, "pid:[1]": 2}[other]] = other
    assert not is_gone(str(ended._replace(host=" ".join(here))), dead)
    monkeypatch.setattr(leases, "_here", lambda: " ".join(here))
    assert not is_gone(str(ended), dead)


def test_owners_of_earlier_versions_are_judged_by_their_lease(ended):
    """They name the host alone."""
    assert not is_gone(f"{ended.host.split(' ')[0]}|{ended.pid}|1", dead)


def test_a_claim_of_a_day_ago_is_stale(ended):
    elsewhere = str(ended._replace(host="elsewhere"))
    assert not is_stale({"owner": elsewhere, "expires": time.time() - 3600}, dead)
    assert is_stale({"owner": elsewhere, "expires": time.time() - 90_000}, dead)
    assert is_stale({"owner": str(ended), "expires": time.time() + 60}, dead)
    assert is_stale({"owner": outliving("batch", "1"), "expires": time.time() + 60}, dead)
    assert not is_stale({"owner": outliving("batch", "1"), "expires": 0.0}, lambda name, handle: True)


def test_owners_in_words():
    assert owner_in_words("node7 8f1c pid:[4026531836]|123|9") == "process 123 on node7"
    assert owner_in_words("node7|123|9") == "process 123 on node7"
    assert owner_in_words(outliving("slurm", "77")) == "slurm:77"


def test_an_owner_fits_its_column():
    longest = Owner.this()._replace(pid=2**22, started="9" * 12)
    assert len(str(longest)) + 64 - len(os.uname().nodename) <= 200


def test_a_heartbeat_renews_while_the_process_is_busy(monkeypatch):
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    renewed = []

    def renew():
        renewed.append(1)
        raise OSError("the store is away for a moment")

    heartbeat = Heartbeat(renew)
    deadline = time.monotonic() + 30
    while len(renewed) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    heartbeat.stop()
    assert len(renewed) >= 3
    count = len(renewed)
    time.sleep(0.05)
    assert len(renewed) == count
