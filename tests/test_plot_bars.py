"""Figures of bars: readings, the probe and failures say what the run says."""

import math

import numpy as np
import pytest
import torch
from helpers import on_humps
from reports import PROBE, make, row, rows

import elites as el
from elites.events.record import Record

pytest.importorskip("matplotlib")

READINGS = [
    {"name": "typicality", "value": 1.02, "quantile": 0.63, "says": "fine", "warns": False},
    {"name": "cost of $\\nope$", "value": 9.0, "quantile": 0.0, "says": "odd", "warns": True},
    {"name": "alone", "value": 0.25, "quantile": None, "says": "nothing to compare with", "warns": False},
    {"name": "alarm", "value": 0.01, "quantile": None, "says": "it rang", "warns": True},
]


def widths(ax):
    """Lengths of the bars of each row."""
    found = {}
    for bar in ax.patches:
        found.setdefault(round(bar.get_y() + bar.get_height() / 2), []).append(bar.get_width())
    return found


def names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_readings_are_shares_with_values_and_marks(tmp_path):
    result = {"stopped": "done", "best": 1.0, "evidence": READINGS}
    make(tmp_path / "run", rows(4), result=result)
    figure = el.plot.readings(tmp_path / "run")
    (ax,) = figure.axes
    assert names(ax) == [r["name"] for r in READINGS]
    assert widths(ax) == {0: [100, 63], 1: [100, pytest.approx(0.8)]}
    assert [t.get_text() for t in ax.texts] == ["1.02", "9", "0.25", "rang"]
    assert [line.get_ydata()[0] for line in ax.lines if line.get_label() == "warns"] == [1, 3]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, False, False, True]
    figure.canvas.draw()  # names are no formulas


def test_readings_of_a_result_are_those_of_its_folder(tmp_path):
    target = on_humps()
    on = [el.Typicality(), el.Evidence(lambda x: x[:, 0], reference=16), el.Checkpoint(tmp_path / "run")]
    result = el.run(el.Elites(8), target, el.Budget(nfe=600), on=on)
    assert len(result.evidence) > 3
    every = [el.plot.readings(run).axes[0] for run in (tmp_path / "run", Record.read(tmp_path / "run"), result)]
    for ax in every:
        assert names(ax) == [r.name for r in result.evidence]
        assert widths(ax) == widths(every[0])
        for i, r in enumerate(result.evidence):
            want = [100, max(100 * r.quantile, 0.8)] if math.isfinite(r.quantile) else None
            assert widths(ax).get(i) == (want if want is None else pytest.approx(want))


def test_the_probe_is_its_row(tmp_path):
    first = row(0, **PROBE)
    make(tmp_path / "run", [first, row(1)])
    top, bottom = el.plot.probe(tmp_path / "run").axes
    (band,) = top.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((first["q10"], first["q90"]))
    told = {line.get_label(): line.get_xdata()[0] for line in top.lines}
    assert told == {"median": first["median"], "best": first["max"]}
    assert names(top) == ["16 prior samples"]
    assert names(bottom) == ["network", "reward"]
    assert widths(bottom) == {0: [pytest.approx(10)], 1: [pytest.approx(1)]}  # ms
    assert [t.get_text() for t in bottom.texts] == ["10 ms", "1 ms"]


def failing(x):
    return torch.where(x[:, 0] > 0, torch.nan, x[:, 0])


def test_failures_are_counted_by_reason(tmp_path):
    reasons = ["it is $\\nope$"] * 2 + ["a scene that " + "goes on and " * 20] * 5 + ["x", "y", "z"]
    made = [{"step": 1, "candidate": i, "reason": reason} for i, reason in enumerate(reasons)]
    make(tmp_path / "run", rows(3), failures=made)
    figure = el.plot.failures(tmp_path / "run", most=3)
    (ax,) = figure.axes
    assert [w for (w,) in widths(ax).values()] == [5, 2, 1, 2]
    assert [t.get_text() for t in ax.texts] == ["5", "2", "1", "2"]
    long, *others = names(ax)
    assert long.startswith("a scene that") and long.endswith("…") and long.count("\n") < 4
    assert others == ["it is $\\nope$", "x", "2 other reasons"]
    figure.canvas.draw()


def test_failures_of_a_result_are_counted_too():
    target = el.Target(el.priors.mixture([[2.0, 0.0], [-2.0, 1.0]], 0.3), failing)
    result = el.run(el.RandomSearch(8), target, el.Budget(nfe=600))
    (ax,) = el.plot.failures(result).axes
    assert sum(w for (w,) in widths(ax).values()) == len(result.failures) > 0


def test_what_has_no_bars_is_one_sentence(tmp_path):
    make(tmp_path / "run", [row(1)])
    make(tmp_path / "lost", [{**row(1), "failures": 3}])
    for function, folder, words in (
        (el.plot.readings, "run", "no readings"),
        (el.plot.probe, "run", "no probe"),
        (el.plot.failures, "run", "No candidate"),
        (el.plot.failures, "lost", "reasons of 3 failures"),
    ):
        with pytest.raises(el.InputError, match=words):
            function(tmp_path / folder)
    with pytest.raises(el.InputError, match="at least one"):
        el.plot.failures(tmp_path / "run", most=0)


@pytest.mark.parametrize("judge", [2.0, 0.0])
@pytest.mark.filterwarnings("error")
def test_a_judge_of_a_single_point_has_axes(tmp_path, judge):
    make(tmp_path / "run", [{**row(i, judge=judge), "best": 2.0} for i in range(3)])
    figure = el.plot.judge(tmp_path / "run")
    figure.canvas.draw()
    (ax,) = figure.axes
    assert np.diff(ax.get_xlim())[0] > 1e-3
    assert ax.get_xlim()[0] < 2.0 < ax.get_xlim()[1]
    assert ax.get_ylim()[0] < judge < ax.get_ylim()[1]
