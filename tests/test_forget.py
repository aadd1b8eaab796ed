"""Failures that stop a run, and evaluations that are forgotten so that they are made again."""

import math
from collections import Counter

import pytest
import torch
from helpers import WORST, assert_same, hill, on_flow, on_humps
from ledgers import BUDGET, target, written

import elites as el
from elites.account import Entry
from elites.answers import digest
from elites.ledger import Ledger, read


class Down:
    """`hill` of a service that is down for some of its calls."""

    def __init__(self, down=()):
        self.down, self.calls, self.answered = down, 0, Counter()

    def __call__(self, x):
        self.calls += 1
        if self.calls in self.down:
            raise OSError("the service is down")
        self.answered.update(digest(v) for v in x)
        return hill(x)


def forgotten(folder):
    """Forget every failure: how many there were, and how many evaluations went with them."""
    book = Ledger(folder / "ledger.sqlite")
    failed = [key for key, _, _ in book.failed()]
    gone = book.forget(failed)
    book.close()
    return len(failed), gone


@pytest.mark.parametrize("method", [el.RandomSearch(20), el.Elites(20), el.PCN(20)])
def test_too_many_failures_stop_the_run_before_the_step_and_once_forgotten_it_equals_one_without(method, tmp_path):
    folder, options = tmp_path / "run", {"batch": 5, "decode_batch": 5, "on_error": el.Worst(limit=0.5)}
    want = el.run(method, target(Down(), **options), BUDGET, 7, probe=None)
    first, second = Down(down=range(6, 9)), Down()  # the second to fourth quarter of step 2
    says = r"^15 of 20 objects of step 2 have failed, more .* 50%: OSError: the service is down \(15\)\. Mend"
    with pytest.raises(el.RewardError, match=says):
        el.run(method, target(first, **options), BUDGET, 7, on=[el.Checkpoint(folder, seconds=0)], probe=None)
    run = el.Folder.open(folder)
    assert run.load(method.init(target(), el.Stream(7))).step == 1
    run.close()
    with pytest.raises(el.RewardError, match=says):
        el.resume(folder, method, target(second, **options), probe=None)
    assert second.calls == 0
    assert forgotten(folder) == (15, 15)
    assert_same(el.resume(folder, method, target(second, **options), probe=None), want)
    assert first.answered.total() == 25
    assert not first.answered & second.answered


@pytest.mark.parametrize("method", [el.Elites(8), el.FeynmanKac(8, 4), el.Previews(el.Elites(4))])
def test_what_followed_from_a_failure_is_forgotten_with_it(method, tmp_path):
    make, steps = (on_flow, 4) if isinstance(method, el.FeynmanKac) else (on_humps, 12)
    options = {"batch": 8, "decode_batch": 8, "steps": steps, "on_error": WORST}
    clean = Down()
    want = el.run(method, target(clean, make, **options), BUDGET, 7, probe=None)
    for down in range(1, clean.calls, 2):
        folder = tmp_path / f"{down}"
        t = target(Down([down]), make, **options)
        el.run(method, t, BUDGET, 7, on=[el.Checkpoint(folder)], probe=None)
        (folder / "state.safetensors").unlink()  # so that it goes on from the start
        before = len(written(folder))
        failed, gone = forgotten(folder)
        assert failed <= gone == before - len(written(folder))
        assert_same(el.resume(folder, method, target(Down(), make, **options), BUDGET, probe=None), want)


def test_what_followed_from_a_reward_that_was_put_right_is_outdated(tmp_path):
    clean, method = Down(), el.Elites(8)
    want = el.run(method, target(clean, on_error=WORST), BUDGET, 7, probe=None)
    el.run(method, target(Down([8]), on_error=WORST), BUDGET, 7, on=[el.Checkpoint(tmp_path / "run")], probe=None)
    (tmp_path / "run" / "state.safetensors").unlink()
    book = Ledger(tmp_path / "run" / "ledger.sqlite")
    failed = book.failed()
    assert {key[0] for key, *_ in failed} == {2}
    found = [hill(torch.frombuffer(bytearray(x), dtype=torch.float32)[None]) for *_, x in failed]
    book.settle([Entry(key, float(r)) for (key, *_), r in zip(failed, found, strict=True)])
    assert book.outdate([key for key, *_ in failed]) == 16
    book.close()
    rest = Down()
    assert_same(el.resume(tmp_path / "run", method, target(rest, on_error=WORST), BUDGET, probe=None), want)
    assert rest.answered.total() == 16


def test_nothing_follows_from_the_probe_or_a_finalist_and_all_else_from_a_step(tmp_path):
    book = Ledger(tmp_path / "l.sqlite")
    keys = [(s, 0, max(s, 0), i, 0, 0) for s in (-4, 0, 1, 2, 3) for i in range(4)]
    keys += [(2, 0, 2, 1, 0, 1), (2, 1, 2, 1, 0, 0)]  # scored again in step 2, and for another purpose
    book.settle([Entry(key, 1.0) if key[3] else Entry(key, -math.inf, "bad") for key in keys])
    assert book.forget([(0, 0, 0, 0, 0, 0), (-4, 0, 0, 0, 0, 0)]) == 2
    assert book.forget([(2, 0, 2, 0, 0, 0)]) == 1 + 4 + 3 + 2
    left = [(row["run_step"], row["candidate"]) for row in read(tmp_path / "l.sqlite")]
    assert left == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    book.close()
