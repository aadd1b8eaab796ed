"""Drivers and workers killed at random moments, as `benchmarks.kills` does on a larger scale."""

from collections import Counter

import pytest
from benchmarks.kills import METHOD, Field, answers, build, same

import elites as el


def test_no_kill_loses_or_repeats_what_was_written_or_changes_a_bit(tmp_path):
    figures = Field(tmp_path, drivers=8, workers=16, steps=20, gap=0.12, seed=1).fight()
    assert (figures["drivers"], figures["workers"]) == (8, 16)
    assert (figures["lost"], figures["twice"], figures["errors"]) == (0, 0, 0)
    assert figures["bit_equal"] == figures["runs"] > 0
    assert figures["integrity"] == figures["lives"] >= 9
    assert figures["evaluations"] == figures["runs"] * (16 + 4 + 20 * 16)
    again = figures["in_flight"] + figures["outlived"] + figures["unwritten"]
    deaths = 2 * figures["drivers"] + figures["workers"]  # of worker processes
    assert figures["in_flight"] <= deaths  # each was at one call
    assert 0 < again <= 4 * deaths  # and had one batch
    assert figures["unwritten"] >= 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run without kills, and a log as its reward would have written it."""
    place = tmp_path_factory.mktemp("field")
    el.run(METHOD, build(), el.Budget(steps=3), 0, on=[el.Checkpoint(place / "run")])
    names = [name for name, _ in answers(place / "run").values()]
    return place, [f"0 {what} {name} 7" for name in names for what in ("begin", "end")]


TALES = {  # what the log says besides, what an earlier ledger held, and what is counted
    "nothing": ([], {}, {}),
    "a repeated call": (["1 begin {0} 7", "1 end {0} 7"], {}, {"twice": 1, "unwritten": 1}),
    "a call cut short": (["0 begin {0} 7"], {}, {"in_flight": 1}),
    "a call that outlived its driver": (["0 begin {0} 7", "0 dead - 1", "0 end {0} 7"], {}, {"outlived": 1}),
    "a call whose answer was not written": (["0 begin {0} 7", "0 end {0} 7"], {}, {"unwritten": 1}),
    "a row that is gone": ([], {(9, 9, 9, 9, 9, 9): ("ab", 1.0)}, {"lost": 1}),
    "a reward that has changed": ([], {(1, 0, 1, 0, 0, 0): ("ab", 1.0)}, {"lost": 1}),
}


@pytest.mark.parametrize("tale", TALES)
def test_the_figures_say_what_the_log_and_the_ledgers_say(tale, finished, tmp_path):
    place, lines = finished
    more, before, want = TALES[tale]
    final = answers(place / "run")
    first = final[1, 0, 1, 0, 0, 0][0]
    (tmp_path / "log").write_text("\n".join(lines + [line.format(first) for line in more]))
    field = Field(tmp_path, 0, 0, steps=3)
    field.count(place / "run", tmp_path / "log", 0, [before, final, final])
    counted = {name: field.figures[name] for name in ("lost", "twice", "in_flight", "outlived", "unwritten")}
    assert counted == Counter(want) | dict.fromkeys(counted.keys() - want.keys(), 0)
    assert field.figures["bit_equal"] == 1
    assert field.figures["evaluations"] == len(final)


def test_another_run_is_not_the_same(finished):
    for seed, steps in ((1, 3), (0, 2)):
        assert not same(finished[0] / "run", el.run(METHOD, build(), el.Budget(steps=steps), seed))
