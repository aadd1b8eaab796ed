"""Figures draw what the history says, belong to nobody else, and keep their text."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import on_humps

import elites as el
from elites.events.record import Record
from elites.priors import OneStep

matplotlib = pytest.importorskip("matplotlib")


def rings(event):
    event.row["alarm"] = float(event.step >= 5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder and its result, of images with a judge."""
    folder = tmp_path_factory.mktemp("plot") / "run"
    target = el.Target(OneStep(lambda z: z.reshape(-1, 1, 4, 4).sigmoid(), (16,)), lambda x: x.mean((1, 2, 3)))
    watch = el.Watch({"judge": lambda x: x.amax((1, 2, 3)), "distance": lambda x: x.std((1, 2, 3))})
    on = [el.Typicality(), watch, rings, el.Checkpoint(folder)]
    return folder, el.run(el.Elites(8), target, el.Budget(nfe=400), seed=3, on=on)


def drawn(ax, label):
    """The data of a curve by its name."""
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def column(result, name):
    return np.array([row.get(name, math.nan) for row in result.history])


FIGURES = {
    "reward": el.plot.reward,
    "evidence": el.plot.evidence,
    "judge": el.plot.judge,
    "budget": el.plot.budget,
    "compare": lambda run, **more: el.plot.compare([run, run], **more),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_folder_a_record_and_a_result_give_the_same_curves(run, name):
    folder, result = run
    figures = [FIGURES[name](r) for r in (str(folder), Record.read(folder), result)]
    every = [[line.get_xydata() for ax in f.axes for line in ax.lines] for f in figures]
    assert sum(map(len, every)) or name == "budget"
    for other in every[1:]:
        for a, b in zip(every[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_reward_panel_has_the_columns_of_the_history(run):
    _, result = run
    (ax,) = el.plot.reward(result).axes
    for label, name in (("best so far", "best"), ("median of the step", "median"), ("best of the step", "max")):
        x, y = drawn(ax, label)
        np.testing.assert_allclose(x, column(result, "step"))
        np.testing.assert_allclose(y, column(result, name))
    assert drawn(ax, "best prior sample")[1][0] == result.history[0]["max"]
    assert drawn(ax, "alarm")[0][0] == 5
    band = ax.collections[0].get_paths()[0].vertices
    assert set(column(result, "q10")) | set(column(result, "q90")) <= set(band[:, 1])


def test_evidence_has_an_axes_for_each_column(run):
    _, result = run
    axes = el.plot.evidence(result).axes
    for ax, name in zip(axes, ("judge", "shell", "white", "distance"), strict=True):
        np.testing.assert_allclose(ax.lines[0].get_ydata(), column(result, name))


def test_the_judge_panel_is_the_path_of_the_best(run):
    _, result = run
    x, y = drawn(el.plot.judge(result).axes[0], "each new best")
    pairs = list(dict.fromkeys(zip(column(result, "best"), column(result, "judge"), strict=True)))
    np.testing.assert_allclose(np.column_stack([x, y]), pairs)


def test_finalists_are_marked_and_inside():
    target, watch = on_humps(), el.Watch({"judge": lambda x: x[:, 0]})
    result = el.run(el.Elites(8), target, el.Budget(nfe=600), on=[watch], final=el.Final(el.Plain(steps=9)))
    last = result.history[-1]
    for figure, at in (
        (el.plot.reward(result), (last["step"], last["final"])),
        (el.plot.judge(result), (last["final"], last["judge"])),
    ):
        (ax,) = figure.axes
        (line,) = [line for line in ax.lines if line.get_label().startswith("finalist")]
        assert (line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx(at)
        for ends, value in zip((ax.get_xlim(), ax.get_ylim()), at, strict=True):
            assert ends[0] <= value <= ends[1]


def test_objects_are_the_pictures_of_the_steps(run):
    folder, result = run
    figure = el.plot.objects(folder, rows=2, most=3)
    assert len(figure.axes) == 6
    first = figure.axes[0]
    assert first.get_title() == f"prior\n{result.history[0]['max']:.4g}"
    shown = np.asarray(first.images[0].get_array())
    best = max(range(16), key=lambda i: float(images(i).mean()))
    np.testing.assert_allclose(shown[::16, ::16], 255 * images(best)[0].numpy(), atol=1)
    with pytest.raises(el.InputError, match="no drawings"):
        el.plot.objects(result)


def images(i):
    return el.Stream(3).normal([i], (16,)).reshape(1, 4, 4).sigmoid()


def test_the_budget_is_what_was_spent(run):
    folder, result = run
    (ax,) = el.plot.budget(folder).axes
    assert ax.patches[1].get_width() == pytest.approx(result.meter.nfe / 400)
    assert [t.get_text() for t in ax.texts][:2] == [f"{result.meter.nfe} of 400", f"{result.meter.rewards}, no limit"]


def test_comparison_is_the_mean_and_the_spread_over_seeds():
    runs = {
        name: [el.run(method, on_humps(), el.Budget(nfe=300), seed) for seed in range(3)]
        for name, method in (("ours", el.Elites(8)), ("theirs", el.RandomSearch(12)))
    }
    (ax,) = el.plot.compare(runs).axes
    for name, results in runs.items():
        x, y = drawn(ax, f"{name} (3 seeds)")
        at = [[max(r["best"] for r in one.history if r["nfe"] <= v) for one in results] for v in x]
        np.testing.assert_allclose(y, np.mean(at, 1), rtol=1e-6)
        assert x[-1] == min(one.history[-1]["nfe"] for one in results)
    bands = [c.get_paths()[0].vertices[:, 1] for c in ax.collections]
    assert max(bands[1]) == pytest.approx(max(np.mean(at, 1) + np.std(at, 1, ddof=1)), rel=1e-6)


def test_figures_touch_no_global_state_and_have_the_width_asked_for(run):
    folder, _ = run
    before = dict(matplotlib.rcParams)
    for make in FIGURES.values():
        figure = make(folder, width=2.5)
        assert figure.get_size_inches()[0] == 2.5
    assert dict(matplotlib.rcParams) == before
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []
    with pytest.raises(el.InputError, match="inches"):
        el.plot.reward(folder, width=0)


def test_text_stays_text_when_a_figure_is_saved(run, tmp_path):
    figure = el.plot.reward(run[0])
    figure.savefig(tmp_path / "a.pdf")
    data = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in data
    assert b"/Type3" not in data
    figure.savefig(tmp_path / "a.svg")
    assert ">best so far</text>" in (tmp_path / "a.svg").read_text()
    figure.savefig(tmp_path / "a.png", dpi=100)
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_colours_differ_in_lightness_from_their_neighbours():
    from matplotlib.colors import to_rgb

    from elites.plot.canvas import CYCLE

    def light(color):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        y = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
        return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y

    levels = [light(color) for color, _ in CYCLE]
    assert all(abs(a - b) > 10 for a, b in pairwise(levels[:5]))
    assert len({str(dash) for _, dash in CYCLE}) == len(CYCLE)


def bare():
    return Record(Path(), {}, {}, [], {}, [], [], [], 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (el.plot.reward, "no reward|No step"),
        (el.plot.evidence, "no evidence"),
        (el.plot.judge, "no judge"),
        (lambda r: el.plot.budget(bare()), "spent nothing"),
        (lambda r: el.plot.compare([r]), "no reward"),
        (lambda r: el.plot.compare([]), "no runs"),
        (lambda r: el.plot.reward(3), "int is no run"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(make, words):
    empty = el.types.Result(*[el.Samples(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, 2))] * 2, [], *[None] * 6)
    empty.meter, empty.failures, empty.stopped = el.types.Meter(), [], "done"
    with pytest.raises(el.InputError, match=words):
        make(empty)


def test_without_matplotlib_one_sentence_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'elites\[plot\]'"):
        el.plot.reward(run[0])
