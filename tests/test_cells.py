"""The quality benchmark counts what it says it counts."""

import json
from types import SimpleNamespace

import pytest
from benchmarks.quality import cells, tables

TASK = "direction, 64"


def cell(method, best, budget=500, seed=0, shell=1.0):
    return {"task": TASK, "method": method, "seed": seed, "budget": budget, "best": best, "shell": shell}


def test_a_budget_has_only_what_it_paid_for():
    recorder = cells.Recorder((50, 100, 200, 900))
    for nfe, best in ((60, "a"), (100, "b"), (160, "c"), (240, "d")):
        recorder(SimpleNamespace(meter=SimpleNamespace(nfe=nfe), best=best))
    assert recorder.close() == {100: "b", 200: "c", 900: "d"}


def test_a_cell_that_is_there_is_kept(tmp_path):
    found = [cell("Elites", 1.0), cell("Elites", 2.0, seed=1), cell("Elites", 9.0), cell("Elites", 3.0, budget=2000)]
    path = tmp_path / "cells.jsonl"
    path.write_text("".join(json.dumps(c) + "\n" for c in found))
    assert [c["best"] for c in cells.load(path)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("shell", [1.0, 1.6])  # a sample of the prior may have a norm that few have
@pytest.mark.parametrize("shift", [-100.0, 0.0, 100.0])
def test_a_tie_is_a_share_of_the_way_from_best_of_n(shell, shift):
    found = [
        cell("best of N", shift, shell=shell),
        cell("Elites", shift + 10.0),
        cell("EvoTorch SNES, held", shift + 9),
    ]
    assert tables.scales(tables.grouped(found)) == {TASK: pytest.approx(10.0)}
    assert tables.scales(tables.grouped(found[1:])) == {TASK: 0.0}


def test_a_gradient_wins_only_where_it_is_said_to():
    found = [cell("best of N", 0.0), cell("Elites", 1.0), cell("noise ascent", 3.0), cell("EvoTorch SNES, held", 2.0)]
    (won,) = tables.winners(found).values()
    assert won["ours first"]
    assert not won["ours without gradients first"]
