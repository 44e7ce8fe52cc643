import math

import pytest

from retrospective.analysis import formatting as f


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (12345, "12,300"), (0.012345, "0.0123"), (9.996, "10.0"), (999.6, "1,000"), (-4.5, "−4.50"),
        (1.0, "1.00"), (None, "—"), (math.nan, "—"), (math.inf, "—"), (1e-9, "0.00000000100"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert f.fmt_number(value) == text


def test_numbers_take_units_and_numpy():
    import numpy as np  # noqa: PLC0415

    assert f.fmt_number(np.float64(2.5), 2, "µs") == "2.5\u202fµs"
    assert f.fmt_integer(np.int64(1234)) == "1,234"


def test_ratio_intervals():
    assert f.fmt_ratio_interval(1.714, 1.6, 1.83) == "1.71 [1.60, 1.83]"
    assert f.fmt_ratio_interval(47.2, 39.96, 101.4) == "47.2 [40.0, 101]"
    assert f.fmt_ratio_interval(1.5, None, None) == "1.50 [no interval]"
    assert f.fmt_ratio_interval(1.5, math.nan, math.nan) == "1.50 [no interval]"
    assert f.fmt_ratio_interval(None, None, None) == "—"


def test_shares_and_gains():
    assert f.fmt_percent(0.714) == "71\u202f%"
    assert f.fmt_percent(0.0213) == "2.1\u202f%"
    assert f.fmt_percent(0.0) == "0\u202f%"
    assert f.fmt_percent(0.0001) == "<0.1\u202f%"
    assert f.fmt_percent(1.234) == "123\u202f%"
    assert f.fmt_gain(1.71) == "71\u202f%"
    assert f.fmt_gain(0.97) == "−3.0\u202f%"
    assert f.fmt_gain(None) == "—"


def test_times_choose_their_unit():
    assert f.fmt_us(0.25) == "250\u202fns"
    assert f.fmt_us(12.3) == "12.3\u202fµs"
    assert f.fmt_us(12_300) == "12.3\u202fms"
    assert f.fmt_limit("inf") == "Inf"
