"""The network draws while a reward works elsewhere, and nothing else changes."""

import threading
from dataclasses import dataclass, field
from queue import SimpleQueue

import pytest
import torch
from helpers import Count, bits, hill, on_humps

import elites as el
from elites.answers import Scored, gather


@dataclass(eq=False)
class Elsewhere:
    """A streaming reward: answers come from a thread, in any order; it may wait for something first."""

    width: int = 4
    before: object = None  # called with the number of the batch
    answer: object = lambda x: float(hill(x[None])[0])
    batches: list = field(default_factory=list)
    most: int = 0
    live: int = 0

    def __call__(self, objects):
        return gather(self.each(objects), len(objects))

    def each(self, objects):
        self.batches.append(len(objects))
        self.live += 1
        self.most = max(self.most, self.live)
        if self.before is not None:
            self.before(len(self.batches))
        answers = SimpleQueue()
        work = reversed(list(enumerate(objects)))
        threading.Thread(target=lambda: [answers.put((i, self.answer(x))) for i, x in work]).start()
        yield from (answers.get() for _ in range(len(objects)))
        self.live -= 1


def run(reward, steps=3, **changes):
    return el.run(el.Elites(40), on_humps(reward=reward, batch=8, **changes), el.Budget(steps=steps), 2, probe=None)


def test_results_are_those_of_a_reward_that_works_here():
    want, found = run(hill), run(Elsewhere())
    assert bits(want.samples) == bits(found.samples)
    assert bits(want.state) == bits(found.state)
    assert want.meter.rewards == found.meter.rewards


def test_the_network_goes_on_while_rewards_are_waited_for():
    """The first batch is not answered before the network has drawn the second."""
    count, drawn = Count(), []

    def before(batch):
        if batch == 1:
            for _ in range(2000):
                if len(count.sizes) >= 8:  # four levels a batch
                    drawn.append(True)
                    return
                threading.Event().wait(0.005)

    target = on_humps(batch=8, count=count)
    target.reward = Elsewhere(before=before)
    el.run(el.Elites(40), target, el.Budget(steps=1), 2, probe=None)
    assert drawn == [True]


@pytest.mark.parametrize(("width", "most"), [(1, 2), (8, 2), (16, 3), (17, 4)])
def test_no_more_batches_are_drawn_than_keep_the_reward_busy(width, most):
    gate = threading.Semaphore(0)

    def before(batch):
        gate.acquire(timeout=0.05)

    reward = Elsewhere(width, before)
    run(reward, steps=1)
    assert reward.most == most


def test_a_failure_elsewhere_is_that_of_its_object():
    def answer(x):
        return ValueError("no") if float(x[1]) > 0.5 else float(hill(x[None])[0])

    found = run(Elsewhere(answer=answer))
    assert 0 < len(found.failures) < 120
    assert {f.reason for f in found.failures} == {"ValueError: no"}


def test_what_ends_a_run_is_raised_from_the_threads():
    with pytest.raises(el.RewardError, match="The reward failed on candidate"):
        run(Elsewhere(answer=lambda x: float("nan")), on_error=el.Raise())
    with pytest.raises(el.RewardError, match="the limit of 50%"):
        run(Elsewhere(answer=lambda x: float("nan")), on_error=el.Worst())


def test_after_an_error_no_further_object_is_scored():
    asked = []

    def answer(x):
        asked.append(x)
        return float("nan")

    @dataclass(eq=False)
    class OneByOne:
        width: int = 32

        def __call__(self, objects):
            return gather(self.each(objects), len(objects))

        def each(self, objects):
            for i, x in enumerate(objects):
                threading.Event().wait(0.005)
                yield i, answer(x)

    with pytest.raises(el.RewardError):
        run(OneByOne(), on_error=el.Raise())
    assert len(asked) < 20  # of 40: one for each batch in flight, or little more


def test_named_parts_are_means_in_the_history():
    def answer(x):
        return Scored(float(hill(x[None])[0]), {"first": float(x[0]), "one": 1.0})

    reward = Elsewhere(answer=answer)
    found = run(reward)
    assert all(row["term.one"] == 1.0 for row in found.history)
    seen = run(el.per_sample(lambda x: Scored(hill(x[None])[0], {"first": float(x[0])})))
    assert [row["term.first"] for row in seen.history] == pytest.approx([row["term.first"] for row in found.history])


def test_a_decoder_that_runs_out_of_memory_is_halved():
    calls = []

    def decode(z):
        calls.append(len(z))
        if len(z) > 2:
            raise torch.OutOfMemoryError("too much")
        return z

    prior = el.priors.OneStep(decode, (6,))
    with pytest.warns(UserWarning, match="decode_batch is now 2"):
        found = el.run(el.Elites(40), el.Target(prior, hill, batch=8), el.Budget(steps=2), 2, probe=None)
    plain = el.Target(el.priors.OneStep(lambda z: z, (6,)), hill)
    want = el.run(el.Elites(40), plain, el.Budget(steps=2), 2, probe=None)
    assert bits(found.samples) == bits(want.samples)
    assert found.meter.rewards == want.meter.rewards
