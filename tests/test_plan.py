"""The plan against what the run then spends."""

import json
import time

import pytest
import torch
from helpers import WORST, hill, on_flow, on_humps, on_sde
from test_cli import STUDY, elites

import elites as el
from elites.foresee import foresee
from elites.study import load

PLANNED = {
    "random search": (el.RandomSearch(12), {"nfe": 1000}, {}),
    "a limit on rewards": (el.RandomSearch(12), {"rewards": 500}, {}),
    "a limit on steps": (el.RandomSearch(12), {"steps": 5, "nfe": 10_000}, {}),
    "the tighter of two": (el.RandomSearch(12), {"rewards": 500, "nfe": 700}, {}),
    "no probe": (el.RandomSearch(16), {"nfe": 1024}, {"probe": None}),
    "a budget too small for a probe": (el.RandomSearch(4), {"nfe": 100}, {}),
    "finalists": (el.RandomSearch(12), {"nfe": 1000}, {"final": el.Final(el.Plain(steps=10), top=4)}),
    "evolution": (el.Evolve(16), {"nfe": 2000}, {}),
    "ascent": (el.NoiseAscent(), {"nfe": 600}, {}),
    "a walk": (el.Plain(steps=4), {}, {}),
    "a walk with a budget": (el.Plain(steps=4), {"nfe": 2000}, {}),
    "retries that are paid for": (el.RandomSearch(10), {"rewards": 300}, {"on_error": el.Retry(again=2)}),
    "paths": (el.Paths(), {}, {}),
}


@pytest.mark.parametrize("case", PLANNED)
def test_evaluations_are_those_of_the_run(case):
    method, limits, more = PLANNED[case]
    make, policy = (on_sde if case == "paths" else on_humps), {"on_error": more.get("on_error", WORST)}
    more = {name: value for name, value in more.items() if name != "on_error"}
    found = el.plan(method, make(**policy), el.Budget(**limits), **more)
    result = el.run(method, make(**policy), el.Budget(**limits), **more)
    spent = result.meter
    assert (found.nfe, found.rewards, found.grads) == (spent.nfe, spent.rewards, spent.grads)
    if found.steps is not None:
        assert found.steps == max(row["step"] for row in result.history)
        assert result.stopped.startswith("budget: ")
        if "final" not in more:
            assert result.stopped == f"budget: {found.ends}"


def test_the_plan_costs_one_batch_and_says_so():
    target = on_humps(batch=16)
    found = el.plan(el.RandomSearch(12), target, el.Budget(nfe=1000))
    assert (found.spent.nfe, found.spent.rewards) == (target.meter.nfe, target.meter.rewards) == (64, 16)
    assert found.memory != found.memory or 1e7 < found.memory < 1e12


def slow(x):
    time.sleep(0.002 * len(x))
    return hill(x)


def test_time_grows_with_the_work_and_shrinks_with_the_workers():
    def planned(**more):
        return el.plan(el.RandomSearch(32), on_humps(reward=slow, batch=8), el.Budget(steps=20), probe=None, **more)

    one, two = planned(), planned(workers=2)
    assert 0.002 < one.reward_seconds < 0.1
    assert one.seconds >= 20 * 32 * 0.002
    assert two.seconds == pytest.approx(one.seconds / 2, rel=0.5)
    assert two.nfe == one.nfe
    assert one.reward_share > 0.5
    assert any("reward takes" in note for note in one.notes)


def test_a_limit_on_seconds_is_turned_into_steps():
    found = el.plan(el.RandomSearch(32), on_humps(reward=slow, batch=8), el.Budget(seconds=10), probe=None)
    assert found.steps >= 1
    assert found.seconds <= 10
    assert found.seconds * (found.steps + 1) / found.steps > 10 * 0.99


def test_what_would_go_wrong_is_said():
    small = el.plan(el.RandomSearch(16), on_humps(), el.Budget(nfe=60), probe=None)
    assert (small.steps, small.nfe) == (0, 0)
    assert "smaller than one step: the next step needs 64 network evaluations" in small.notes[0]
    few = el.plan(el.RandomSearch(16), on_humps(), el.Budget(nfe=300), probe=None)
    assert "only 4 steps" in few.notes[0]
    flat = el.plan(el.RandomSearch(16), on_humps(reward=lambda x: torch.ones(len(x))), el.Budget(nfe=3000))
    assert any("give it a slope" in note for note in flat.notes)
    broken = el.plan(el.RandomSearch(16), on_flow(reward=lambda x: 1 / 0), el.Budget(nfe=3000))
    assert any("16 of 16 rewards failed: ZeroDivisionError" in note for note in broken.notes)
    many = el.plan(el.RandomSearch(16), on_humps(), el.Budget(nfe=3000), workers=4096)
    assert any("share" in note for note in many.notes)


def test_nothing_is_spent_where_nothing_can_be_planned():
    target = on_humps()
    with pytest.raises(el.InputError, match="no limit"):
        el.plan(el.RandomSearch(), target)
    with pytest.raises(el.InputError, match="at least one"):
        el.plan(el.RandomSearch(), target, el.Budget(nfe=100), workers=0)
    assert target.meter.nfe == 0


def test_the_command_writes_nothing_and_agrees_with_the_run(tmp_path, capsys):
    text = STUDY.format(pause=0, steps=6).replace("Elites(population=8)", "RandomSearch(8)")
    (tmp_path / "study.py").write_text(text)
    _, out, _ = elites("plan", "study.py", "--json", cwd=tmp_path, check=0)
    told, study = json.loads(out), load(tmp_path / "study.py")
    assert not (tmp_path / "runs").exists()
    spent = el.run(study.method, study.target, study.budget).meter
    assert (told["nfe"], told["rewards"], told["steps"]) == (spent.nfe, spent.rewards, 6)
    foresee(tmp_path / "study.py", nfe=100, workers=2)
    out = capsys.readouterr().out
    assert "network evaluations" in out
    assert "only 3 steps" in out
