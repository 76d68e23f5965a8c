"""Downloads from a server on this machine that cuts, lies, stalls and changes its mind."""

import hashlib
import itertools
import json
import shutil
import threading
import time

import pytest

from harness.core.errors import InputError, RunError
from harness.hub import download as module
from tests.hub.client import DATA, OTHER, SHA256, WHOLE, Log, get, left, refused
from tests.hub.server import chunked, plain, ranged, send, stalls

pytestmark = pytest.mark.usefixtures("connections")


def test_a_whole_file(serve, place):
    site, log = serve(ranged(DATA)), Log()
    assert get(site.url(), place, sha256=SHA256, size=len(DATA), listener=log) == WHOLE
    assert place.read_bytes() == DATA
    assert left(place) == []
    (request,) = site.requests
    assert request.path == "/net.bin"
    assert request.range == (None, None)
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("diffusion-harness/")
    assert (log.starts, log.count, log.waits) == ([("net.bin", 0, len(DATA))], len(DATA), [])


def test_an_empty_file_and_one_in_chunks(serve, place):
    assert get(serve(plain(200)).url(), place).size == 0
    assert place.read_bytes() == b""
    assert get(serve(chunked(DATA)).url(), place) == WHOLE
    assert place.read_bytes() == DATA


def test_a_cut_download_goes_on(serve, place):
    site, log = serve(ranged(DATA, cut=100_000), ranged(DATA)), Log()
    assert get(site.url(), place, listener=log, pause=0.01) == WHOLE
    assert place.read_bytes() == DATA
    assert left(place) == []
    assert [request.range for request in site.requests] == [(None, None), ("bytes=100000-", '"v1"')]
    assert [start[1:] for start in log.starts] == [(0, len(DATA)), (100_000, len(DATA))]
    assert log.count == len(DATA)
    assert log.waits == [("the connection was cut after 100,000 of 300,000 bytes", 0.01)]


def test_it_goes_on_in_another_run(serve, place):
    site = serve(ranged(DATA, cut=100_000))
    words = (
        r"/net\.bin: the connection was cut after 100,000 of 300,000 bytes \(tried 1 times\); 100,000 bytes are kept"
    )
    with refused(place, f"{words}, and the same command goes on from there", RunError, kept=100_000):
        get(site.url(), place, tries=1)
    site.script[:] = [ranged(DATA)]
    assert get(site.url(), place, sha256=SHA256) == WHOLE
    assert site.requests[1].range == ("bytes=100000-", '"v1"')
    assert place.read_bytes() == DATA


def test_last_modified_where_the_etag_is_weak(serve, place):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    weak = ranged(DATA, etag='W/"v1"', cut=1000, Last_Modified=date)
    site = serve(weak, ranged(DATA, etag=date, ETag='W/"v1"', Last_Modified=date))
    assert get(site.url(), place) == WHOLE
    assert site.requests[1].range == ("bytes=1000-", date)


def test_without_a_validator_it_starts_over(serve, place):
    site = serve(ranged(DATA, etag=None, cut=1000))
    with pytest.raises(RunError, match=r"after 1,000 of 300,000 bytes.*the same command starts it again"):
        get(site.url(), place, tries=1)
    site.script[:] = [ranged(DATA, etag=None)]
    assert get(site.url(), place) == WHOLE
    assert site.requests[1].range == (None, None)


def test_a_server_without_ranges(serve, place):
    cut = plain(200, DATA[:5000], Content_Length=len(DATA), ETag='"v1"')
    site = serve(cut, plain(200, DATA, ETag='"v1"'))
    assert get(site.url(), place, sha256=SHA256) == WHOLE
    assert site.requests[1].range == ("bytes=5000-", '"v1"')
    assert place.read_bytes() == DATA


def test_a_file_that_changes_in_between(serve, place):
    """The new version comes as a whole; no byte of the old one is left."""
    site = serve(ranged(OTHER, etag='"v0"', cut=5000), ranged(DATA))
    assert get(site.url(), place) == WHOLE
    assert site.requests[1].range == ("bytes=5000-", '"v0"')
    assert place.read_bytes() == DATA


@pytest.mark.parametrize(
    "wrong",
    [
        plain(416, Content_Range=f"bytes */{len(DATA)}"),
        plain(206, DATA[5000:], Content_Range=f"bytes 0-{len(DATA) - 1}/{len(DATA)}", ETag='"v1"'),
        plain(206, DATA[5000:], Content_Range=f"bytes 5000-{len(DATA) - 1}/{len(DATA) + 1}", ETag='"v1"'),
        plain(206, DATA[5000:6000], Content_Range=f"bytes 5000-5999/{len(DATA)}", ETag='"v1"'),
        plain(206, DATA[5000:], Content_Range=f"bytes 5000-{len(DATA) - 1}/{len(DATA)}", ETag='"v2"'),
        plain(206, DATA[5001:], Content_Range=f"bytes 5000-{len(DATA) - 1}/{len(DATA)}", ETag='"v1"'),
        plain(206, DATA[5000:], ETag='"v1"'),
    ],
    ids=["416", "another start", "another total", "another end", "another version", "another length", "no range"],
)
def test_another_rest_than_asked_for(serve, place, wrong):
    site, log = serve(ranged(DATA, cut=5000), wrong, ranged(DATA)), Log()
    assert get(site.url(), place, listener=log) == WHOLE
    assert place.read_bytes() == DATA
    assert [request.range[0] for request in site.requests] == [None, "bytes=5000-", None]
    assert log.waits[1][0] == "the server does not go on from byte 5,000"


@pytest.mark.parametrize("status", [206, 416])
def test_a_rest_that_nobody_asked_for(serve, place, status):
    site = serve(plain(status, DATA, Content_Range=f"bytes 0-{len(DATA) - 1}/{len(DATA)}"))
    with refused(place, f"the server answered {status} "):
        get(site.url(), place)


def test_a_damaged_part_is_not_gone_on_with(serve, place):
    """Facts that are no JSON, of another address, or of a shorter file than the part."""
    place.parent.mkdir()
    site = serve(ranged(DATA))
    facts = {"url": site.url(), "validator": '"v1"', "total": len(DATA)}
    for text in (
        "{",
        "[]",
        json.dumps({"url": site.url()}),
        json.dumps(facts | {"url": "https://other.example/net.bin"}),
        json.dumps(facts | {"total": 10}),
        json.dumps(facts | {"total": "many"}),
    ):
        place.with_name("net.bin.part").write_bytes(OTHER[:1000])
        place.with_name("net.bin.part.json").write_text(text)
        assert get(site.url(), place) == WHOLE
        assert site.requests[-1].range == (None, None)
        assert left(place) == []


def test_a_part_that_is_whole_is_only_checked(serve, place):
    site = serve(ranged(DATA))
    place.parent.mkdir()
    facts = {"url": site.url(), "validator": '"v1"', "total": len(DATA)}
    place.with_name("net.bin.part").write_bytes(DATA)
    place.with_name("net.bin.part.json").write_text(json.dumps(facts))
    assert get(site.url(), place, sha256=SHA256) == WHOLE
    assert site.requests == []
    assert place.read_bytes() == DATA


def test_a_part_that_was_changed_is_found_by_its_hash(serve, place):
    site = serve(ranged(DATA, cut=5000), ranged(DATA))
    with pytest.raises(RunError, match="5,000 bytes are kept"):
        get(site.url(), place, tries=1)
    place.with_name("net.bin.part").write_bytes(OTHER[:5000])
    wrong = hashlib.sha256(OTHER[:5000] + DATA[5000:]).hexdigest()
    with refused(place, f"SHA-256 of what came is {wrong}, and it should be {SHA256}; it was deleted"):
        get(site.url(), place, sha256=SHA256)
    assert get(site.url(), place, sha256=SHA256) == WHOLE


def test_a_wrong_hash(serve, place):
    site = serve(ranged(OTHER))
    found = hashlib.sha256(OTHER).hexdigest()
    with refused(place, f"SHA-256 of what came is {found}, and it should be {SHA256}; it was deleted. Try again"):
        get(site.url(), place, sha256=SHA256, size=len(OTHER))
    assert len(site.requests) == 1


def test_what_the_caller_does_not_accept(serve, place):
    def accept(found):
        assert found == WHOLE
        assert not place.exists()
        raise InputError("no, thank you")

    with refused(place, "no, thank you"):
        get(serve(ranged(DATA)).url(), place, accept=accept)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_another_size_than_the_cards(serve, place, size):
    site = serve(ranged(DATA))
    with refused(place, f"the file has 300,000 bytes, and it should have {size:,}; it was replaced"):
        get(site.url(), place, size=size)


def test_more_in_chunks_than_the_card_says(serve, place):
    with refused(place, "more came than the 299,999 bytes that the file should have; it was deleted"):
        get(serve(chunked(DATA)).url(), place, size=len(DATA) - 1)


def test_less_in_chunks_than_the_card_says(serve, place):
    with pytest.raises(RunError, match="the connection was cut after 300,000 of 300,001 bytes"):
        get(serve(chunked(DATA)).url(), place, size=len(DATA) + 1, tries=2)
    assert not place.exists()


def test_chunks_that_are_cut(serve, place):
    site = serve(chunked(DATA, whole=False), chunked(DATA))
    assert get(site.url(), place) == WHOLE
    assert len(site.requests) == 2


def test_fewer_bytes_than_announced(serve, place):
    site = serve(plain(200, DATA, Content_Length=len(DATA) + 5))
    with pytest.raises(RunError, match=r"cut after 300,000 of 300,005 bytes \(tried 2 times\)"):
        get(site.url(), place, tries=2)
    assert not place.exists()


@pytest.mark.parametrize("tail", [0.0, 0.1], ids=["at once", "later"])
def test_more_bytes_than_announced(serve, place, tail):
    def answer(handler):
        send(handler, 200, DATA[:-5], ETag='"v1"')
        time.sleep(tail)
        handler.wfile.write(DATA[-5:])

    with refused(place, "more came than the 299,995 bytes that the file should have; it was deleted"):
        get(serve(answer).url(), place)


def test_a_connection_that_stays_open_after_the_last_byte(serve, place):
    started = time.monotonic()
    assert get(serve(stalls(DATA, len(DATA))).url(), place, timeout=0.3) == WHOLE
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("length", ["-5", "many", "1e3"])
def test_a_length_that_is_no_number(serve, place, length):
    with refused(place, f"a length is a number, and the server says '{length}'"):
        get(serve(plain(200, DATA, Content_Length=length)).url(), place)


def test_no_length_at_all(serve, place):
    """An end that could be a cut is taken only where size or hash will tell."""
    site = serve(plain(200, DATA, Content_Length=None))
    with refused(place, "does not say how long the file is, so that a cut file could not be told from a whole one"):
        get(site.url(), place)
    assert get(site.url(), place, sha256=SHA256) == WHOLE
    assert get(site.url(), place, size=len(DATA)) == WHOLE


def test_a_limit_where_no_size_is_known(serve, place):
    with refused(place, "more came than the 1,000 bytes that are allowed where no size is known"):
        get(serve(chunked(DATA)).url(), place, limit=1000)
    assert get(serve(chunked(DATA)).url(), place, limit=len(DATA)) == WHOLE


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (204, "204 No Content")])
def test_a_file_that_is_not_to_be_had(serve, place, status, words):
    site = serve(plain(status))
    with refused(place, rf"{site.url()}: the server answered {words}; check the address"):
        get(site.url(), place)
    assert len(site.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 408, 429])
def test_a_server_that_has_a_bad_moment(serve, place, status):
    site, log = serve(plain(status), ranged(DATA)), Log()
    assert get(site.url(), place, listener=log) == WHOLE
    assert log.waits[0][0].startswith(f"the server answered {status} ")


def test_waits_double_and_end(serve, place):
    log = Log()
    with refused(place, r"the server answered 500 Internal Server Error \(tried 4 times\); the same command", RunError):
        get(serve(plain(500)).url(), place, listener=log, pause=0.001)
    assert [seconds for _, seconds in log.waits] == [0.001, 0.002, 0.004]


def test_progress_counts_as_a_new_beginning(serve, place, monkeypatch):
    """Ten cuts in a row, each after something has come, are no reason to give up; two without progress are."""
    monkeypatch.setattr(module, "PROGRESS", 20_000)
    site = serve(ranged(DATA, cut=30_000))
    assert get(site.url(), place, tries=2) == WHOLE
    assert len(site.requests) == 10
    place.unlink()
    site.requests.clear()
    site.script[:] = [plain(200, DATA[:30_000], Content_Length=len(DATA), ETag='"v1"')]
    with pytest.raises(RunError, match="tried 2 times"):
        get(site.url(), place, tries=2)
    assert len(site.requests) == 2


def test_a_server_that_stalls(serve, place):
    site = serve(stalls(DATA, 5000, ETag='"v1"'), ranged(DATA))
    log = Log()
    assert get(site.url(), place, timeout=0.2, listener=log) == WHOLE
    assert log.waits[0][0] == "nothing came for 0.2 s"
    assert site.requests[1].range == ("bytes=5000-", '"v1"')


def test_a_server_that_never_answers(serve, place):
    site = serve(lambda handler: handler.server.site.stop.wait(5))
    with refused(place, r"nothing came for 0\.1 s \(tried 2 times\)", RunError):
        get(site.url(), place, timeout=0.1, tries=2)


def test_a_server_that_hangs_up_or_is_not_there(serve, place):
    site = serve(lambda handler: None, ranged(DATA))
    log = Log()
    assert get(site.url(), place, listener=log) == WHOLE
    assert log.waits[0][0] == "the connection was cut"
    place.unlink()
    site.close()
    with refused(place, r"no connection \(Connection refused\) \(tried 2 times\)", RunError):
        get(site.url(), place, tries=2)


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_an_encoded_file(serve, place, encoding):
    with refused(place, f"the server sends the file encoded as '{encoding}', though it was asked for the file itself"):
        get(serve(plain(200, DATA, Content_Encoding=encoding)).url(), place)


def test_an_encoding_that_is_none(serve, place):
    assert get(serve(plain(200, DATA, Content_Encoding="Identity")).url(), place) == WHOLE


def test_a_full_disk(serve, place, monkeypatch):
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=299_999))
    with refused(place, "300,000 bytes are to come, and 299,999 are free there; make space", RunError):
        get(serve(ranged(DATA)).url(), place)


def test_a_place_that_cannot_be(serve, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match=r"file/net\.bin: cannot be written .*Make space or check the folder's rights"):
        get(serve(ranged(DATA)).url(), tmp_path / "file" / "net.bin")


def test_an_interrupt_keeps_the_part(serve, place):
    class Interrupted(Log):
        def received(self, count):
            super().received(count)
            if self.count >= 100_000:
                raise KeyboardInterrupt

    site, log = serve(ranged(DATA)), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        get(site.url(), place, listener=log)
    assert not place.exists()
    assert left(place) == ["net.bin.part", "net.bin.part.json"]
    kept = place.with_name("net.bin.part").read_bytes()
    assert len(kept) == log.count
    assert kept == DATA[: log.count]
    assert get(site.url(), place, sha256=SHA256) == WHOLE
    assert site.requests[1].range == (f"bytes={log.count}-", '"v1"')


def test_two_at_a_time(serve, place):
    """The second is told that the first is at work, and the first ends undisturbed."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(handler):
        send(handler, 200, DATA[:5000], Content_Length=len(DATA), ETag='"v1"')
        inside.set()
        go_on.wait(2)
        handler.wfile.write(DATA[5000:])

    site, found = serve(slow, ranged(DATA)), []
    first = threading.Thread(target=lambda: found.append(get(site.url(), place)))
    first.start()
    assert inside.wait(2)
    with pytest.raises(RunError, match=r"net\.bin: another process is downloading this file now; run the same command"):
        get(site.url(), place)
    go_on.set()
    first.join()
    assert found == [WHOLE]
    assert place.read_bytes() == DATA
    assert left(place) == []
    assert len(site.requests) == 1


def test_many_at_a_time(serve, place):
    """Whoever comes in between is refused or gets the whole file; the file is right whenever it is seen."""
    site, outcomes = serve(ranged(DATA)), []

    def one():
        try:
            outcomes.append(get(site.url(), place))
        except RunError:
            outcomes.append(None)
        if place.exists():
            assert place.read_bytes() == DATA

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert WHOLE in outcomes
    assert set(outcomes) <= {WHOLE, None}
    assert place.read_bytes() == DATA
    assert left(place) == []


def test_any_cuts_give_the_same_file(serve, place):
    """Cut after every few bytes, in any pattern, the parts make up the file."""
    steps = itertools.cycle([1, 70_000, 3, 50_000, 0, 80_000])
    site = serve(*(ranged(DATA, cut=next(steps)) for _ in range(9)), ranged(DATA))
    assert get(site.url(), place, tries=20, sha256=SHA256) == WHOLE
    assert place.read_bytes() == DATA


def test_an_announced_size_beyond_the_limit(serve, place):
    site = serve(plain(200, DATA, Content_Length=len(DATA)))
    with refused(place, r"the server announces 300,000 bytes, and of a file of unknown size 1,000 are allowed"):
        get(site.url(), place, limit=1000)
    assert get(site.url(), place, size=len(DATA), limit=1000) == WHOLE
