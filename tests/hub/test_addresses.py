"""Which addresses are allowed, and what of them is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import InputError
from harness.hub.addresses import check_address, file_name, is_loopback, redirected, shown


@pytest.mark.parametrize(
    "url",
    [
        "https://files.example/net.pkl",
        "https://files.example:8443/a/b.npz?x=1#y",
        "http://localhost:8000/net.pkl",
        "http://127.0.0.1/net.pkl",
        "http://127.8.9.1:80/net.pkl",
        "http://[::1]:8000/net.pkl",
        "HTTPS://FILES.EXAMPLE/net.pkl",
        "https://[2001:db8::1]/net.pkl",
    ],
)
def test_allowed(url):
    check_address(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://files.example/net.pkl", "only https"),
        ("http://127.0.0.1.files.example/net.pkl", "only https"),
        ("http://localhost.files.example/net.pkl", "only https"),
        ("http://10.0.0.1/net.pkl", "only https"),
        ("http://[2001:db8::1]/net.pkl", "only https"),
        ("http://127.1/net.pkl", "only https"),
        ("http://2130706433/net.pkl", "only https"),
        ("file:///etc/passwd", "only https"),
        ("ftp://files.example/net.pkl", "only https"),
        ("data:text/plain,x", "only https"),
        ("net.pkl", "only https"),
        ("", "only https"),
        ("https:///net.pkl", "no valid host"),
        ("https://files\\.example/net.pkl", "no valid host"),
        ("https://a,b/net.pkl", "no valid host"),
        ("https://me@files.example/", "user or password"),
        ("https://me:hunter2@files.example/", "user or password"),
        ("http://127.0.0.1:hunter2@files.example/", "user or password"),
        ("http://hunter2\\@files.example/", "user or password"),
        ("https://files.example:port/", "not an address"),
        ("https://files.example:99999/", "not an address"),
        ("https://me:hunter2@[::1/", "not an address"),
        ("https://files.example/a b", "printable ASCII"),
        ("https://files.example/a\r\nHost: x", "printable ASCII"),
        ("https://files.exämple/", "printable ASCII"),
    ],
)
def test_refused(url, message):
    with pytest.raises(InputError, match=message) as caught:
        check_address(url)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://files.example/net.pkl", "https://files.example/net.pkl"),
        ("https://files.example/net.pkl?token=hunter2#hunter2", "https://files.example/net.pkl"),
        ("https://me:hunter2@files.example/net.pkl", "https://…@files.example/net.pkl"),
        ("https://me:hunter2/x?y#z@files.example/net.pkl", "https://…@files.example/net.pkl"),
        ("me:hunter2@files.example", "…@files.example"),
        ("https://files.example/\x1b[31m\n", "https://files.example/?[31m?"),
        ("https://files.example/" + "a" * 1000, "https://files.example/" + "a" * 278),
    ],
)
def test_shown(url, text):
    assert shown(url) == text


@given(st.text("abc:/?#@", max_size=12), st.sampled_from(["https://", "http://", "", "ftp://"]))
def test_no_secret_before_an_at_sign_is_shown(around, scheme):
    assert "hunter2" not in shown(f"{scheme}{around}hunter2{around}@files.example/net.pkl")


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_an_error(text):
    try:
        check_address(text)
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert text.lower().startswith("https://") or is_loopback(text)


def test_redirected():
    assert redirected("https://a.example/x/y", "z?q=1") == "https://a.example/x/z?q=1"
    assert redirected("https://a.example/x", "//b.example/y") == "https://b.example/y"
    assert redirected("http://127.0.0.1/x", "https://b.example/y") == "https://b.example/y"
    assert redirected("https://a.example/x", "/a b\xe9") == "https://a.example/a%20b%E9"
    with pytest.raises(InputError, match=r"redirected from https to http://127\.0\.0\.1/y, which is refused"):
        redirected("https://a.example/x", "http://127.0.0.1/y")
    with pytest.raises(InputError, match="redirected without saying where to"):
        redirected("https://a.example/x", "")


def test_file_name():
    assert file_name("https://a.example/x/net-1.0_b.pkl?x=/y") == "net-1.0_b.pkl"
    for path in ("", "/", "/x/", "/..", "/.hidden", "/a%2Fb", "/a:b", "/a\\b"):
        with pytest.raises(InputError, match="should end in a file's name"):
            file_name(f"https://a.example{path}")
