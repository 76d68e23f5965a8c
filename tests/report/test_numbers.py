import math

import pytest

from harness.report.figures.axes import Frame, log_ticks, padded, plain
from harness.report.text.choices import describe
from harness.report.text.numbers import duration, evaluations, large, listing, plural, ratio, significant, span, whole


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (2.1049, "2.10"),
        (9.996, "10.0"),
        (0.012345, "0.0123"),
        (-0.5, "−0.500"),
        (123.4, "123"),
        (1234.5, "1,230"),
        (1e-9, "1.00e-09"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_three_significant_digits(value, text):
    assert significant(value) == text


def test_other_forms():
    assert [ratio(7.314), ratio(303.4), ratio(0.853)] == ["7.3", "300", "0.85"]
    assert [whole(1024.0), whole(57.25), whole(None)] == ["1,024", "57.2", "–"]
    assert [evaluations(8192), evaluations(57.25), evaluations(None)] == ["8192", "57.2", "–"]
    assert [large(950), large(4_812_000), large(2e9)] == ["950", "4.81 million", "2.00 billion"]
    assert [span(1, 2), span(1.0001, 1.0002), span(None, 2), span(math.nan, 2)] == ["1.00 to 2.00", "1.00", "–", "–"]
    assert [duration(0.42), duration(41), duration(725), duration(12_000)] == [
        "0.4 s",
        "41 s",
        "12 min 5 s",
        "3 h 20 min",
    ]
    assert [plural(1, "trial"), plural(2, "trial"), plural(2, "entry", "entries")] == [
        "1 trial",
        "2 trials",
        "2 entries",
    ]
    assert [listing([]), listing(["a"]), listing(["a", "b"]), listing(["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_ticks_are_round_and_few():
    assert log_ticks(4, 260, 9, whole=True) == [5, 10, 20, 50, 100, 200]
    assert log_ticks(4.8, 9.4, 9, whole=True) == [5, 6, 7, 8, 9]
    assert len(log_ticks(1, 1e9, 5)) <= 5
    for low, high in [(1.9, 3.3), (0.02, 90), (4, 9000)]:
        ticks = log_ticks(low, high, 7)
        assert 2 <= len(ticks) <= 7
        assert all(low <= tick <= high for tick in ticks)
    assert [plain(0.05), plain(5.0), plain(2000.0)] == ["0.05", "5", "2000"]


def test_limits_hold_the_positive_values():
    low, high = padded([0.0, -1, 2, 50, math.nan], 0.05)
    assert low < 2 < 50 < high
    assert padded([0.0, math.nan], 0.05) is None
    low, high = padded([3.0], 0.05)
    assert low < 3 < high
    frame = Frame((1, 100), (1, 2), "FD")
    assert frame.across(10) == pytest.approx(0.5)


def test_choices_in_words():
    assert describe({"kind": "rk2", "alpha": 1.0}) == ("heun", "")
    assert str(describe({"kind": "rk2", "alpha": 0.5})) == "rk2 (alpha 0.5)"
    levels = {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0}
    assert describe(levels) == ("edm", "rho 7, sigma 0.002 to 80")
    assert (
        describe({"kind": "vp", "sigma_min": None, "sigma_max": None, "epsilon_s": 0.001}).details == "epsilon_s 0.001"
    )
    assert str(describe("linear")) == "linear"
    assert str(describe(None)) == ""
