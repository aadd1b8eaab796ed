"""Who gets how much, and how a spread over a simulated crew ends."""

import time
from collections import Counter
from itertools import islice

import pytest
from benchmarks.cluster import Faults, Items, SimulatedCrew, always, lognormal
from dispatched import answered, failures, pair

from elites.parallel.crew import ANSWER, BROKEN, DONE, Message
from elites.parallel.dispatch import GRAIN, Rules, WorkerError, spread


@pytest.mark.parametrize("latency", [1e-5, 1e-3, 0.3])
@pytest.mark.parametrize("costly", [True, False])
def test_jobs_keep_all_busy_and_are_few(latency, costly):
    about = {"network": 0.0 if costly else 1.0, "reward": latency}
    crew, n = SimulatedCrew(10, always(latency), about=about, batch=8), 5000
    answered(crew, n, batch=8)
    ideal = n * latency / 10
    assert crew.now < ideal + max(0.1 * ideal, 8 * latency) + 1e-3
    assert set(crew.calls) == set(range(10))
    longest = max(max(sizes) for sizes in crew.sizes.values())
    assert longest * latency < 1.2 * max(GRAIN, 8 * latency)
    jobs = sum(crew.calls.values())
    assert jobs < 10 * 20 + 3 * n * latency / GRAIN + n * (latency >= GRAIN)  # few, however fast an item is
    if not costly:
        assert all(size % 8 == 0 or i == len(s) - 1 for s in crew.sizes.values() for i, size in enumerate(s))


def test_a_population_of_a_worker_each_is_spread_over_all():
    for n in (10, 80):
        crew = SimulatedCrew(10, always(1.0), batch=8)
        answered(crew, n, batch=8)
        assert set(crew.items.values()) == {n // 10}


@pytest.mark.parametrize("take", [0, 1, 7])
@pytest.mark.parametrize("after", ["close", "raise"])
def test_a_consumer_that_stops_leaves_no_busy_worker(take, after):
    crew = SimulatedCrew(4, lognormal(0.1), batch=4)
    loop = spread(crew, Items(1000), pair, Rules(), 4, crew.clock)
    list(islice(loop, take))
    if after == "close":
        loop.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            loop.throw(KeyboardInterrupt)
    assert not any(crew.working)
    answered(crew, 100)  # and the crew is as good as new


def test_a_crew_serves_one_spread_after_another():
    crew = SimulatedCrew(3, lognormal(0.01), Faults(lag=0.05), batch=4, seed=1)
    for n in (0, 1, 5, 200, 3):
        answered(crew, n, Rules(straggler=3.0), 4)


class Odd(SimulatedCrew):
    """A crew that says one more thing, in the same breath as an answer about item 5."""

    def __init__(self, what, *args, **options):
        super().__init__(*args, **options)
        self.what = what

    def wait(self, seconds):
        heard = super().wait(seconds)
        if any(m.kind == ANSWER and m.value[0][0] == 5 for m in heard):
            heard.insert(0, self.what)
        return heard


def test_a_worker_that_cannot_be_built_ends_the_work_with_a_sentence_and_what_was_heard_is_kept():
    crew, out = Odd(Message(1, BROKEN, "ImportError: no dock"), 2, always(0.1)), {}
    with pytest.raises(WorkerError, match=r"^A worker could not be built: ImportError: no dock$"):
        for _, said in spread(crew, Items(50), pair, Rules(), 1, crew.clock):
            out |= dict(said)
    assert 5 in out
    assert not any(crew.working)


def test_a_server_that_raises_ends_the_work_with_a_sentence():
    crew = SimulatedCrew(3, always(0.1), Faults(raises={7}))
    with pytest.raises(WorkerError, match=r"^A worker failed: ValueError: what servers raise$"):
        list(spread(crew, Items(50), pair, Rules(), 1, crew.clock))
    assert not any(crew.working)


def test_a_server_that_leaves_items_out_ends_the_work_with_a_sentence():
    class Forgetful(SimulatedCrew):
        def wait(self, seconds):
            return [m for m in super().wait(seconds) if m.kind != ANSWER or m.value[0][0] != 5]

    crew = Forgetful(1, always(1e-4))
    with pytest.raises(WorkerError, match=r"did not answer about 1 of \d+ items"):
        list(spread(crew, Items(50), pair, Rules(), 1, crew.clock))


def test_a_worker_that_breaks_after_the_last_answer_is_spoken_of_when_it_is_needed():
    class Breaking(SimulatedCrew):
        late = ()

        def wait(self, seconds):
            heard = [*self.late, *super().wait(seconds)]
            self.late = [m for m in heard if m.kind == DONE]
            if any(m.kind == ANSWER for m in heard):
                return [m for m in heard if m.kind != DONE]
            return [Message(1, BROKEN, "no dock"), *heard] if heard else []

    crew = Breaking(2, always(0.1))
    crew.replace(1)
    loop = spread(crew, Items(1), pair, Rules(), 1, crew.clock)
    assert dict(next(loop)[1]) == {0: (0, 0)}
    with pytest.raises(StopIteration):
        next(loop)
    assert crew.replaced == 2


def test_items_in_flight_are_bounded_whatever_the_population():
    most = {}
    for n in (10_000, 160_000):
        crew, source = SimulatedCrew(8, always(1e-4)), Items(n)
        seen, most[n] = 0, 0
        for _, said in spread(crew, source, pair, Rules(), 8, crew.clock):
            seen += len(said)
            most[n] = max(most[n], source.at - seen)
        crew.close()
    assert most[160_000] < 1.2 * 8 * 2 * GRAIN / 1e-4
    assert most[160_000] < 3 * most[10_000] + 8 * GRAIN / 1e-4


def test_a_slow_consumer_is_no_silence_of_the_workers():
    crew, out = SimulatedCrew(2, always(0.1)), {}
    for _, said in spread(crew, Items(50), pair, Rules(timeout=1.0), 1, crew.clock):
        crew.now += 5.0  # such as a disk that is slow; meanwhile the workers have spoken
        out |= dict(said)
    assert not failures(out)
    assert crew.replaced == 0


def test_workers_go_on_while_the_consumer_takes_what_they_said():
    crew = SimulatedCrew(2, always(1.0))
    loop = spread(crew, Items(50), pair, Rules(), 1, crew.clock)
    next(loop)
    assert all(crew.working)
    loop.close()


def test_handing_out_costs_little():
    crew, n = SimulatedCrew(100, always(0.5), build=1.0), 20_000
    began = time.process_time()
    answered(crew, n)
    assert time.process_time() - began < n * 1e-4  # some 20 us with the simulation
    assert Counter(crew.begun.values()) == {1: n}
