"""The curves, axes and words of a report."""

import math

import pytest

from elites.events.axes import Axis, number, safe, shown, thinned
from elites.events.charts import Line


def test_safe_keeps_letters_and_cuts():
    assert safe("a<b>\u202e\x00\nc\u200f\ud800") == "a&lt;b&gt; c"
    assert safe("x" * 50, 10) == "x" * 10 + "…"
    assert safe("می\u200cروم 😀 é") == "می\u200cروم 😀 é"


def test_thinning_keeps_ends_peaks_and_gaps():
    y = [0.0] * 5000
    y[1234], y[4000] = 9.0, -9.0
    y[2000:2100] = [math.nan] * 100
    kept = thinned(y)
    assert len(kept) <= 402 and {0, 1234, 4000, 4999} <= set(kept) and kept == sorted(set(kept))
    assert any(math.isnan(y[i]) for i in kept)
    assert thinned(y[:400]) == list(range(400))


def test_a_gap_cuts_the_line():
    axis = Axis.around("", [0.0, 4.0])
    line = Line("", "main", [0, 1, 2, 3, 4], [1.0, math.nan, 2.0, 3.0, math.nan])
    assert line.path(axis, axis).count("M") == 2


@pytest.mark.parametrize(
    "values", [[0.0], [1.0, 1.0 + 1e-9], [-5e20, 5e20], [1e6, 1e6 + 0.5], [math.nan], [-0.3, 0.4]]
)
def test_axes_have_ticks_inside(values):
    for whole in (False, True):
        axis = Axis.around("", values, whole=whole)
        ticks = axis.ticks()
        assert 1 <= len(ticks) <= 12
        assert all(-1e-9 <= axis.place(v) <= 1 + 1e-9 for v, _ in ticks)
        assert len({label for _, label in ticks}) == len(ticks) or abs(values[0]) > 1e5


def test_numbers_for_people():
    values = (-2.2605, 10_000, 12_345.6, 0.99999999, 999.96, math.nan, 3e12, -0.00001)
    assert [shown(v) for v in values] == [
        "−2.260",
        "10,000",
        "12,346",
        "1.000",
        "1000",
        "–",
        "3.000e+12",
        "−1.000e−05",
    ]
    assert all(math.isnan(number(v)) for v in (None, "x", math.inf, 10**400, [], 1e200))
