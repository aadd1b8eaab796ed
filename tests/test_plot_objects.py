"""Figures of objects draw what the report draws, whatever the objects are."""

import json
import re
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from reports import make, row

import elites as el
from elites.events import Molecule, Series, Text, Trajectory
from elites.events.sheets import write_sheet

pytest.importorskip("matplotlib")
BESTS = (-5.0, -4.0, -4.0, -1.0)  # by step
PATH = np.stack([np.arange(5.0), np.arange(5.0) ** 2], 1)


def folder(path, draw, count=2):
    """A run whose best changed at the steps 0, 1 and 3, with two objects a step."""
    make(path, [{**row(i), "best": best} for i, best in enumerate(BESTS)])
    for step, best in enumerate(BESTS):
        drawings = [draw(step + 10 * i) for i in range(count)]
        (path / "steps").mkdir(exist_ok=True)
        (path / "lineage").mkdir(exist_ok=True)
        write_sheet(path / "steps" / f"{step:06d}", drawings, [best - i for i in range(count)], [[step, 0]] * count)
        if step in (0, 1, 3):
            write_sheet(path / "lineage" / f"{step:06d}", drawings[:1], [best], [[step, 0]])
    return path


def lines(ax):
    return [np.asarray(line.get_xydata()) for line in ax.lines]


@pytest.mark.filterwarnings("error")
def test_paths_have_their_points_one_scale_and_one_frame(tmp_path):
    figure = el.plot.objects(folder(tmp_path / "run", lambda i: Trajectory(PATH + i)), rows=2)
    figure.canvas.draw()
    assert len(figure.axes) == 8
    for k, ax in enumerate(figure.axes):
        path, first, last = lines(ax)
        shift = k % 4 + 10 * (k // 4)
        np.testing.assert_allclose(path, PATH + shift)
        np.testing.assert_allclose([first[0], last[0]], [PATH[0] + shift, PATH[-1] + shift])
        assert ax.get_aspect() == 1
        assert (ax.get_xlim(), ax.get_ylim()) == (figure.axes[0].get_xlim(), figure.axes[0].get_ylim())
        assert ax.get_ylim()[0] < path[:, 1].min() <= path[:, 1].max() < ax.get_ylim()[1]
    assert [ax.get_title() for ax in figure.axes[:4]] == ["prior\n−5", "step 1\n−4", "step 2\n−4", "step 3\n−1"]
    assert figure.axes[4].get_title() == "−6"


@pytest.mark.filterwarnings("error")
def test_time_series_have_the_names_of_their_columns(tmp_path):
    values = np.stack([np.sin(np.arange(9.0)), np.arange(9.0)], 1)
    figure = el.plot.lineage(folder(tmp_path / "run", lambda i: Series(values, ("force", "a $\\nope$"))))
    figure.canvas.draw()
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["force", "a $\\nope$"]
    for ax in figure.axes:
        for line, column in zip(lines(ax), values.T, strict=True):
            np.testing.assert_allclose(line, np.stack([np.arange(9), column], 1), atol=1e-3)


def test_the_lineage_has_the_new_bests_with_their_step_and_reward(tmp_path):
    path = folder(tmp_path / "run", lambda i: Image.new("L", (4, 4), 10 * i))
    figure = el.plot.lineage(path)
    assert [ax.get_title() for ax in figure.axes] == ["prior\n−5", "step 1\n−4", "step 3\n−1"]
    assert [np.asarray(ax.images[0].get_array()).max() for ax in figure.axes] == [0, 10, 30]
    assert [ax.get_title() for ax in el.plot.lineage(path, most=2).axes] == ["prior\n−5", "step 3\n−1"]


@pytest.mark.filterwarnings("error")
def test_texts_are_a_list_and_no_formulas(tmp_path):
    path = folder(tmp_path / "run", lambda i: Text(f"costs {i} $\\nope$\nmore {'word ' * 200}"), count=1)
    figure = el.plot.objects(path)
    figure.canvas.draw()
    (ax,) = figure.axes
    told = [t.get_text() for t in ax.texts]
    assert told[::2] == ["prior\n−5", "step 1\n−4", "step 2\n−4", "step 3\n−1"]
    for i, text in enumerate(told[1::2]):
        first, second, *others = text.split("\n")
        assert first == f"costs {i} $\\nope$"
        assert second.startswith("more word") and len(others) == 2 and text.endswith("…")
    for text in ax.texts:  # nothing runs over the edge, and nothing into what stands below
        box = text.get_window_extent()
        assert box.x1 <= figure.bbox.x1 and box.y0 >= 0
    below = [text.get_window_extent() for text in ax.texts[1::2]]
    assert all(a.y0 > b.y1 for a, b in pairwise(below))


def test_molecules_are_structures_or_smiles(tmp_path, monkeypatch):
    path = folder(tmp_path / "run", lambda i: Molecule("CCO"), count=1)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rdkit", None)
        from elites.events.molecules import outline

        outline.cache_clear()
        (ax,) = el.plot.objects(path).axes
        assert [t.get_text() for t in ax.texts[1::2]] == ["CCO"] * 4
        outline.cache_clear()
    pytest.importorskip("rdkit")
    for ax in el.plot.objects(path).axes:
        bonds, letters = ax.patches
        for patch, data in zip((bonds, letters), outline("CCO"), strict=True):  # every point of the report, none else
            points = [float(v) for v in re.findall(r"-?[\d.]+", data)]
            kept = patch.get_path().vertices[patch.get_path().codes != 79]  # without the ends of closed lines
            np.testing.assert_allclose(kept.ravel(), points)
        assert len(bonds.get_path().vertices) >= 4 and len(letters.get_path().vertices) > 10
        assert (letters.get_path().vertices >= 0).all() and letters.get_path().vertices.max() <= 200


def test_objects_of_other_kinds_in_one_run(tmp_path):
    kinds = [Image.new("RGB", (6, 3)), Series(np.arange(5.0)), Trajectory(PATH), Series(np.arange(5.0))]
    el.plot.objects(folder(tmp_path / "a", lambda i: kinds[i % 10]), rows=2).canvas.draw()


def test_a_drawing_by_a_stranger_breaks_nothing(tmp_path):
    path = folder(tmp_path / "run", lambda i: Trajectory(PATH))
    odd = [{"kind": "trajectory", "lines": "x"}, {"kind": "series", "lines": [[[], []]], "names": 3}, {"kind": 7}]
    for i, it in enumerate(odd):
        told = {"drawings": [it], "rewards": [None], "keys": []}
        (path / "steps" / f"{i:06d}.json").write_text(json.dumps(told))
        el.plot.objects(path).canvas.draw()


def test_what_has_no_drawings_is_one_sentence(tmp_path):
    make(tmp_path / "run", [row(0), row(1)])
    for function in (el.plot.objects, el.plot.lineage):
        with pytest.raises(el.InputError, match="was drawn: give a folder"):
            function(tmp_path / "run")
        with pytest.raises(el.InputError, match="at least"):
            function(tmp_path / "run", most=0)
