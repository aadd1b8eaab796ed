"""Rewards that are asked once about an object, here and over runs."""

import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from helpers import PRIORS, normal, on, on_humps, rows

from elites import Budget, Checkpoint, Elites, InputError, RandomSearch, Retry, per_sample, run
from elites.answers import Scored, Streaming, readings
from elites.ledger import read
from elites.rewards.cached import cached
from elites.rewards.combine import Weighted
from elites.rewards.scales import Raw

asked = []  # objects, in the order in which they were asked about


@pytest.fixture(autouse=True)
def nothing_was_asked():
    asked.clear()


def length(texts):
    """A reward of a batch of texts, with a part; it fails on those of odd length."""
    asked.extend(texts)
    values = [ValueError("odd") if len(t) % 2 else len(t) / 10 for t in texts]
    return Scored(values, {"squared": [len(t) ** 2 for t in texts]})


@per_sample
def singly(text):
    asked.append(text)
    if len(text) % 2:
        raise ValueError("odd")
    return Scored(len(text) / 10, {"squared": len(text) ** 2})


def alone(x):
    asked.extend(x.tolist())
    return x[:, 0]


REWARDS = {"batch": length, "streaming": singly}


def said(answers):
    values, reasons, parts = readings(answers, len(answers))
    return [reasons.get(i, round(v, 6)) for i, v in enumerate(values.tolist())], parts


@pytest.mark.parametrize("kind", REWARDS)
def test_only_what_is_not_known_is_asked(kind):
    reward = cached(REWARDS[kind])
    assert isinstance(reward, Streaming) == (kind == "streaming")
    texts = ["aa", "aaaa", "a", "aa"]
    first = said(reward(texts))
    assert asked == ["aa", "aaaa", "a"]  # equal ones once
    assert first[0] == [0.2, 0.4, "ValueError: odd", 0.2]
    assert [v for v in first[1]["squared"] if not math.isnan(v)] == [4, 16, *([1] if kind == "batch" else []), 4]
    asked.clear()
    second = said(reward([*texts, "aaaaaa"]))
    assert asked == ["a", "aaaaaa"]  # failures again
    assert second[0] == [0.2, 0.4, "ValueError: odd", 0.2, 0.6]
    assert [second[1]["squared"][i] for i in (0, 1, 3, 4)] == [4, 16, 4, 36]
    asked.clear()
    assert said(reward(["aa", "aaaa"]))[0] == [0.2, 0.4]
    assert asked == []


def test_streams_go_on_streaming():
    reward = cached(singly)
    reward(["aa"])
    answers = reward.each(["aaaa", "aa", "aaaaaa", "aaaa"])
    assert next(answers)[0] == 1  # what is known comes first
    assert asked == ["aa"]
    assert [next(answers)[0], next(answers)[0]] == [0, 3]
    assert asked == ["aa", "aaaa"]
    answers.close()
    assert asked == ["aa", "aaaa"]
    assert reward.width == 0


@pytest.mark.parametrize("kind", REWARDS)
def test_runs_that_came_before_are_not_paid_for_again(tmp_path, kind):
    reward, prior = REWARDS[kind], PRIORS["one step"]
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    run(RandomSearch(20), on(prior, reward=reward), Budget(steps=2), seed=1, on=[Checkpoint(first)])
    good = {t for t in asked if len(t) % 2 == 0}
    odd = {t for t in asked if len(t) % 2}
    assert good and odd
    asked.clear()
    plain = run(Elites(20), on(prior, reward=reward), Budget(steps=3), seed=2)
    uncached = list(asked)
    asked.clear()
    again = cached(reward, [first])
    with_it = run(Elites(20), on(prior, reward=again), Budget(steps=3), seed=2, on=[Checkpoint(second)])
    assert not good & set(asked)
    assert set(uncached) - good == set(asked)
    assert len(asked) < len(uncached)
    assert rows(with_it) == rows(plain)  # parts, means and all; known answers count as rewards
    assert set(with_it.failures) == set(plain.failures)  # in another order: what is known comes first
    evens = [t for t in asked if len(t) % 2 == 0]
    assert len(evens) == len(set(evens))
    asked.clear()
    reward = cached(reward, [first, str(second)])  # a cached run is one of the same reward
    run(Elites(20), on(prior, reward=reward), Budget(steps=3), seed=2, on=[Checkpoint(third)])
    assert asked
    assert all(len(t) % 2 for t in asked)
    numbers = [[(r["reward"], r["terms"]) for r in read(path / "ledger.sqlite")] for path in (second, third)]
    assert numbers[0] == numbers[1]


def test_other_runs_are_refused(tmp_path):
    run(RandomSearch(4), on_humps(), Budget(steps=1), on=[Checkpoint(tmp_path / "run")])
    with pytest.raises(InputError, match="scored with another reward than length: leave it out"):
        cached(length, [tmp_path / "run"])
    with pytest.raises(InputError, match="There is no run with a ledger in"):
        cached(length, [tmp_path])
    (tmp_path / "run" / "ledger.sqlite").unlink()
    with pytest.raises(InputError, match="There is no run with a ledger in"):
        cached(length, [tmp_path / "run"])
    with pytest.raises(InputError, match="give a callable"):
        cached(3)


def test_arrays_are_told_apart_by_their_numbers_and_other_things_are_always_asked():
    reward, x = cached(alone), normal(4, 2).float()
    values, _ = said(reward(x))
    asked.clear()
    again, _ = said(reward(torch.cat([x[2:] + 1, x[:2]])))
    assert again == [*(round(v, 6) for v in (x[2:, 0] + 1).tolist()), *values[:2]]
    assert torch.equal(torch.tensor(asked), x[2:] + 1)
    odd = [{1, 2}, {3}]
    counts = cached(per_sample(lambda v: asked.append(v) or len(v)))
    asked.clear()
    assert counts(odd) == counts(odd) == [2, 1]
    assert asked == odd * 2


def test_what_the_reward_raises_fails_what_it_was_asked_about():
    broken = threading.Event()

    def reward(texts):
        if broken.is_set():
            raise OSError("gone")
        return [math.nan if t == "b" else 1.0 for t in texts]

    once = cached(reward)
    assert said(once(["a", "b"]))[0] == [1.0, "it is NaN"]
    broken.set()
    assert said(once(["a", "b", "c"]))[0] == [1.0, "OSError: gone", "OSError: gone"]

    def full(texts):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        cached(full)(["a"])


def test_a_failure_that_is_mended_is_a_number_from_then_on():
    tries = []

    @per_sample
    def flaky(text):
        tries.append(text)
        if len(tries) == 1:
            raise OSError("busy")
        return len(text)

    target = on(PRIORS["one step"], reward=cached(flaky), on_error=Retry(1))
    run(RandomSearch(2), target, Budget(steps=1), probe=None)
    assert not target.failures
    assert tries[0] in tries[1:]


def test_a_copy_knows_the_ledgers(tmp_path):
    run(RandomSearch(20), on(PRIORS["one step"], reward=length), Budget(steps=1), on=[Checkpoint(tmp_path)])
    known = {t for t in asked if len(t) % 2 == 0}
    reward = cached(length, [tmp_path])
    reward(["a" * 40])
    copy = pickle.loads(pickle.dumps(reward))
    asked.clear()
    assert said(copy(sorted(known))) == said(reward(sorted(known)))
    assert asked == []
    copy(["a" * 40])  # what was scored since is not in the ledgers
    assert asked == ["a" * 40]
    assert (repr(copy), repr(cached(singly))) == ("length", "singly")


def test_ledgers_are_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(RandomSearch(8), on(PRIORS["one step"], reward=length), Budget(steps=1), on=[Checkpoint("here")])
    known = [t for t in asked if len(t) % 2 == 0]
    reward = cached(length, ["here"])
    monkeypatch.chdir(Path(tmp_path).parent)
    asked.clear()
    assert all(isinstance(v, float) for v in said(reward(known))[0])
    assert asked == []


def test_threads_may_ask_at_a_time(tmp_path):
    run(RandomSearch(20), on(PRIORS["one step"], reward=length), Budget(steps=1), on=[Checkpoint(tmp_path)])
    known = sorted({t for t in asked if len(t) % 2 == 0})
    asked.clear()
    reward, gate = cached(length, [tmp_path]), threading.Barrier(8)

    def ask(k):
        gate.wait(10)
        return said(reward([*known, "b" * (2 * k + 2)]))[0]

    with ThreadPoolExecutor(8) as threads:
        out = list(threads.map(ask, range(8)))
    expected = [len(t) / 10 for t in known]
    assert out == [pytest.approx([*expected, (2 * k + 2) / 10]) for k in range(8)]
    assert sorted(asked) == ["b" * (2 * k + 2) for k in range(8)]


def test_a_part_may_be_cached():
    reward = Weighted({"length": (cached(singly), 10.0, Raw())})
    assert isinstance(reward, Streaming)
    reward(["aa", "aaaa"])
    assert [a.values for _, a in reward.each(["aaaa", "aa"])] == pytest.approx([4.0, 2.0])
    assert asked == ["aa", "aaaa"]
